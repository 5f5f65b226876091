"use strict";
// The panel next to the maps: legend, image, line, direction, latents, lassoed images.

const N_LISTED = 300; // lassoed images that are listed; the file has all
const N_BETWEEN = 9; // images of a line
const N_HOVERED = 8; // columns next to the pointer
const N_SLIDERS = 64; // latents that can be changed

const byId = (id) => document.getElementById(id);

/** Return a new element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Return a figure of a canvas with a caption. */
function makePicture(caption, draw) {
  const canvas = make("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", caption);
  draw(canvas);
  return make("figure", {}, canvas, make("figcaption", { textContent: caption }));
}

/** Fill a list of terms with the row of an image. */
function listRow(list, explorer, index) {
  list.replaceChildren();
  if (index === null) return;
  for (const column of explorer.columns) {
    const text = column.text(index);
    if (text) list.append(make("dt", { textContent: column.name }), make("dd", { textContent: text }));
  }
}

/** Show the classes or the range of a column, by which images can be hidden. */
function showLegend(explorer) {
  const column = explorer.column;
  const [heading, entries] = [document.querySelector("#legend h2"), document.querySelector("#legend .entries")];
  heading.textContent = column.name;
  entries.replaceChildren(...(column.isClass ? classEntries(explorer, column) : rangeEntries(explorer, column)));
}

function classEntries(explorer, column) {
  const counts = column.counts(explorer.everyIndex);
  const hidden = explorer.filters.get(column.name)?.hidden || new Set();
  return [...counts.keys()]
    .filter((code) => counts[code])
    .map((code) => {
      const isUnknown = code === column.classes.length;
      const swatch = make("span", { className: "swatch" });
      swatch.style.background = column.palette[code];
      const name = isUnknown ? "unknown" : column.classes[code];
      const button = make(
        "button",
        { title: "Show or hide; double click: only this" },
        swatch,
        name,
        make("small", { textContent: counts[code] }),
      );
      button.setAttribute("aria-pressed", String(!hidden.has(code)));
      button.addEventListener("click", () => explorer.toggleClass(column, code));
      button.addEventListener("dblclick", () => explorer.showOnlyClass(column, code));
      return button;
    });
}

function rangeEntries(explorer, column) {
  const ramp = make("div", { className: "ramp" });
  ramp.style.background = `linear-gradient(to right, ${column.palette
    .slice(0, -1)
    .filter((_, i) => i % 8 === 0)
    .join()})`;
  const range = explorer.filters.get(column.name) || { from: column.low, to: column.high };
  const ends = column.period ? [0, column.period] : [column.low, column.high];
  const inputs = ["from", "to"].map((end) => {
    const input = make("input", { type: "range", min: column.low, max: column.high, step: "any", value: range[end] });
    const output = make("output", { textContent: formatNumber(range[end]) });
    input.setAttribute("aria-label", `show images ${end} this ${column.name}`);
    input.addEventListener("input", () => {
      output.textContent = formatNumber(Number(input.value));
      explorer.setRange(column, end, Number(input.value));
    });
    return make("label", {}, `show ${end} `, output, input);
  });
  const scale = make("small", {
    textContent: `colours: ${column.period ? "a full turn, " : ""}${ends.map(formatNumber).join(" to ")}`,
  });
  return [ramp, scale, make("div", { className: "ends" }, ...inputs)];
}

/** Say how many images the filters hide. */
function showHidden(explorer) {
  const line = document.querySelector("#legend .hidden-count");
  line.replaceChildren();
  if (!explorer.visible) return;
  const n = explorer.visible.reduce((sum, shown) => sum + shown, 0);
  const reset = make("button", { textContent: "show all", onclick: () => explorer.clearFilters() });
  line.append(`${n} of ${explorer.n} images shown (by ${[...explorer.filters.keys()].join(", ")}) `, reset);
}

/** Show the card next to the pointer. */
function showHover(explorer, index, event) {
  const card = byId("hover");
  card.hidden = index === null || event.pointerType === "touch";
  if (card.hidden) return;
  const [canvas, text] = card.children;
  canvas.hidden = !explorer.sheets;
  if (explorer.sheets) explorer.sheets.draw(canvas, index);
  const rows = explorer.columns.map((column) => [column.name, column.text(index)]).filter(([, value]) => value);
  text.replaceChildren(
    make("b", { textContent: explorer.ids[index] }),
    ...rows.slice(0, N_HOVERED).flatMap(([name, value]) => [make("br"), `${name} ${value}`]),
  );
  const { innerWidth: width, innerHeight: height } = window;
  card.style.left = `${Math.min(event.clientX + 16, width - card.offsetWidth - 8)}px`;
  card.style.top = `${Math.min(event.clientY + 16, height - card.offsetHeight - 8)}px`;
}

/** Show the current image: the stimulus, what each run decodes, where that comes from, and its row. */
function showSubject(explorer) {
  const { map, index, note } = explorer.subject;
  const section = byId("subject");
  section.querySelector("h2").textContent = index === null ? "A place on the map" : explorer.ids[index];
  const pictures = [];
  if (index !== null && explorer.sheets)
    pictures.push(makePicture("image", (canvas) => explorer.sheets.draw(canvas, index)));
  for (const [at, latent] of explorer.latents) {
    const what = index === null || explorer.hasChanged ? "decoded" : "reconstruction";
    const caption = explorer.maps.length > 1 ? `${what}, ${at.run.name}` : what;
    pictures.push(makePicture(caption, (canvas) => drawTensor(canvas, at.decoder.decode(latent))));
  }
  section.querySelector(".pictures").replaceChildren(...pictures);
  const hidden =
    index !== null && explorer.visible && !explorer.visible[index] ? "hidden on the map by the legend" : "";
  section.querySelector(".note").textContent = [note, hidden, map.run.no_decoder].filter(Boolean).join(". ");
  listRow(section.querySelector("dl"), explorer, index);
  const buttons = [];
  if (index !== null && explorer.decoding.length) {
    buttons.push(make("button", { textContent: "Start a line here", title: "a", onclick: () => explorer.startLine() }));
    if (explorer.lineStart !== null)
      buttons.push(
        make("button", {
          textContent: `End the line from ${explorer.ids[explorer.lineStart]}`,
          title: "b",
          onclick: () => explorer.endLine(),
        }),
      );
  }
  section.querySelector(".buttons").replaceChildren(...buttons);
}

/** Show the sliders of the latents of the current image or place. */
function showLatents(explorer) {
  const section = byId("latents");
  const map = explorer.active;
  section.hidden = !map;
  if (!map) return;
  const { order, low, high } = map.run.sliders;
  const latent = explorer.latents.get(map);
  const sliders = order.slice(0, N_SLIDERS).map((number) => {
    const output = make("output", { textContent: formatNumber(latent[number]) });
    const span = high[number] - low[number] || 1;
    const input = make("input", {
      type: "range",
      min: low[number] - span / 4,
      max: high[number] + span / 4,
      step: "any",
      value: latent[number],
    });
    input.addEventListener("input", () => {
      output.textContent = formatNumber(Number(input.value));
      explorer.changeLatent(map, number, Number(input.value));
    });
    return make("label", { className: "slider" }, make("span", { textContent: `latent ${number + 1}` }), input, output);
  });
  const n = order.length;
  const some = n > N_SLIDERS ? ` (the ${N_SLIDERS} of ${n} that vary most)` : " (those that vary most come first)";
  section.querySelector("h2").textContent = `Latents of ${map.run.name}${n > 1 ? some : ""}`;
  section.querySelector(".sliders").replaceChildren(...sliders);
}

/** Show the image moved along the direction in which a column changes, next to its control. */
function showDirection(explorer) {
  const section = byId("direction");
  const map = explorer.active;
  section.hidden = !map || !map.run.directions.length;
  if (section.hidden) return;
  const [select, input] = [section.querySelector("select"), section.querySelector("input")];
  const direction = map.run.directions[Number(select.value)] || map.run.directions[0];
  const share = Number(input.value);
  const [start, end] = section.querySelectorAll(".slider span");
  [start.textContent, end.textContent] = [`← ${direction.from}`, `${direction.to} →`];
  const latent = explorer.latents.get(map);
  const moved = (step) => latent.map((value, d) => value + share * step.data[d]);
  section.querySelector(".pictures").replaceChildren(
    ...[
      [`moved by ${Math.round(100 * share)} %`, direction.step],
      ["control", direction.control],
    ].map(([caption, step]) => makePicture(caption, (canvas) => drawTensor(canvas, map.decoder.decode(moved(step))))),
  );
  section.querySelector(".note").textContent = direction.text;
}

/** Fill the choice of directions for the run that decodes. */
function listDirections(explorer) {
  const select = document.querySelector("#direction select");
  const directions = explorer.active?.run.directions || [];
  const groups = new Map();
  directions.forEach((one, i) => {
    if (!groups.has(one.column)) groups.set(one.column, make("optgroup", { label: one.column }));
    groups.get(one.column).append(make("option", { value: i, textContent: `${one.column}: ${one.from} → ${one.to}` }));
  });
  select.replaceChildren(...groups.values());
}

/** Show the images on the straight line between the latents of two images. */
function showLine(explorer) {
  const section = byId("line");
  const { ends, map } = explorer.line || {};
  section.hidden = !ends;
  if (!ends) return;
  const between = (share) => {
    const [a, b] = ends.map((index) => map.latentOf(index));
    return a.map((value, d) => value + share * (b[d] - value));
  };
  const draw = (share) => (canvas) => drawTensor(canvas, map.decoder.decode(between(share)));
  const shares = Array.from({ length: N_BETWEEN }, (_, i) => i / (N_BETWEEN - 1));
  const [first, last] = explorer.sheets
    ? ends.map((index) => makePicture("image", (canvas) => explorer.sheets.draw(canvas, index)))
    : [[], []];
  const steps = shares.map((share) => makePicture(formatNumber(Math.round(share * 100)) + " %", draw(share)));
  section.querySelector(".strip").replaceChildren(...[first, steps, last].flat());
  const bent = map.run.is_latent ? "" : ", which is not straight on this map";
  section.querySelector(".note").textContent =
    `${explorer.ids[ends[0]]} to ${explorer.ids[ends[1]]}, decoded by ${map.run.name} from the straight line between their latents${bent}`;
  const [input, output] = section.querySelectorAll("input, output");
  input.oninput = () => {
    const share = Number(input.value);
    output.textContent = `${Math.round(100 * share)} %`;
    section.querySelector(".pictures").replaceChildren(makePicture("this place of the line", draw(share)));
    explorer.markMaps(map, map.placeOf(between(share)));
  };
  input.oninput();
}

/** List the lassoed images. */
function showSelection(explorer) {
  const section = byId("selection");
  const { selection, ids, column } = explorer;
  section.hidden = !selection.length;
  if (section.hidden) return;
  section.querySelector("h2").textContent =
    `${selection.length} image${selection.length === 1 ? "" : "s"} in the lasso`;
  section.querySelector(".buttons").replaceChildren(
    make("button", { textContent: "Save as CSV", onclick: () => saveTable(explorer) }),
    make("button", {
      textContent: "Copy ids",
      onclick: () => navigator.clipboard.writeText(selection.map((i) => ids[i]).join("\n")),
    }),
    make("button", { textContent: "Clear", onclick: () => explorer.lasso([]) }),
  );
  const parts = column.isClass
    ? column
        .counts(selection)
        .map((n, code) => n && `${column.classes[code] ?? "unknown"}: ${n}`)
        .filter(Boolean)
    : [rangeText(column, selection)];
  const unlisted = selection.length > N_LISTED ? `; the first ${N_LISTED} are listed, the CSV has all` : "";
  section.querySelector(".note").textContent = `${column.name}: ${parts.join(", ")}${unlisted}`;
  section
    .querySelector("ol")
    .replaceChildren(
      ...selection
        .slice(0, N_LISTED)
        .map((index) =>
          make("li", {}, make("button", { textContent: ids[index], onclick: () => explorer.showImage(index) })),
        ),
    );
}

function rangeText(column, indices) {
  const known = indices.map((index) => column.values.data[index]).filter(Number.isFinite);
  return known.length ? extent(known).map(formatNumber).join(" to ") : "unknown";
}

/** Save the rows of the lassoed images. */
function saveTable(explorer) {
  const quote = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const rows = explorer.selection.map((i) => [explorer.ids[i], ...explorer.columns.map((column) => column.exact(i))]);
  const lines = [["id", ...explorer.columns.map((column) => column.name)], ...rows].map((row) =>
    row.map(quote).join(","),
  );
  const link = make("a", {
    href: URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" })),
    download: `${document.title.replaceAll(" ", "_")}_lasso.csv`,
  });
  link.click();
  URL.revokeObjectURL(link.href);
}
