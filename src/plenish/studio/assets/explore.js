/* The page Explore: a pad over two directions, seeds, label, truncation, favourites. */
"use strict";

(() => {
  const P = plenishLatent, { make, button, field } = P;
  const REACH = { random: 1.5, triangle: 1, directions: 3 };
  const SEEDS = 24, MAP = 5;

  P.mount("explore", async (root, w) => {
    const problem = make("p", { class: "problem", role: "alert" });
    const fail = (text) => { problem.textContent = text; };
    const now = { kind: "random", seeds: [1, 2, 3], corner: 0, axes: ["", ""], centre: { base: { seed: 1 }, moves: {} }, at: [0, 0], psi: 1, first: 0 };
    let about = null, labels = null, mapTimer = 0, told = 0;

    const image = make("img", { class: "big", alt: w.image_alt });
    const view = P.viewer(image, fail);
    const rate = make("span", { class: "quiet rate", "aria-hidden": "true" });
    const pad = make("div", { class: "pad", role: "slider", tabindex: "0", "aria-label": w.pad, "aria-valuemin": "-1", "aria-valuemax": "1", "aria-valuenow": "0" });
    const map = make("div", { class: "map" }), dot = make("div", { class: "dot" });
    const axes = make("div", { class: "axes", "aria-hidden": "true" });
    pad.append(map, axes, dot);
    const commands = P.commandsPart(w);

    const runs = await P.runField(w, (run) => begin(run).catch((error) => fail(error.message)));

    function state(x, y) {
      const reach = REACH[now.kind], [right, up] = [x ?? now.at[0], y ?? now.at[1]];
      const made = { run: runs.run(), psi: now.psi, y: labels.value(), moves: {} };
      if (now.kind !== "directions") return { ...made, base: { plane: now.kind, seeds: now.seeds, at: [right * reach, up * reach] } };
      const moves = { ...now.centre.moves };
      now.axes.forEach((name, i) => { if (name) moves[name] = Math.max(-20, Math.min(20, (moves[name] || 0) + reach * [right, up][i])); });
      return { ...made, base: now.centre.base, moves };
    }
    function show() {
      dot.style.left = `${50 + 50 * now.at[0]}%`;
      dot.style.top = `${50 - 50 * now.at[1]}%`;
      pad.setAttribute("aria-valuenow", now.at[0].toFixed(2));
      pad.setAttribute("aria-valuetext", w.at.replace("{x}", now.at[0].toFixed(2)).replace("{y}", now.at[1].toFixed(2)));
      return view.show(state(), tell);
    }
    /** The commands follow when the hand rests. */
    function tell() {
      const per = view.rate();
      rate.textContent = per > 1 ? w.rate.replace("{n}", per) : "";
      clearTimeout(told);
      told = setTimeout(async () => {
        rate.textContent = "";
        try { commands.set((await P.postJson("explore", "recipe", state())).commands); } catch (error) { fail(error.message); }
      }, 400);
    }
    /** A direction as the page calls it. */
    function shown(name) {
      const one = about.directions.find((other) => other.name === name);
      return !one || one.learnt ? name : w.sefa.replace("{n}", name.split("-")[1]);
    }
    function redraw() {
      show();
      clearTimeout(mapTimer);
      mapTimer = setTimeout(drawMap, 300);
      const corners = now.kind === "triangle" ? [["A", 50, 5], ["B", 7, 75], ["C", 93, 75]] : [];
      const ends = now.kind === "directions" ? [["right", "→"], ["up", "↑"]] : [];
      axes.replaceChildren(...corners.map(([text, x, y]) => make("span", { style: `left:${x}%;top:${y}%` }, text)),
        ...ends.map(([side, arrow], i) => (now.axes[i] ? make("span", { class: side }, `${arrow} ${shown(now.axes[i])}`) : "")));
    }
    async function drawMap() {
      const states = [];
      for (let row = 0; row < MAP; row++) for (let column = 0; column < MAP; column++) {
        states.push(state((2 * (column + 0.5)) / MAP - 1, 1 - (2 * (row + 0.5)) / MAP));
      }
      try { place(map, await P.post("explore", "sheet", { states, across: MAP })); } catch (error) { fail(error.message); }
    }
    async function place(element, reply) {
      const old = element.dataset.address;
      const fresh = URL.createObjectURL(await reply.blob());
      element.style.backgroundImage = `url(${fresh})`;
      element.dataset.address = fresh;
      if (old) setTimeout(() => URL.revokeObjectURL(old), 1000);
    }

    // The pad

    function move(x, y) {
      now.at = [x, y].map((value) => Math.round(100 * Math.max(-1, Math.min(1, value))) / 100);
      show();
    }
    function follow(event) {
      const box = pad.getBoundingClientRect();
      move((2 * (event.clientX - box.left)) / box.width - 1, 1 - (2 * (event.clientY - box.top)) / box.height);
    }
    pad.addEventListener("pointerdown", (event) => { pad.setPointerCapture(event.pointerId); pad.focus(); follow(event); event.preventDefault(); });
    pad.addEventListener("pointermove", (event) => { if (pad.hasPointerCapture(event.pointerId)) follow(event); });
    pad.addEventListener("keydown", (event) => {
      const step = event.shiftKey ? 0.2 : 0.05;
      const way = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
      if (way) move(now.at[0] + way[0], now.at[1] + way[1]);
      else if (event.key === "Home") move(0, 0);
      else return;
      event.preventDefault();
    });

    // Which plane

    const kinds = make("div", { class: "field" });
    const detail = make("div", { class: "detail" });
    function drawKinds() {
      const has = about.directions.length > 0;
      const menu = P.select([["random", w.plane_random], ["triangle", w.plane_triangle], ...(has ? [["directions", w.plane_directions]] : [])], now.kind, (kind) => {
        now.kind = kind;
        now.at = [0, 0];
        drawDetail(); redraw();
      });
      kinds.replaceChildren(field(w.plane, menu));
    }
    function seedField(text, value, changed) {
      const input = make("input", { type: "number", min: 0, max: 2147483647, step: 1, value });
      input.addEventListener("change", () => {
        const seed = Math.round(Number(input.value));
        if (Number.isFinite(seed) && seed >= 0 && seed <= 2147483647) { changed(seed); redraw(); } else input.value = value;
      });
      return field(text, input);
    }
    function drawDetail() {
      detail.replaceChildren();
      if (now.kind === "random") {
        detail.append(seedField(w.centre, now.seeds[0], (seed) => { now.seeds[0] = seed; }),
          button(w.other_plane, () => { now.seeds = [now.seeds[0], P.seedOf(), P.seedOf()]; redraw(); }));
      } else if (now.kind === "triangle") {
        "ABC".split("").forEach((name, i) => detail.append(seedField(w.corner.replace("{name}", name), now.seeds[i], (seed) => { now.seeds[i] = seed; })));
      } else {
        const options = [["", w.none], ...about.directions.map((one) => [one.name, shown(one.name)])];
        now.axes.forEach((_, i) => detail.append(field(i ? w.axis_up : w.axis_right, P.select(options, now.axes[i], (name) => { now.axes[i] = name; redraw(); }))));
        if ("seed" in now.centre.base) detail.append(seedField(w.centre, now.centre.base.seed, (seed) => { now.centre = { base: { seed }, moves: {} }; }));
        else detail.append(button(w.centre_seed, () => { now.centre = { base: { seed: now.seeds[0] }, moves: {} }; drawDetail(); redraw(); }));
      }
    }

    // Seeds

    const seeds = make("ul", { class: "seeds" });
    const range = make("span", { class: "quiet" });
    async function drawSeeds() {
      const states = Array.from({ length: SEEDS }, (_, i) => ({ run: runs.run(), psi: now.psi, y: labels.value(), base: { seed: now.first + i }, moves: {} }));
      range.textContent = `${now.first} – ${now.first + SEEDS - 1}`;
      try {
        const reply = await P.post("explore", "sheet", { states, across: 8 });
        const old = seeds.dataset.address, fresh = URL.createObjectURL(await reply.blob());
        seeds.dataset.address = fresh;
        if (old) URL.revokeObjectURL(old);
        seeds.replaceChildren(...states.map((one, i) => make("li", {}, make("button", {
          type: "button", class: "cell", "aria-label": w.seed.replace("{n}", one.base.seed), title: w.seed.replace("{n}", one.base.seed),
          style: `background-image:url(${fresh});background-position:${(100 * (i % 8)) / 7}% ${(100 * Math.floor(i / 8)) / 2}%`,
          onclick: () => pickSeed(one.base.seed),
        }))));
      } catch (error) { fail(error.message); }
    }
    function pickSeed(seed) {
      if (now.kind === "triangle") { now.seeds[now.corner] = seed; now.corner = (now.corner + 1) % 3; }
      else { now.seeds[0] = seed; now.centre = { base: { seed }, moves: {} }; now.at = [0, 0]; }
      drawDetail(); redraw();
    }
    const pages = (step) => { now.first = Math.max(0, now.first + step * SEEDS); drawSeeds(); };

    const psi = P.slider(w.truncation, 0, 1, 0.05, 1, (value) => { now.psi = value; show(); }, () => { redraw(); drawSeeds(); });
    const labelsAt = make("div");
    const act = (work) => async () => { try { fail(""); await work(); } catch (error) { fail(error.message); } };
    const keep = act(() => P.basket.add(state(), w));
    const actions = make("div", { class: "buttons" },
      button(w.keep, keep, { class: "plain-button primary" }),
      button(w.edit_this, () => { document.dispatchEvent(new CustomEvent("plenish-edit", { detail: state() })); P.open("edit"); }),
      button(w.save_image, act(async () => P.save(await P.post("explore", "image", state()), "image.png"))),
      button(w.save_latent, act(async () => P.save(await P.post("explore", "latent", state()), "latent.npy"))));
    root.addEventListener("keydown", (event) => {
      if (event.key.toLowerCase() !== "f" || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
      event.preventDefault();
      keep();
    });

    const basket = P.basketPart(w, async (item) => {
      if (item.state.run !== runs.run()) { runs.set(item.state.run); P.memory.write("plenish-run", item.state.run); await begin(item.state.run); }
      labels.set(item.state.y); now.psi = item.state.psi; psi.set(now.psi);
      now.at = [0, 0];
      if (item.state.base.plane && !Object.keys(item.state.moves).length) {
        now.kind = item.state.base.plane; now.seeds = [...item.state.base.seeds];
        now.at = item.state.base.at.map((value) => value / REACH[now.kind]);
      } else if (about.directions.length) {
        now.kind = "directions"; now.centre = structuredClone({ base: item.state.base, moves: item.state.moves });
      } else if ("seed" in item.state.base) { now.kind = "random"; now.seeds[0] = item.state.base.seed; }
      drawKinds(); drawDetail(); redraw();
    }, w.basket_explore);

    root.append(
      make("div", { class: "explore" },
        make("section", { class: "card image-part", "aria-label": w.image }, image, make("div", { class: "under" }, rate), actions, problem),
        make("section", { class: "card pad-part", "aria-label": w.plane }, pad, make("p", { class: "quiet" }, w.pad_keys)),
        make("section", { class: "card controls", "aria-label": w.settings }, runs.part, kinds, detail, labelsAt, psi)),
      make("section", { class: "card", "aria-label": w.seeds }, make("div", { class: "card-head" }, make("h3", {}, w.seeds),
        make("div", { class: "buttons" }, button("‹", () => pages(-1), { "aria-label": w.seeds_before }), range, button("›", () => pages(1), { "aria-label": w.seeds_after }))), seeds),
      basket, commands.part);

    async function begin(run) {
      about = await P.facts(run);
      fail("");
      now.psi = 1; psi.set(1); psi.hidden = !about.truncation;
      now.axes = [0, 1].map((i) => (about.directions[i] || { name: "" }).name);
      now.centre = { base: { seed: now.seeds[0] }, moves: {} };
      if (now.kind === "directions" && !about.directions.length) now.kind = "random";
      labels = P.labelPart(about, w, () => show(), () => { redraw(); drawSeeds(); });
      labelsAt.replaceChildren(labels.part);
      drawKinds(); drawDetail(); redraw();
      await drawSeeds();
    }
    await begin(runs.run());
  });
})();
