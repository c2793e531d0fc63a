/* The page Edit: sliders, class flip, equation, counterfactual; undo, history, and links to a state. */
"use strict";

(() => {
  const P = plenishLatent, { make, button, field } = P;
  const MOST_STEPS = 100, MOST_LINK = 12_000;
  const toLink = (state) => btoa(JSON.stringify(state)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  function fromLink() {
    const found = /^#edit=([\w-]+)$/.exec(location.hash);
    if (!found) return null;
    try { return JSON.parse(atob(found[1].replaceAll("-", "+").replaceAll("_", "/"))); } catch { return {}; }
  }
  let waiting = null;
  document.addEventListener("plenish-edit", (event) => { waiting = structuredClone(event.detail); });

  P.mount("edit", async (root, w) => {
    const problem = make("p", { class: "problem", role: "alert" }), told = make("p", { class: "quiet", role: "status" });
    const fail = (text) => { problem.textContent = text; };
    let about = null, labels = null, state = null, steps = [], place = -1, sliders = {}, classifiers = [];

    const before = make("img", { class: "big", alt: w.before_alt }), after = make("img", { class: "big", alt: w.after_alt });
    const first = P.viewer(before, fail), view = P.viewer(after, fail);
    const commands = P.commandsPart(w);
    const runs = await P.runField(w, (run) => begin(run).then(() => startAt(seeded(P.seedOf()), w.step_seed)).catch((error) => fail(error.message)));
    const seeded = (seed) => ({ run: runs.run(), psi: 1, y: labels.value(), base: { seed }, moves: {} });
    // What goes wrong is told at the top, or where `say` puts it: on a phone the top may be screens away.
    const act = (work, say = fail) => async (...given) => { try { fail(""); say(""); await work(...given); } catch (error) { say(error.message); } };

    // History

    const list = make("ol", { class: "history" });
    const undo = button(w.undo, () => go(place - 1), { "aria-keyshortcuts": "Control+Z" });
    const redo = button(w.redo, () => go(place + 1), { "aria-keyshortcuts": "Control+Shift+Z" });
    function remember() {
      if (!P.memory.write("plenish-edit", { steps, place })) P.memory.write("plenish-edit", { steps: [steps[place]], place: 0 });
    }
    /** Make a state the present one, as a step that can be undone. */
    function step(next, what, made, tag) {
      const last = steps[place], again = tag && last.tag === tag && Date.now() - last.when < 2000;
      const fresh = { state: structuredClone(next), what, made: made || [], tag, when: Date.now() };
      steps = [...steps.slice(0, again ? place : place + 1), fresh].slice(-MOST_STEPS);
      go(steps.length - 1);
    }
    function go(to) {
      if (to < 0 || to >= steps.length) return;
      place = to;
      state = structuredClone(steps[place].state);
      labels.set(state.y);
      for (const [name, one] of Object.entries(sliders)) one.set(state.moves[name] || 0);
      psi.set(state.psi);
      draw();
    }
    async function draw() {
      undo.disabled = place <= 0;
      redo.disabled = place >= steps.length - 1;
      list.replaceChildren(...steps.map((one, i) => make("li", {}, make("button", { type: "button", class: "link", "aria-current": i === place ? "step" : false, onclick: () => go(i) }, one.what))));
      list.scrollTop = list.scrollHeight;
      const hash = "#edit=" + toLink(state);
      const here = new URL(location.href);
      here.hash = hash.length <= MOST_LINK ? hash : "";
      if (P.visible(root)) history.replaceState(null, "", here);
      remember();
      const start = steps.slice(0, place + 1).findLast((one) => one.start) || steps[0];
      if (start) first.show(start.state);
      view.show(state);
      drawTerms();
      const asked = state;
      try {
        const lines = (await P.postJson("explore", "recipe", state)).commands;
        if (asked !== state) return;
        const made = steps[place].made.length ? steps[place].made : [];
        commands.set([...made, ...lines]);
      } catch (error) { fail(error.message); }
    }
    function startAt(next, what) {
      steps = [...steps.slice(0, place + 1), { state: structuredClone(next), what, made: [], start: true }].slice(-MOST_STEPS);
      go(steps.length - 1);
    }
    /** Open a state from elsewhere, checked by the server. */
    async function openState(given, what) {
      const { state: checked } = await P.postJson("explore", "recipe", given);
      if (checked.run !== runs.run() || !about) { runs.set(checked.run); await begin(checked.run); }
      startAt(checked, what);
    }
    document.addEventListener("keydown", (event) => {
      if (!P.visible(root) || !(event.ctrlKey || event.metaKey) || event.key.toLowerCase() !== "z") return;
      if (event.target.matches("input:not([type=range]), textarea")) return;
      event.preventDefault();
      go(place + (event.shiftKey ? 1 : -1));
    });

    // Sliders

    const concepts = make("div", { class: "sliders" }), labelsAt = make("div");
    const psi = P.slider(w.truncation, 0, 1, 0.05, 1, (value) => { state.psi = value; view.show(state); }, (value) => step(state, `${w.truncation} ${value}`, [], "psi"));
    const flip = button(w.flip, act(async () => {
      const found = await P.postJson("edit", "flip", state);
      step(found.state, w.step_flip.replace("{name}", about.labels.names[found.state.y.indexOf(1)]), found.commands);
    }));
    function drawSliders() {
      sliders = {};
      concepts.replaceChildren();
      for (const one of about.directions) {
        const name = one.learnt ? one.name : w.sefa.replace("{n}", one.name.split("-")[1]);
        const made = P.slider(name, -3, 3, 0.1, 0, (value) => { state.moves[one.name] = value; if (!value) delete state.moves[one.name]; view.show(state); },
          (value) => step(state, `${name} ${value > 0 ? "+" : ""}${value}`, [], name));
        sliders[one.name] = made;
        concepts.append(made);
      }
      if (about.directions.some((one) => !one.learnt)) concepts.append(make("p", { class: "quiet" }, w.sefa_hint));
      if (!about.directions.length) concepts.append(make("p", { class: "quiet" }, w.no_directions));
    }

    // The equation

    const equation = make("div", { class: "equation" }), unsolved = make("p", { class: "problem", role: "alert" });
    const plain = (factor) => ({ factor, state: null, picture: "", favourite: "" });
    let terms = [plain(1), plain(-1), plain(1)];
    function choose(term, value) {
      const item = P.basket.find(value);
      if (value === "now") { term.state = structuredClone(state); term.picture = after.src; }
      else { term.state = item ? item.state : null; term.picture = item ? item.picture : ""; }
      term.favourite = value;
      if (value === "now") P.thumbnail(state).then((picture) => { term.picture = picture; drawTerms(); }).catch(() => {});
      drawTerms();
    }
    const compute = button(w.compute, act(async () => {
      const given = terms.filter((term) => term.state);
      if (given.length < 2) throw new Error(w.two_terms);
      const found = await P.postJson("edit", "equation", { terms: given.map((term) => ({ factor: term.factor, state: term.state, name: term.favourite === "now" ? "edited" : `favourite-${term.favourite}` })) });
      if (found.state.run !== runs.run()) { runs.set(found.state.run); await begin(found.state.run); }
      step(found.state, w.step_equation, found.commands);
    }, (text) => { unsolved.textContent = text; }), { class: "plain-button primary" });
    function drawTerms() {
      const focus = equation.contains(document.activeElement) ? document.activeElement.dataset.place : null;
      equation.replaceChildren(...terms.map((term, i) => {
        const name = w.term.replace("{n}", i + 1);
        const sign = make("button", { type: "button", class: "plain-button sign", "data-place": `sign-${i}`, "aria-label": `${name}: ${term.factor > 0 ? w.plus : w.minus}. ${w.change_sign}`,
          onclick: () => { term.factor = -term.factor; drawTerms(); } }, term.factor > 0 ? "+" : "−");
        const options = [["", w.choose], ["now", w.present], ...P.basket.items().map((item) => [String(item.number), w.favourite.replace("{n}", item.number)])];
        const menu = P.select(options, term.favourite, (value) => choose(term, value));
        menu.setAttribute("aria-label", name);
        menu.dataset.place = `menu-${i}`;
        const target = make("div", { class: "target" }, term.picture ? make("img", { src: term.picture, alt: "" }) : make("span", { class: "quiet" }, w.drop));
        P.dropTarget(target, (item) => choose(term, String(item.number)));
        return make("div", { class: "term" }, sign, make("div", {}, target, menu));
      }), make("div", { class: "buttons" }, compute, button(w.more_terms, () => { if (terms.length < 8) terms.push(plain(1)); drawTerms(); }, { "data-place": "more" })));
      if (focus) { const same = equation.querySelector(`[data-place="${focus}"]`); if (same) same.focus(); }
    }
    document.addEventListener("plenish-basket", drawTerms);

    // Counterfactual

    const turning = make("section", { class: "card", "aria-label": w.counterfactual, hidden: true });
    const shows = P.bar(w), chances = make("p", { class: "quiet", role: "status" });
    let classMenu = null, classifierMenu = null;
    async function drawTurning() {
      classifiers = (await P.runs()).classifier;
      turning.hidden = !classifiers.length;
      if (!classifiers.length) return;
      const chosen = classifierMenu ? classifierMenu.value : classifiers[0].run;
      classifierMenu = P.select(classifiers.map((one) => [one.run, one.name]), chosen, drawTurning);
      let names = [];
      try { names = (await P.get("edit", "classes", { classifier: chosen, run: runs.run() })).names; chances.textContent = ""; }
      catch (error) { chances.textContent = error.message; }
      classMenu = P.select(names.map((name) => [name, name]), names[names.length - 1], () => {});
      const turn = button(w.turn, act(async () => {
        turn.disabled = true;
        chances.textContent = w.working;
        try {
          const found = await P.work(P.postJson("edit", "counterfactual", { state, classifier: chosen, to: classMenu.value }), "edit", shows);
          const words = found.already ? w.turned_already : found.turned ? w.turned : w.not_turned;
          chances.textContent = words.replace("{name}", classMenu.value).replace("{before}", found.before.toFixed(2)).replace("{after}", found.after.toFixed(2));
          if (found.turned) step(found.state, w.step_turned.replace("{name}", classMenu.value), found.commands);
        } finally { turn.disabled = false; if (chances.textContent === w.working) chances.textContent = ""; }
      }, (text) => { chances.textContent = text; }), { disabled: !names.length });
      const judge = button(w.judge, act(async () => {
        const found = await P.postJson("edit", "judged", { state, classifier: chosen });
        chances.textContent = found.classes.map(([name, p]) => `${name} ${p.toFixed(2)}`).join(", ");
      }, (text) => { chances.textContent = text; }), { disabled: !names.length });
      turning.replaceChildren(make("h3", {}, w.counterfactual), make("p", { class: "quiet" }, w.counterfactual_lead),
        make("div", { class: "pair" }, field(w.classifier, classifierMenu, { hidden: classifiers.length < 2 }), field(w.turn_to, classMenu)), make("div", { class: "buttons" }, turn, judge), shows, chances);
    }

    // Start, and what can be taken away

    const seed = make("input", { type: "number", min: 0, max: 2147483647, step: 1, value: 1 });
    const useSeed = act(async () => {
      const value = Number(seed.value);
      if (!Number.isInteger(value) || value < 0 || value > 2147483647) throw new Error(w.bad_seed);
      startAt(seeded(value), `${w.step_seed} ${value}`);
    });
    seed.addEventListener("keydown", (event) => { if (event.key === "Enter") useSeed(); });
    const upload = P.uploadPart(w, runs.run, (found, name) => startAt(found, name));
    const copied = act(async () => {
      if (!location.hash) throw new Error(w.link_long);
      await navigator.clipboard.writeText(location.href).then(() => { told.textContent = w.copied; }, () => { told.textContent = w.not_copied; });
    });
    const actions = make("div", { class: "buttons" }, undo, redo, flip,
      button(w.keep, act(() => P.basket.add(state, w))), button(w.copy_link, copied),
      button(w.save_image, act(async () => P.save(await P.post("explore", "image", state), "image.png"))),
      button(w.save_latent, act(async () => P.save(await P.post("explore", "latent", state), "latent.npy"))),
      button(w.save_all, act(async () => P.save(await P.post("explore", "download", { states: [state] }), "edit.zip"))));

    root.append(
      make("div", { class: "edit" },
        make("div", { class: "edit-main" },
          make("section", { class: "card", "aria-label": w.images },
            make("div", { class: "both" }, make("figure", {}, before, make("figcaption", { class: "quiet" }, w.before)), make("figure", {}, after, make("figcaption", { class: "quiet" }, w.after))),
            actions, told, problem),
          make("section", { class: "card", "aria-label": w.equation }, make("h3", {}, w.equation), make("p", { class: "quiet" }, w.equation_lead), equation, unsolved),
          turning),
        make("div", { class: "edit-side" },
          make("section", { class: "card controls", "aria-label": w.properties }, make("h3", {}, w.properties), labelsAt, concepts, psi),
          make("section", { class: "card controls", "aria-label": w.start }, make("h3", {}, w.start), runs.part, field(w.seed_start, seed),
            make("div", { class: "buttons" }, button(w.use_seed, useSeed), button(w.random, () => { seed.value = P.seedOf(); useSeed(); })), upload),
          make("section", { class: "card", "aria-label": w.history }, make("h3", {}, w.history), list))),
      P.basketPart(w, act((item) => openState(item.state, w.favourite.replace("{n}", item.number))), w.basket_edit), commands.part);

    async function begin(run) {
      about = await P.facts(run);
      labels = P.labelPart(about, w, (y) => { state.y = [...y]; view.show(state); }, (y) => {
        state.y = [...y];
        step(state, `${w.class} ${about.labels.kind === "categorical" ? about.labels.names.map((name, i) => (y[i] ? `${name} ${y[i].toFixed(2)}` : "")).filter(Boolean).join(", ") : ""}`, [], "class");
      });
      labelsAt.replaceChildren(labels.part);
      psi.hidden = !about.truncation;
      flip.hidden = about.labels.kind !== "categorical" || about.labels.names.length < 2;
      drawSliders();
      await drawTurning();
    }
    drawTerms();
    await begin(runs.run());

    async function arrive() {
      const link = waiting || fromLink();
      const what = waiting ? w.step_explored : w.step_link;
      waiting = null;
      const past = P.memory.read("plenish-edit", null);
      const same = past && Array.isArray(past.steps) && past.steps[past.place] && (!link || JSON.stringify(past.steps[past.place].state) === JSON.stringify(link));
      try {
        if (same) {
          const run = past.steps[past.place].state.run;
          if (run !== runs.run()) { await P.facts(run); runs.set(run); await begin(run); }
          steps = past.steps;
          return go(past.place);
        }
        if (link) return await openState(link, what);
      } catch (error) { fail(error.message); }
      startAt(seeded(1), `${w.step_seed} 1`);
    }
    await arrive();
    document.addEventListener("plenish-edit", act(async (event) => { waiting = null; await openState(event.detail, w.step_explored); }));
    addEventListener("hashchange", act(async () => {
      const link = fromLink();
      if (link && JSON.stringify(link) !== JSON.stringify(state)) await openState(link, w.step_link);
    }));
  });
})();
