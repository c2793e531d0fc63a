/* The page Runs: the table follows what happens while the tab is open. */
"use strict";

(() => {
  const ask = (name, values, method) =>
    fetch(`/-/runs/${name}?` + new URLSearchParams({ ...values, lang: plenishLanguage() }), { method: method || "GET" });
  const chosen = new Set();
  let opened = [];

  async function fill(id, name, values, method) {
    const place = document.getElementById(id);
    if (!place) return;
    const answer = await ask(name, values || {}, method);
    const text = await answer.text();
    if (!answer.ok) return void (place.textContent = text);
    if (place.dataset.last === text) return;
    place.dataset.last = text;
    const had = document.activeElement && place.contains(document.activeElement) ? key(document.activeElement) : "";
    const log = place.querySelector("pre.log");
    const atEnd = !log || log.scrollTop + log.clientHeight > log.scrollHeight - 20;
    place.innerHTML = text;
    for (const box of place.querySelectorAll("input[data-run]")) box.checked = chosen.has(box.dataset.run);
    if (had) [...place.querySelectorAll("button, input, pre")].find((one) => key(one) === had)?.focus();
    if (atEnd) for (const one of place.querySelectorAll("pre.log")) one.scrollTop = one.scrollHeight;
  }
  const key = (one) => one.tagName + (one.dataset.open || one.dataset.run || one.dataset.stop || "");

  function show(keys, focus) {
    opened = keys;
    return fill("runs-shown", "shown", { runs: keys.join(",") }).then(() => {
      const head = document.querySelector("#runs-shown h3");
      if (focus && head) head.focus();
    });
  }

  function refresh() {
    const table = document.getElementById("runs-table");
    if (!table || !table.offsetParent || document.hidden) return;
    fill("runs-table", "table");
    fill("trainings", "trainings");
    const held = document.activeElement && document.getElementById("runs-shown").contains(document.activeElement);
    if (opened.length && !held && table.querySelector(".state.running")) show(opened);
  }
  setInterval(refresh, 3000);
  document.addEventListener("click", (event) => {
    const at = event.target.closest && event.target.closest("button");
    if (event.target.closest && event.target.closest('[role="tab"]')) setTimeout(refresh, 50);
    if (!at) return;
    if (at.dataset.open) show([at.dataset.open], true);
    else if (at.dataset.stop) fill("trainings", "stop", { training: at.dataset.stop }, "POST");
  });
  document.addEventListener("change", (event) => {
    const at = event.target;
    if (!at.matches || !at.matches("#runs-table input[data-run]")) return;
    if (at.checked) chosen.add(at.dataset.run);
    else chosen.delete(at.dataset.run);
    while (chosen.size > 4) chosen.delete(chosen.values().next().value);
    for (const box of document.querySelectorAll("#runs-table input[data-run]")) box.checked = chosen.has(box.dataset.run);
    show([...chosen]);
  });
  document.addEventListener("input", (event) => {
    const figure = event.target.closest && event.target.closest("figure.samples");
    if (!figure) return;
    const names = event.target.dataset.names.split("|");
    const text = event.target.dataset.words.replace("{kimg}", names[event.target.value]);
    const image = figure.querySelector("img");
    image.src = "/-/runs/samples?" + new URLSearchParams({ run: figure.dataset.run, n: event.target.value });
    image.alt = text;
    figure.querySelector("figcaption").textContent = text;
  });
})();
