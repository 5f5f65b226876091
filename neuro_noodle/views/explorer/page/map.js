"use strict";
// The map of one run: points on a canvas that can be moved, zoomed, hovered, lassoed, and clicked.

const CLICK_PX = 5; // the pointer moves less during a click
const NEAR_PX = 8; // a click this close to a point means its image
const N_NEAREST = 5; // images whose latents a click between them averages
const SVG = "http://www.w3.org/2000/svg";

/** The map of one run. */
class RunMap {
  /**
   * @param run an entry of `runs` in the manifest
   * @param parent the element that holds the map
   * @param on {hover(index | null, event), click(index | null, [x, y]), lasso(indices), line(a, b)}: what to call
   */
  constructor(run, parent, on) {
    this.run = run;
    this.on = on;
    this.visible = null; // Uint8Array of 0 and 1, or null if all are
    this.mode = "move";
    this.isWhole = true; // whether the whole map is in view
    this.time = run.times.length - 1;
    this.canvas = parent.querySelector("canvas");
    this.overlay = parent.querySelector("svg");
    this.plot = reglScatterplot.createScatterplot({
      canvas: this.canvas,
      spatialIndexUseWorker: false,
      colorBy: "valueA",
      pointSizeSelected: 3,
      pointOutlineWidth: 2,
      deselectOnDblClick: false,
      deselectOnEscape: false,
      actionKeyMap: { lasso: "shift", merge: "ctrl", remove: "alt" },
    });
    this.plot.subscribe("view", () => this.drawOverlay());
    const fit = () => (this.isWhole ? this.reset() : this.drawOverlay());
    new ResizeObserver(() => requestAnimationFrame(fit)).observe(this.canvas);
    this.plot.subscribe("pointover", (index) => on.hover(index));
    this.plot.subscribe("pointout", () => on.hover(null));
    this.plot.subscribe("lassoEnd", () => on.lasso(Array.from(this.plot.get("selectedPoints"))));
    this.listenToPointer();
    this.marks = []; // {x, y, kind} or {x, y, toX, toY}, in the coordinates of the map
  }

  get x() {
    return this.run.times[this.time].x.data;
  }

  get y() {
    return this.run.times[this.time].y.data;
  }

  get isLast() {
    return this.time === this.run.times.length - 1;
  }

  /** Draw the points in the colours of a column; with `moving`, they move there from where they are. */
  draw(column, moving = false) {
    this.wanted = { column, moving };
    this.drawing ||= this.drawWanted();
    return this.drawing;
  }

  /** Draw what was asked for last, one drawing after another. */
  async drawWanted() {
    while (this.wanted) {
      const { column, moving } = this.wanted;
      this.wanted = null;
      await this.drawPoints(column, moving);
    }
    this.drawing = null;
  }

  async drawPoints(column, moving) {
    const n = this.x.length;
    this.plot.set({ pointColor: column.palette, pointSize: pointSize(n), opacity: n > 5000 ? 0.7 : 0.9 });
    const points = { x: this.x, y: this.y, valueA: column.codes };
    await this.plot.draw(points, {
      zDataType: "categorical",
      preventFilterReset: true,
      transition: moving,
      transitionDuration: 300,
    });
    this.drawOverlay();
  }

  /** Show only the images whose entry is 1; null shows all. */
  filter(visible) {
    this.visible = visible;
    if (!visible) return this.plot.unfilter({ preventEvent: true });
    const indices = [];
    visible.forEach((shown, index) => shown && indices.push(index));
    return this.plot.filter(indices, { preventEvent: true });
  }

  select(indices) {
    if (indices.length) this.plot.select(indices, { preventEvent: true });
    else this.plot.deselect({ preventEvent: true });
  }

  hover(index) {
    this.plot.hover(index === null ? -1 : index, { preventEvent: true });
  }

  /** Choose what the pointer does: move, decode, line or lasso. */
  setMode(mode) {
    this.mode = mode;
    this.plot.set({ mouseMode: mode === "lasso" ? "lasso" : "panZoom", cameraIsFixed: mode === "line" });
    this.canvas.style.cursor = mode === "move" ? "grab" : "crosshair";
  }

  setTheme(background) {
    this.plot.set({ backgroundColor: background });
  }

  // ------------------------------------------------------------------------------------ between screen and map

  toScreen(x, y) {
    const view = this.plot.get("cameraView");
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const across = ((view[0] * x + view[4] * y + view[12]) * height) / width;
    const up = view[1] * x + view[5] * y + view[13];
    return [((across + 1) / 2) * width, ((1 - up) / 2) * height];
  }

  toMap(left, top) {
    const view = this.plot.get("cameraView");
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const across = (((left / width) * 2 - 1) * width) / height - view[12];
    const up = 1 - (top / height) * 2 - view[13];
    return [across / view[0], up / view[5]];
  }

  /** Return the indices of the k visible images nearest to a place, the nearest first. */
  nearest(x, y, k = 1) {
    const found = [];
    for (let i = 0; i < this.x.length; i++) {
      if (this.visible && !this.visible[i]) continue;
      const distance = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
      if (found.length === k && distance >= found[k - 1].distance) continue;
      let at = found.length;
      while (at && found[at - 1].distance > distance) at--;
      found.splice(at, 0, { index: i, distance });
      found.length = Math.min(found.length, k);
    }
    return found;
  }

  /** Return the index of the visible image at a place on the screen, or null. */
  imageAt(left, top) {
    const [found] = this.nearest(...this.toMap(left, top));
    if (!found) return null;
    const [x, y] = this.toScreen(this.x[found.index], this.y[found.index]);
    return Math.hypot(x - left, y - top) <= NEAR_PX ? found.index : null;
  }

  // ------------------------------------------------------------------------------------------ latents and places

  latentOf(index) {
    const {
      data,
      shape: [, width],
    } = this.run.latents;
    return data.subarray(index * width, (index + 1) * width);
  }

  /** Return the latent at a place of the map: the place itself if latents have two numbers, else an average. */
  latentAt(x, y) {
    const { scale, is_latent: isLatent } = this.run;
    if (isLatent) return Float32Array.of(x * scale.factor + scale.centre[0], y * scale.factor + scale.centre[1]);
    const near = this.nearest(x, y, N_NEAREST);
    const latent = new Float32Array(this.run.latents.shape[1]);
    let sum = 0;
    for (const { index, distance } of near) {
      const weight = 1 / (distance + 1e-9);
      sum += weight;
      this.latentOf(index).forEach((value, d) => (latent[d] += weight * value));
    }
    return latent.map((value) => value / sum);
  }

  /** Return where a latent is on the map, or null if only a fit of the map could tell. */
  placeOf(latent) {
    const { scale, is_latent: isLatent } = this.run;
    return isLatent ? latent.map((value, d) => (value - scale.centre[d]) / scale.factor) : null;
  }

  // ------------------------------------------------------------------------------------------------------- pointer

  listenToPointer() {
    let start = null; // {at: place on the screen, image: its index or null, hasMoved}
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    };
    this.canvas.addEventListener("wheel", () => (this.isWhole = false));
    this.canvas.addEventListener("pointerdown", (event) => {
      start = { at: place(event), image: this.imageAt(...place(event)), hasMoved: false };
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (this.mode === "decode" && !start) this.on.click(null, this.toMap(...place(event)));
    });
    window.addEventListener("pointermove", (event) => {
      if (!start) return;
      const [left, top] = place(event);
      start.hasMoved ||= Math.hypot(left - start.at[0], top - start.at[1]) > CLICK_PX;
      if (this.mode !== "line" || start.image === null) return;
      const [x, y] = this.toMap(left, top);
      this.mark([{ x: this.x[start.image], y: this.y[start.image], toX: x, toY: y }]);
    });
    window.addEventListener("pointerup", (event) => {
      if (!start) return;
      const { at, image, hasMoved } = start;
      start = null;
      if (!hasMoved) this.on.click(this.mode === "decode" ? null : image, this.toMap(...at));
      else if (this.mode !== "line") this.isWhole = false;
      else this.on.line(image, this.nearest(...this.toMap(...place(event)))[0].index);
    });
  }

  // ------------------------------------------------------------------------------------------------------- overlay

  /** Draw marks above the points: rings {x, y} and lines {x, y, toX, toY}. */
  mark(marks) {
    this.marks = marks;
    this.drawOverlay();
  }

  drawOverlay() {
    this.overlay.replaceChildren(
      ...(this.marks || []).map((mark) => {
        const [x, y] = this.toScreen(mark.x, mark.y);
        const isLine = "toX" in mark;
        const element = document.createElementNS(SVG, isLine ? "line" : "circle");
        const [toX, toY] = isLine ? this.toScreen(mark.toX, mark.toY) : [];
        const attributes = isLine ? { x1: x, y1: y, x2: toX, y2: toY } : { cx: x, cy: y, r: 8 };
        for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
        return element;
      }),
    );
  }

  // ------------------------------------------------------------------------------------------------------ keyboard

  /** Move by a share of the view. */
  pan(across, up) {
    this.isWhole = false;
    const distance = this.plot.get("cameraDistance");
    const [x, y] = this.plot.get("cameraTarget");
    this.plot.zoomToLocation([x + across * distance, y + up * distance], distance);
  }

  zoom(factor) {
    this.isWhole = false;
    this.plot.zoomToLocation(this.plot.get("cameraTarget"), this.plot.get("cameraDistance") * factor);
  }

  /** Move the map so that an image is in view. */
  reveal(index) {
    const [x, y] = [this.x[index], this.y[index]];
    const [left, top] = this.toScreen(x, y);
    if (left > 0 && top > 0 && left < this.canvas.clientWidth && top < this.canvas.clientHeight) return;
    this.isWhole = false;
    this.plot.zoomToLocation([x, y], this.plot.get("cameraDistance"));
  }

  /** Show the whole map. */
  async reset() {
    await this.plot.zoomToLocation([0, 0], Math.max(1, this.canvas.clientHeight / this.canvas.clientWidth));
    this.isWhole = true;
    this.drawOverlay();
  }
}

/** Return the diameter of n points, px. */
function pointSize(n) {
  return Math.max(2.5, Math.min(10, 160 / Math.sqrt(n)));
}
