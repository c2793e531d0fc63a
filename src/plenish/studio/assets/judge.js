/* The page Judge: buttons and the keys R and S. */
"use strict";

(() => {
  let busy = false;

  async function answer(said) {
    const stage = document.querySelector("#judge-stage .stage[data-n]");
    if (!stage || busy) return;
    busy = true;
    try {
      const values = { n: stage.dataset.n, answer: said, lang: plenishLanguage() };
      const reply = await fetch("/-/judge/answer?" + new URLSearchParams(values), { method: "POST" });
      const text = await reply.text();
      if (!reply.ok) return void (stage.querySelector("[role=status]").textContent = text);
      stage.outerHTML = text;
      const done = document.querySelector("#judge-stage .done h3");
      if (done) done.focus();
    } finally {
      busy = false;
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("#judge-stage [data-answer]");
    if (button) answer(button.dataset.answer);
  });
  document.addEventListener("keydown", (event) => {
    const stage = document.querySelector("#judge-stage .stage[data-n]");
    if (!stage || !stage.offsetParent || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea, select")) return;
    const said = { r: "real", s: "synthetic" }[event.key.toLowerCase()];
    if (!said) return;
    event.preventDefault();
    answer(said);
  });
})();
