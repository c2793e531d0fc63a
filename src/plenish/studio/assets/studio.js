/* What the studio's pages share in the browser. Everything is served by the studio itself. */
"use strict";

/** The language of the page, which is part of its address. */
function plenishLanguage() {
  return location.pathname.split("/")[1] || "en";
}

/** Gradio says that a page is in the browser's language, whatever its words are. */
function plenishSayLanguage() {
  const root = document.documentElement;
  if (root.lang !== plenishLanguage()) root.lang = plenishLanguage();
}
new MutationObserver(plenishSayLanguage).observe(document.documentElement, { attributeFilter: ["lang"] });

/** Send a picked picture and hand its id on. */
function plenishUpload(element, taken) {
  const input = element.querySelector("input[type=file]");
  const said = element.querySelector(".upload-said");
  input.addEventListener("change", async () => {
    if (!input.files.length) return;
    said.textContent = "…";
    const answer = await fetch("/-/upload", { method: "POST", body: input.files[0] });
    const text = await answer.text();
    said.textContent = answer.ok ? input.files[0].name : text;
    if (answer.ok) taken(text);
  });
}

/** Switch the language without losing what the address says. */
document.addEventListener("click", (event) => {
  const link = event.target.closest && event.target.closest("a[data-language]");
  if (!link) return;
  link.search = location.search;
  link.hash = location.hash;
});

/** The open tab stands in the address, so that a reload, a link and the other language open it again. */
document.addEventListener("click", (event) => {
  const tab = event.target.closest && event.target.closest('#pages [role="tab"]');
  const key = tab && tab.id && tab.id.match(/^page-(\w+)-button$/);
  if (!key) return;
  const here = new URL(location.href);
  here.searchParams.set("tab", key[1]);
  history.replaceState(null, "", here);
});
function plenishOpenPage(tries) {
  const key = new URL(location.href).searchParams.get("tab");
  const tab = key && /^\w+$/.test(key) && document.getElementById(`page-${key}-button`);
  if (tab) tab.click();
  else if (key && tries > 0) setTimeout(plenishOpenPage, 100, tries - 1);
}
addEventListener("DOMContentLoaded", () => plenishOpenPage(100));
