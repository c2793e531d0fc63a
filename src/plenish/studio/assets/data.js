/* The page Data: pages of thumbnails, samples, neighbours, marks. */
"use strict";

(() => {
  const ask = (name, values, method) =>
    fetch(`/-/data/${name}?` + new URLSearchParams({ ...values, lang: plenishLanguage() }), { method: method || "GET" });

  const setName = () => (document.getElementById("mark-set") || {}).value || "set";

  async function put(place, name, values) {
    place.setAttribute("aria-busy", "true");
    const answer = await ask(name, values);
    const text = await answer.text();
    place.removeAttribute("aria-busy");
    if (answer.ok) place.innerHTML = text;
    else place.innerHTML = "<p class=nothing></p>", (place.firstChild.textContent = text);
    return answer.ok;
  }

  function say(count) {
    const said = document.getElementById("mark-count");
    if (said) said.textContent = said.dataset.words.replace("{n}", count);
    const link = document.getElementById("mark-csv");
    if (link) link.href = "/-/data/marks?" + new URLSearchParams({ set: setName() });
  }

  /** Show which thumbnails of the grids are in the set. */
  async function refreshMarks() {
    for (const list of document.querySelectorAll("#data-shown ul.grid[data-view]")) {
      const answer = await ask("marked", { view: list.dataset.view, set: setName() });
      if (!answer.ok) continue;
      const found = await answer.json();
      const rows = new Set(found.rows.map(String));
      for (const tile of list.querySelectorAll(".tile")) tile.classList.toggle("marked", rows.has(tile.dataset.row));
      say(found.count);
    }
  }

  async function mark(view, row) {
    const answer = await ask("mark", { view, row, set: setName() }, "POST");
    if (answer.ok) await refreshMarks();
  }

  async function open(tile) {
    const list = tile.closest("[data-view]");
    const sample = document.querySelector("#data-shown .sample");
    for (const other of document.querySelectorAll("#data-shown .tile.open")) other.classList.remove("open");
    tile.classList.add("open");
    sample.dataset.view = "";
    if (!(await put(sample, "sample", { view: list.dataset.view, row: tile.dataset.row }))) return;
    sample.dataset.sampleView = list.dataset.view;
    if (matchMedia("(max-width: 900px)").matches) sample.scrollIntoView({ block: "start" });
    const form = sample.querySelector(".near-form");
    if (form) near(form);
  }

  async function near(form) {
    const sample = form.closest(".sample");
    const place = sample.querySelector(".near");
    const values = { view: sample.dataset.sampleView, row: form.dataset.row, where: form.where.value };
    if (await put(place, "near", { ...values, kind: form.kind.value })) refreshMarks();
  }

  function move(tile, by) {
    const tiles = [...tile.closest("ul").querySelectorAll(".tile")];
    const next = tiles[Math.max(0, Math.min(tiles.length - 1, tiles.indexOf(tile) + by))];
    tile.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  /** How many thumbnails stand in a row of a list. */
  function across(list) {
    const tops = [...list.children].map((one) => one.offsetTop);
    return tops.filter((top) => top === tops[0]).length;
  }

  document.addEventListener("click", async (event) => {
    const at = event.target.closest && event.target.closest("#data-shown button");
    if (!at) return;
    const list = at.closest("[data-view]");
    if (at.dataset.start !== undefined) {
      const part = at.closest(".grid-part");
      const view = part.querySelector("[data-view]").dataset.view;
      const which = at.getAttribute("aria-label");
      const fresh = document.createElement("div");
      if (!(await put(fresh, "grid", { view, start: at.dataset.start }))) return;
      const next = fresh.firstElementChild;
      part.replaceWith(next);
      const again = [...next.querySelectorAll(".pager button")].find((b) => b.getAttribute("aria-label") === which);
      if (again) (again.disabled ? next.querySelector(".pager button:not(:disabled)") || again : again).focus();
      refreshMarks();
    } else if (at.dataset.mark !== undefined) {
      mark(document.querySelector("#data-shown .sample").dataset.sampleView, at.dataset.mark);
    } else if (at.classList.contains("tile") && list) {
      if (event.shiftKey) mark(list.dataset.view, at.dataset.row);
      else open(at);
    }
  });

  document.addEventListener("keydown", (event) => {
    const tile = event.target.closest && event.target.closest("#data-shown .tile");
    if (!tile || event.ctrlKey || event.metaKey || event.altKey) return;
    const list = tile.closest("ul");
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(list), ArrowUp: -across(list),
      Home: -1e6, End: 1e6 }[event.key];
    if (step) move(tile, step);
    else if (event.key === "m" || event.key === "M") mark(tile.closest("[data-view]").dataset.view, tile.dataset.row);
    else return;
    event.preventDefault();
  });

  document.addEventListener("change", (event) => {
    const form = event.target.closest && event.target.closest("#data-shown .near-form");
    if (form) near(form);
    if (event.target.id === "mark-set") refreshMarks();
  });

  /** Gradio replaces the grids when a filter changes. */
  let seen = "";
  setInterval(() => {
    const list = document.querySelector("#data-shown ul.grid[data-view]");
    if (list && list.dataset.view !== seen) {
      seen = list.dataset.view;
      refreshMarks();
    }
  }, 500);
})();
