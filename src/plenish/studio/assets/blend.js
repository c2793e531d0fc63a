/* The page Blend: two images and the way between them, or four and the square between them. */
"use strict";

(() => {
  const P = plenishLatent, { make, button } = P;
  const FRAMES = 32, ACROSS = 8, SIDE = 7;

  P.mount("blend", async (root, w) => {
    const problem = make("p", { class: "problem", role: "alert" });
    const fail = (text) => { problem.textContent = text; };
    let slots = [null, null], active = 0, about = null, labels = null, frame = 0, timer = 0, address = null, round = 0;

    const runs = await P.runField(w, (run) => begin(run).catch((error) => fail(error.message)));
    const slotList = make("div", { class: "slots" });
    const names = () => (slots.length === 2 ? [w.from, w.to] : [w.corner_1, w.corner_2, w.corner_3, w.corner_4]);

    function drawSlots() {
      slotList.className = `slots of-${slots.length}`;
      slotList.replaceChildren(...slots.map((slot, i) => {
        const text = slot ? w.slot_full.replace("{slot}", names()[i]) : w.slot_empty.replace("{slot}", names()[i]);
        const made = make("button", { type: "button", class: slot ? "slot full" : "slot", "aria-pressed": String(i === active), "aria-label": text, onclick: () => { active = i; drawSlots(); slotList.children[i].focus(); } },
          slot ? make("img", { src: slot.picture, alt: "" }) : make("span", {}, "+"), make("span", { class: "quiet" }, names()[i]));
        P.dropTarget(made, (item) => { active = i; put(item.state, item.picture); });
        return made;
      }));
    }
    async function put(state, picture) {
      fail("");
      if (state.run !== runs.run()) return fail(w.other_run);
      try {
        slots[active] = { state: structuredClone(state), picture: picture || (await P.thumbnail(state)) };
        const empty = slots.findIndex((slot) => !slot);
        active = empty >= 0 ? empty : (active + 1) % slots.length;
        drawSlots();
        if (empty < 0) await blend();
      } catch (error) { fail(error.message); }
    }

    // The result: a film that is played, or a square

    const screen = make("div", { class: "screen", role: "img", "aria-label": w.film });
    const scrub = P.slider(w.frame, 0, FRAMES - 1, 1, 0, (value) => { stop(); at(value); });
    const play = button(w.play, () => (timer ? stop() : start()));
    const strip = make("div", { class: "strip", "aria-hidden": "true" });
    const result = make("section", { class: "card result", hidden: true, "aria-label": w.result });
    const across = () => (slots.length === 2 ? ACROSS : SIDE);
    const count = () => (slots.length === 2 ? FRAMES : SIDE * SIDE);
    function cell(element, i) {
      const rows = count() / across();
      element.style.backgroundImage = `url(${address})`;
      element.style.backgroundSize = `${100 * across()}% ${100 * rows}%`;
      element.style.backgroundPosition = `${(100 * (i % across())) / (across() - 1)}% ${(100 * Math.floor(i / across())) / (rows - 1)}%`;
    }
    function at(i) {
      frame = i;
      cell(screen, i);
      scrub.set(i);
      strip.querySelectorAll(".cell").forEach((one) => one.classList.toggle("now", Number(one.dataset.i) === i));
    }
    function stop() { clearInterval(timer); timer = 0; play.textContent = w.play; }
    function start() {
      stop();
      let step = 1;
      play.textContent = w.pause;
      timer = setInterval(() => {
        if (!P.visible(root)) return stop();
        if (frame + step >= count() || frame + step < 0) step = -step;
        at(frame + step);
      }, slots.length === 2 ? 42 : 150);
    }
    const states = () => slots.map((slot) => slot.state);
    async function blend() {
      const turn = ++round;
      stop();
      result.setAttribute("aria-busy", "true");
      result.hidden = false;
      try {
        const blob = await (await P.post("blend", "frames", { states: states() })).blob();
        if (turn !== round) return;
        if (address) URL.revokeObjectURL(address);
        address = URL.createObjectURL(blob);
        scrub.input.max = count() - 1;
        const shown = slots.length === 2 ? Array.from({ length: ACROSS }, (_, i) => Math.round((i * (FRAMES - 1)) / (ACROSS - 1))) : Array.from({ length: count() }, (_, i) => i);
        strip.className = `strip of-${slots.length}`;
        strip.style.gridTemplateColumns = `repeat(${across()}, 1fr)`;
        strip.replaceChildren(...shown.map((i) => {
          const made = make("div", { class: "cell", "data-i": i, onclick: () => { stop(); at(i); } });
          cell(made, i);
          return made;
        }));
        at(0);
        result.dataset.blended = String(Number(result.dataset.blended || 0) + 1);
        commands.set((await P.postJson("blend", "recipe", { states: states() })).commands);
        if (slots.length === 2 && !matchMedia("(prefers-reduced-motion: reduce)").matches) start();
      } catch (error) { fail(error.message); }
      result.removeAttribute("aria-busy");
    }
    const act = (work) => async () => { try { fail(""); await work(); } catch (error) { fail(error.message); } };
    const picked = async () => P.postJson("blend", "between", { states: states(), number: frame });
    const film = P.select([["webp", "WebP"], ["gif", "GIF"], ["mp4", "MP4"]], "webp", () => {});
    const commands = P.commandsPart(w);
    result.append(
      make("div", { class: "player" }, screen, make("div", { class: "play" }, scrub, make("div", { class: "buttons" }, play,
        button(w.keep, act(async () => P.basket.add(await picked(), w))),
        button(w.edit_this, act(async () => { document.dispatchEvent(new CustomEvent("plenish-edit", { detail: await picked() })); P.open("edit"); }))),
        make("div", { class: "buttons" }, P.field(w.film_kind, film), button(w.download, act(async () => P.save(await P.post("blend", "download", { states: states(), film: film.value }), "blend.zip")))))),
      strip, commands.part);

    // Where images come from

    const number = P.field(w.how_many, P.select([["2", w.two], ["4", w.four]], "2", (value) => {
      slots = Array.from({ length: Number(value) }, (_, i) => slots[i] || null);
      active = Math.max(0, slots.findIndex((slot) => !slot));
      result.hidden = true; stop();
      drawSlots();
      if (slots.every(Boolean)) blend();
    }));
    const labelsAt = make("div");
    const random = button(w.random, () => put({ run: runs.run(), psi: 1, y: labels.value(), base: { seed: P.seedOf() }, moves: {} }), { class: "plain-button primary" });
    const upload = P.uploadPart(w, runs.run, (state) => put(state));
    const basket = P.basketPart(w, (item) => put(item.state, item.picture), w.basket_blend);
    root.append(
      make("div", { class: "blend" },
        make("section", { class: "card", "aria-label": w.images }, number, slotList, problem),
        make("section", { class: "card controls", "aria-label": w.sources }, make("h3", {}, w.sources), runs.part, labelsAt, random, upload)),
      result, basket);

    async function begin(run) {
      about = await P.facts(run);
      slots = slots.map(() => null);
      active = 0;
      result.hidden = true; stop();
      labels = P.labelPart(about, w, () => {});
      labelsAt.replaceChildren(labels.part);
      drawSlots();
    }
    await begin(runs.run());
  });
})();
