/* What the pages Explore, Blend and Edit share: states of images, requests, the basket, labels, uploads. */
"use strict";

const plenishLatent = (() => {
  const MOST_KEPT = 40;
  const memory = {
    read(key, other) {
      try { return JSON.parse(sessionStorage.getItem(key)) ?? other; } catch { return other; }
    },
    write(key, value) {
      try { sessionStorage.setItem(key, JSON.stringify(value)); return true; } catch { return false; }
    },
  };

  // Requests

  async function answered(reply) {
    if (!reply.ok) throw new Error(await reply.text());
    return reply;
  }
  const get = async (page, name, values) => (await answered(await fetch(`/-/${page}/${name}?` + new URLSearchParams(values || {})))).json();
  const post = async (page, name, body) =>
    answered(await fetch(`/-/${page}/${name}`, { method: "POST", body: JSON.stringify(body) }));
  const postJson = async (page, name, body) => (await post(page, name, body)).json();

  const known = new Map();
  /** What there is to know of a generator. */
  function facts(run) {
    if (!known.has(run)) known.set(run, get("explore", "facts", { run }).catch((error) => (known.delete(run), Promise.reject(error))));
    return known.get(run);
  }
  let listed = null;
  const runs = () => (listed = listed || get("explore", "runs"));

  async function save(reply, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await reply.blob());
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }

  // Elements

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children.filter((child) => child != null));
    return element;
  }
  const button = (text, act, more) => make("button", { type: "button", class: "plain-button", onclick: act, ...more }, text);
  let ids = 0;
  /** A label above its control. */
  function field(text, control, more) {
    control.id = control.id || `latent-${++ids}`;
    return make("div", { class: "field", ...more }, make("label", { for: control.id }, text), control);
  }
  function select(options, chosen, changed) {
    const made = make("select", { onchange: () => changed(made.value) });
    for (const [value, text] of options) made.append(make("option", { value, selected: value === chosen }, text));
    return made;
  }
  /** A slider that shows its value. */
  function slider(text, least, most, step, value, input, change) {
    const shown = make("output", {}, String(value));
    const made = make("input", { type: "range", min: least, max: most, step, value });
    made.addEventListener("input", () => { shown.textContent = made.value; input(Number(made.value)); });
    if (change) made.addEventListener("change", () => change(Number(made.value)));
    const whole = field(text, made);
    whole.querySelector("label").append(" ", shown);
    whole.set = (now) => { made.value = now; shown.textContent = String(Number(now)); };
    whole.input = made;
    return whole;
  }
  const seedOf = () => Math.floor(Math.random() * 1e6);

  // Pictures

  /** Shows the newest state asked for in an image, one request at a time; those between are left out. */
  function viewer(image, failed) {
    let wanted = null, busy = false, address = null, complained = false;
    const times = [];
    async function next() {
      if (busy || !wanted) return;
      busy = true;
      const { state, done } = wanted;
      wanted = null;
      try {
        const blob = await (await post("explore", "image", state)).blob();
        const fresh = URL.createObjectURL(blob);
        image.src = fresh;
        await image.decode().catch(() => {});
        if (address) URL.revokeObjectURL(address);
        address = fresh;
        times.push(performance.now());
        if (times.length > 30) times.shift();
        image.dataset.shown = String(Number(image.dataset.shown || 0) + 1);
        if (complained) failed("");
        complained = false;
        if (done) done(state);
      } catch (error) { complained = true; failed(error.message); }
      busy = false;
      next();
    }
    return {
      show(state, done) { wanted = { state, done }; return next(); },
      /** Images a second over the last second. */
      rate() {
        const now = performance.now();
        return times.filter((time) => now - time < 1000).length;
      },
    };
  }

  async function thumbnail(state) {
    const blob = await (await post("explore", "image", state)).blob();
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(new Error("!"));
      reader.readAsDataURL(blob);
    });
  }

  // The basket: favourites of this browser tab

  let kept = memory.read("plenish-basket", []);
  let number = Math.max(0, ...kept.map((item) => item.number || 0));
  const basket = {
    items: () => kept,
    find: (n) => kept.find((item) => item.number === Number(n)),
    async add(state, w) {
      if (kept.length >= MOST_KEPT) throw new Error(w.basket_full);
      const fresh = { number: ++number, state: structuredClone(state), picture: await thumbnail(state) };
      kept = [...kept, fresh];
      if (!memory.write("plenish-basket", kept)) { kept = kept.slice(0, -1); throw new Error(w.basket_full); }
      this.changed();
      return fresh;
    },
    remove(n) {
      kept = kept.filter((item) => item.number !== n);
      memory.write("plenish-basket", kept);
      this.changed();
    },
    changed() { document.dispatchEvent(new Event("plenish-basket")); },
  };

  /** The basket as a part of a page; `pick` is told which favourite was chosen. */
  function basketPart(w, pick, hint) {
    const list = make("ul", { class: "basket-list" });
    const said = make("p", { class: "problem", role: "alert" });
    const saved = button(w.basket_download, async () => {
      try { await save(await post("explore", "download", { states: kept.map((item) => item.state), names: kept.map((item) => `favourite-${item.number}`) }), "plenish.zip"); said.textContent = ""; }
      catch (error) { said.textContent = error.message; }
    });
    const part = make("section", { class: "card basket", "aria-label": w.basket },
      make("div", { class: "card-head" }, make("h3", {}, w.basket), saved), make("p", { class: "quiet" }, hint), list, said);
    function draw() {
      list.replaceChildren(...kept.map((item) => {
        const name = w.favourite.replace("{n}", item.number);
        const chosen = make("button", { type: "button", class: "thumb", draggable: "true", "aria-label": name, title: name, onclick: () => pick(item) },
          make("img", { src: item.picture, alt: "", draggable: "false" }));
        chosen.addEventListener("dragstart", (event) => event.dataTransfer.setData("text/plain", `favourite ${item.number}`));
        const gone = make("button", { type: "button", class: "gone", "aria-label": `${w.remove} ${name}`, title: w.remove, onclick: () => {
          basket.remove(item.number);
          (list.querySelector(".thumb") || saved).focus();
        } }, "×");
        return make("li", {}, chosen, gone);
      }));
      if (!kept.length) list.append(make("li", { class: "quiet none" }, w.basket_empty));
      saved.disabled = !kept.length;
    }
    document.addEventListener("plenish-basket", draw);
    draw();
    return part;
  }
  /** Make an element take a favourite that is dropped on it. */
  function dropTarget(element, taken) {
    element.addEventListener("dragover", (event) => { event.preventDefault(); element.classList.add("over"); });
    element.addEventListener("dragleave", () => element.classList.remove("over"));
    element.addEventListener("drop", (event) => {
      event.preventDefault();
      element.classList.remove("over");
      const found = /^favourite (\d+)$/.exec(event.dataTransfer.getData("text/plain"));
      const item = found && basket.find(found[1]);
      if (item) taken(item);
    });
  }

  // Labels

  /** Controls for a label; `input` and `change` are told the numbers. */
  function labelPart(about, w, input, change) {
    const { kind, names } = about.labels;
    const part = make("div", { class: "labels" });
    let y = kind === "none" ? null : names.map((_, i) => (kind === "categorical" && i === 0 ? 1 : 0));
    let pair = [0, Math.min(1, names.length - 1)];
    const said = () => input(y), settled = () => (change || input)(y);
    function draw() {
      part.replaceChildren();
      if (kind === "categorical" && names.length > 1) {
        const way = slider(`${w.class}: ${names[pair[0]]} → ${names[pair[1]]}`, 0, 1, 0.01, y[pair[1]].toFixed(2) * 1, (t) => {
          y = names.map(() => 0);
          y[pair[0]] = 1 - t; y[pair[1]] += t;
          said();
        }, settled);
        if (names.length > 2) {
          const choose = (k) => field(k ? w.class_to : w.class_from, select(names.map((name, i) => [String(i), name]), String(pair[k]), (value) => {
            pair[k] = Number(value);
            y = names.map((_, i) => Number(i === pair[k]));
            draw(); said(); settled();
          }));
          part.append(make("div", { class: "pair" }, choose(0), choose(1)));
        }
        part.append(way);
      } else if (kind === "multilabel" || kind === "continuous") {
        const [least, most] = kind === "multilabel" ? [0, 1] : [-3, 3];
        names.slice(0, 12).forEach((name, i) => part.append(slider(name, least, most, 0.01, y[i], (value) => { y[i] = value; said(); }, settled)));
      }
    }
    draw();
    return {
      part, value: () => (y ? [...y] : null),
      set(now) {
        if (!y || !now) return;
        y = [...now];
        if (kind === "categorical") {
          const order = y.map((_, i) => i).sort((a, b) => y[b] - y[a]);
          if (names.length > 2) pair = y[order[1]] > 0 ? order.slice(0, 2).sort() : (pair.includes(order[0]) ? pair : [order[0], order[1]]);
        }
        draw();
      },
    };
  }

  /** A menu of the generators, where there are several; the choice is that of all pages. */
  async function runField(w, changed) {
    const { generator } = await runs();
    const stored = memory.read("plenish-run", "");
    const first = generator.some((one) => one.run === stored) ? stored : generator[0].run;
    const menu = select(generator.map((one) => [one.run, one.name]), first, (run) => { memory.write("plenish-run", run); changed(run); });
    return { part: field(w.generator, menu, { hidden: generator.length < 2 }), run: () => menu.value, set: (run) => { menu.value = run; } };
  }

  // Work that takes longer, and uploads

  async function work(started, page, bar) {
    const { job } = await started;
    bar.hidden = false;
    try {
      for (;;) {
        const now = await get("blend", "job", { job });
        if (now.problem) throw new Error(now.problem);
        bar.value = now.share;
        if (now.result) return now.result;
        await new Promise((wake) => setTimeout(wake, 250));
      }
    } finally { bar.hidden = true; }
  }
  const bar = (w) => make("progress", { max: 1, value: 0, "aria-label": w.working, hidden: true });

  /** A button for a real picture, which is inverted; `taken` gets the state, `said` what to tell. */
  function uploadPart(w, run, taken) {
    const input = make("input", { type: "file", accept: "image/png,image/jpeg,image/webp,image/tiff,image/bmp,image/gif" });
    const said = make("p", { class: "quiet", role: "status" }), shows = bar(w);
    input.addEventListener("change", async () => {
      if (!input.files.length) return;
      const file = input.files[0];
      input.disabled = true;
      said.textContent = w.inverting;
      try {
        const reply = await answered(await fetch("/-/upload", { method: "POST", body: file }));
        const asked = new URLSearchParams({ run: run(), picture: await reply.text() });
        const begun = answered(await fetch("/-/blend/invert?" + asked, { method: "POST" })).then((ready) => ready.json());
        const found = await work(begun, "blend", shows);
        said.textContent = w.inverted.replace("{error}", found.error.toPrecision(2)).replace("{steps}", found.steps);
        await taken(found.state, file.name);
      } catch (error) { said.textContent = error.message; }
      input.disabled = false;
      input.value = "";
    });
    const label = make("label", { class: "upload plain-button" }, make("span", {}, w.upload), input);
    return make("div", { class: "upload-part" }, label, shows, said);
  }

  /** A part that shows commands, and copies them. */
  function commandsPart(w) {
    const text = make("code", {}), block = make("pre", { tabindex: "0", "aria-label": w.commands }, text);
    const told = make("span", { class: "quiet", role: "status" });
    const copy = button(w.copy, async () => {
      try { await navigator.clipboard.writeText(text.textContent); told.textContent = w.copied; } catch { told.textContent = w.not_copied; }
    });
    const part = make("details", { class: "card commands" }, make("summary", {}, w.commands), block, copy, " ", told);
    return { part, set: (lines) => { text.textContent = lines.join("\n"); told.textContent = ""; } };
  }

  /** Fill the place of a page as soon as it is there, whenever it is made anew. */
  function mount(page, fill) {
    function look() {
      for (const root of document.querySelectorAll(`[data-latent="${page}"]:not([data-filled])`)) {
        root.dataset.filled = "";
        fill(root, JSON.parse(root.dataset.words)).catch((error) => root.append(make("p", { class: "problem", role: "alert" }, error.message)));
      }
    }
    new MutationObserver(look).observe(document.documentElement, { childList: true, subtree: true });
    look();
  }
  function open(page) {
    const tab = document.getElementById(`page-${page}-button`);
    if (tab) tab.click();
  }
  const visible = (root) => root.isConnected && root.offsetParent !== null;

  return {
    memory, get, post, postJson, facts, runs, save, make, button, field, select, slider, seedOf, viewer, thumbnail, basket,
    basketPart, dropTarget, labelPart, runField, work, bar, uploadPart, commandsPart, mount, open, visible,
  };
})();
