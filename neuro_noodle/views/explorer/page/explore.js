"use strict";
// The state of the page, and what changes it.

class Explorer {
  constructor(page) {
    this.page = page;
    this.ids = page.ids;
    this.n = page.ids.length;
    this.everyIndex = Array.from(page.ids.keys());
    this.columns = page.columns.map((column) => new ColouredColumn(column, page.palettes));
    this.column = this.columns[0];
    this.sheets = page.tiles && new Sheets(page.tiles);
    this.filters = new Map(); // by name of the column: {column, hidden: Set of codes} or {column, from, to}
    this.visible = null;
    this.selection = [];
    this.lineStart = null;
    this.line = null;
    this.subject = null; // {map, index | null, note}
    this.latents = new Map(); // of the current image or place, by map; sliders change them
    this.hasChanged = false;
    this.pointer = { clientX: 0, clientY: 0 };
    this.maps = page.runs.map((run) => this.addMap(run));
    this.decoding = this.maps.filter((map) => map.decoder);
    this.draw = atNextFrame(() => this.render());
    this.drawLatents = atNextFrame(() => showLatents(this));
  }

  addMap(run) {
    const caption = make("figcaption", {}, make("small", { textContent: run.text }));
    if (this.page.runs.length > 1) caption.prepend(make("b", { textContent: run.name }));
    const canvas = make("canvas", { tabIndex: 0 });
    canvas.setAttribute("aria-label", `map of ${run.name}; arrow keys move it, n shows the next image`);
    const overlay = document.createElementNS(SVG, "svg");
    const frame = make(
      "div",
      { className: "map" },
      canvas,
      overlay,
      make("span", { className: "axes", textContent: run.axes }),
    );
    const figure = make("figure", {}, caption, frame);
    byId("maps").append(figure);
    const map = new RunMap(run, frame, {
      hover: (index) => this.hover(index, map),
      click: (index, place) => this.click(map, index, place),
      lasso: (indices) => this.lasso(indices),
      line: (a, b) => this.drawLine(map, a, b),
    });
    map.decoder = run.decoder ? new Decoder(run.decoder) : run.grid ? new GridDecoder(run.grid) : null;
    if (run.times.length > 1) figure.append(this.addTimes(map));
    return map;
  }

  addTimes(map) {
    const last = map.run.times.length - 1;
    const input = make("input", { type: "range", min: 0, max: last, step: 1, value: last });
    input.setAttribute("aria-label", `time in the training of ${map.run.name}`);
    const output = make("output", { textContent: map.run.times[last].label });
    const note = make("small", { textContent: map.run.time_note, hidden: true });
    const show = async (time) => {
      if (time < 0 || time > last || time === map.time) return;
      map.time = time;
      [input.value, output.textContent, note.hidden] = [time, map.run.times[time].label, time === last];
      await map.draw(this.column, true);
      this.markMaps();
    };
    let playing = null; // a new object each time that playing starts
    map.setTime = (time) => {
      playing = null;
      return show(time);
    };
    input.addEventListener("input", () => map.setTime(Number(input.value)));
    const play = make("button", { textContent: "▶", title: "Play the training, or stop" });
    play.setAttribute("aria-label", "play the training, or stop");
    play.addEventListener("click", async () => {
      const own = (playing = playing ? null : {});
      for (let time = 0; own && own === playing && time <= last; time++) {
        await show(time);
        await new Promise((resolve) => setTimeout(resolve, 250));
      }
      if (own === playing) playing = null;
    });
    return make("div", { className: "times" }, play, input, output, note);
  }

  /** The map whose decoder sliders and directions use. */
  get active() {
    const wanted = this.subject?.map;
    return this.latents.has(wanted) ? wanted : [...this.latents.keys()][0];
  }

  // ------------------------------------------------------------------------------------------------- pointing

  hover(index, from) {
    for (const map of this.maps) if (map !== from) map.hover(index);
    showHover(this, index, this.pointer);
  }

  /** A click on an image shows it; a click elsewhere decodes the place. */
  click(map, index, [x, y]) {
    if (index !== null) return this.showImage(index, map);
    if (!map.decoder || !map.isLast) {
      const near = map.nearest(x, y)[0];
      if (near)
        this.showImage(
          near.index,
          map,
          map.decoder
            ? "the image nearest to the click; places decode at the end of training"
            : "the image nearest to the click",
        );
      return;
    }
    const text = map.run.is_latent
      ? `latent ${[...map.latentAt(x, y)].map(formatNumber).join(", ")}`
      : map.run.place_text;
    this.showPlace(map, map.latentAt(x, y), text, [x, y]);
  }

  showImage(index, map = this.maps.find((one) => one === this.subject?.map) || this.maps[0], note = "") {
    this.subject = { map, index, note };
    this.latents = new Map(this.decoding.map((one) => [one, Float32Array.from(one.latentOf(index))]));
    for (const one of this.maps) one.reveal(index);
    this.changed();
  }

  /** Show what a run decodes from a latent that belongs to no image; place is where the latent is on its map. */
  showPlace(map, latent, note, place = map.placeOf(latent)) {
    this.subject = { map, index: null, note, place };
    this.latents = new Map([[map, latent]]);
    this.changed();
  }

  changeLatent(map, number, value) {
    this.latents.get(map)[number] = value;
    this.hasChanged = true;
    this.draw();
    this.markMaps();
  }

  changed() {
    this.hasChanged = false;
    document.querySelector("#direction input").value = 0;
    if (document.querySelector("#direction select").dataset.of !== this.active?.run.name) {
      document.querySelector("#direction select").dataset.of = this.active?.run.name;
      listDirections(this);
    }
    this.drawLatents();
    this.draw();
    this.markMaps();
  }

  render() {
    if (!this.subject) return;
    showSubject(this);
    showDirection(this);
  }

  clear() {
    this.subject = null;
    this.latents = new Map();
    this.line = null;
    this.lineStart = null;
    for (const id of ["latents", "direction", "line"]) byId(id).hidden = true;
    for (const part of document.querySelectorAll("#subject .pictures, #subject dl, #subject .buttons"))
      part.replaceChildren();
    document.querySelector("#subject h2").textContent = "Image";
    document.querySelector("#subject .note").textContent = this.page.hint;
    this.lasso([]);
    this.markMaps();
  }

  /** Mark the current image, place and line on every map, and a place on the line of one of them. */
  markMaps(lined = null, onLine = null) {
    for (const map of this.maps) {
      const marks = [];
      if (this.line) {
        const [a, b] = this.line.ends;
        marks.push({ x: map.x[a], y: map.y[a], toX: map.x[b], toY: map.y[b] });
      }
      if (map === lined && onLine) marks.push({ x: onLine[0], y: onLine[1] });
      const { index, map: own, place } = this.subject || {};
      const latent = this.hasChanged && this.latents.get(map);
      const at = latent ? map.placeOf(latent) : own === map ? place : null;
      if (index !== null && index !== undefined) marks.push({ x: map.x[index], y: map.y[index] });
      if (at && map.isLast) marks.push({ x: at[0], y: at[1] });
      map.mark(marks);
    }
  }

  // ---------------------------------------------------------------------------------------------------- lines

  drawLine(map, a, b) {
    const decoding = map.decoder ? map : this.decoding[0];
    byId("hover").hidden = true;
    if (!decoding || a === null || a === b) {
      document.querySelector("#subject .note").textContent = "Drag a line from one image to another.";
      this.markMaps();
      return;
    }
    this.line = { map: decoding, ends: [a, b] };
    showLine(this);
    this.markMaps();
    byId("line").scrollIntoView({ block: "nearest" });
  }

  startLine() {
    this.lineStart = this.subject.index;
    this.draw();
  }

  endLine() {
    this.drawLine(this.active, this.lineStart, this.subject.index);
  }

  // --------------------------------------------------------------------------------------- colours and filters

  async setColour(name) {
    this.column = this.columns.find((column) => column.name === name);
    showLegend(this);
    for (const map of this.maps) {
      await map.draw(this.column);
      map.filter(this.visible);
      map.select(this.selection);
    }
    showSelection(this);
  }

  toggleClass(column, code) {
    const hidden = new Set(this.filters.get(column.name)?.hidden);
    if (!hidden.delete(code)) hidden.add(code);
    this.setFilter(column, { column, hidden }, hidden.size > 0);
  }

  showOnlyClass(column, code) {
    const hidden = new Set(column.palette.keys());
    hidden.delete(code);
    const before = this.filters.get(column.name)?.hidden;
    const isOnly = before?.size === hidden.size && !before.has(code);
    this.setFilter(column, { column, hidden }, !isOnly);
  }

  setRange(column, end, value) {
    const range = { column, from: column.low, to: column.high, ...this.filters.get(column.name), [end]: value };
    this.setFilter(column, range, range.from > column.low || range.to < column.high);
  }

  setFilter(column, filter, isNeeded) {
    if (isNeeded) this.filters.set(column.name, filter);
    else this.filters.delete(column.name);
    this.applyFilters();
    if (column.isClass) showLegend(this);
  }

  clearFilters() {
    this.filters.clear();
    this.applyFilters();
    showLegend(this);
  }

  applyFilters() {
    const passes = ({ column, hidden, from, to }, index) =>
      hidden ? !hidden.has(column.codes[index]) : column.values.data[index] >= from && column.values.data[index] <= to;
    const filters = [...this.filters.values()];
    this.visible = filters.length
      ? Uint8Array.from(this.everyIndex, (index) => Number(filters.every((filter) => passes(filter, index))))
      : null;
    for (const map of this.maps) map.filter(this.visible);
    showHidden(this);
  }

  lasso(indices) {
    this.selection = indices;
    for (const map of this.maps) map.select(indices);
    showSelection(this);
    if (indices.length) byId("selection").scrollIntoView({ block: "nearest" });
  }

  // -------------------------------------------------------------------------------------------------- by name

  search(text) {
    const wanted = text.trim();
    const exact = this.ids.indexOf(wanted);
    const found = exact >= 0 ? [exact] : this.everyIndex.filter((index) => this.ids[index].includes(wanted));
    if (!found.length) {
      document.querySelector("#subject .note").textContent = `no image has ${wanted} in its id`;
      return;
    }
    const at = (found.indexOf(this.subject?.index ?? -1) + 1) % found.length; // the one after the current image
    const note =
      found.length > 1 ? `${at + 1} of ${found.length} ids that contain ${wanted}; Enter shows the next` : "";
    this.showImage(found[at], undefined, note);
  }

  /** Show the image that is so many after the current one, of the lassoed or visible ones. */
  step(by) {
    const among = this.selection.length
      ? this.selection
      : this.everyIndex.filter((i) => !this.visible || this.visible[i]);
    if (!among.length) return;
    const at = among.indexOf(this.subject?.index ?? -1);
    this.showImage(among[(at + by + among.length + (at < 0 && by < 0 ? 1 : 0)) % among.length]);
  }

  setMode(mode) {
    document.querySelector(`#modes input[value=${mode}]`).checked = true;
    for (const map of this.maps) map.setMode(mode);
  }

  setTheme(theme) {
    document.documentElement.dataset.theme = theme;
    const ground = getComputedStyle(document.documentElement).getPropertyValue("--ground").trim();
    for (const map of this.maps) map.setTheme(ground);
  }
}

/** Return a function that calls another one at the next frame, once however often it was called. */
function atNextFrame(call) {
  let isWaiting = false;
  return () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      call();
    });
  };
}

function listenToTools(explorer) {
  const select = byId("colour");
  select.append(...explorer.columns.map((column) => make("option", { value: column.name, textContent: column.name })));
  select.addEventListener("change", () => explorer.setColour(select.value));
  byId("ids").append(...explorer.ids.slice(0, 1000).map((id) => make("option", { value: id })));
  byId("search").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.value.trim()) explorer.search(event.target.value);
    if (event.key === "Escape") event.target.blur();
  });
  for (const input of document.querySelectorAll("#modes input"))
    input.addEventListener("change", () => explorer.setMode(input.value));
  byId("reset").addEventListener("click", () => explorer.maps.forEach((map) => map.reset()));
  byId("theme").addEventListener("click", () => toggleTheme(explorer));
  byId("help").addEventListener("click", () => byId("about").showModal());
  byId("notes").append(...explorer.page.notes.map((note) => make("li", { textContent: note })));
  window.addEventListener("pointermove", (event) => (explorer.pointer = event), { capture: true });
  window.addEventListener("scroll", () => (byId("hover").hidden = true), { capture: true });
  for (const element of document.querySelectorAll("#direction select, #direction input")) {
    element.addEventListener("input", () => explorer.draw());
  }
  if (!explorer.decoding.length) for (const part of document.querySelectorAll(".decodes")) part.hidden = true;
}

function toggleTheme(explorer) {
  explorer.setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

function listenToKeys(explorer) {
  const everyMap = (call) => () => explorer.maps.forEach(call);
  const step = (by) => everyMap((map) => map.setTime?.(map.time + by));
  const keys = {
    m: () => explorer.setMode("move"),
    e: () => explorer.decoding.length && explorer.setMode("decode"),
    i: () => explorer.decoding.length && explorer.setMode("line"),
    l: () => explorer.setMode("lasso"),
    "+": everyMap((map) => map.zoom(0.8)),
    "-": everyMap((map) => map.zoom(1.25)),
    0: everyMap((map) => map.reset()),
    ArrowLeft: everyMap((map) => map.pan(-0.1, 0)),
    ArrowRight: everyMap((map) => map.pan(0.1, 0)),
    ArrowUp: everyMap((map) => map.pan(0, 0.1)),
    ArrowDown: everyMap((map) => map.pan(0, -0.1)),
    n: () => explorer.step(1),
    p: () => explorer.step(-1),
    a: () => explorer.decoding.length && explorer.subject?.index != null && explorer.startLine(),
    b: () => explorer.lineStart !== null && explorer.subject?.index != null && explorer.endLine(),
    "[": step(-1),
    "]": step(1),
    "/": () => byId("search").focus(),
    c: () => byId("colour").focus(),
    d: () => toggleTheme(explorer),
    "?": () => byId("about").showModal(),
    Escape: () => explorer.clear(),
  };
  keys["="] = keys["+"];
  document.addEventListener("keydown", (event) => {
    const isTyping = event.target.matches("input[type=search], input[type=range], select, dialog *");
    if (isTyping && event.key !== "Escape") return;
    byId("hover").hidden = true;
    if (event.ctrlKey || event.metaKey || event.altKey || byId("about").open || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
}

async function start() {
  const explorer = new Explorer(await readPage());
  explorer.setTheme(matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
  listenToTools(explorer);
  listenToKeys(explorer);
  explorer.clear();
  await explorer.setColour(explorer.column.name);
  explorer.setMode("move");
  globalThis.explorer = explorer; // for the console of the browser
}

start().catch((error) => {
  byId("failure").hidden = false;
  byId("failure").textContent = `This page needs a current browser with WebGL: ${error.message}`;
  throw error;
});
