"use strict";
// How the values of a column become colours: an index into a palette for each image, and the entries of a legend.

const UNKNOWN = "#9a9a9a";
const N_STEPS = 256;

/** A column of the metadata, coloured. */
class ColouredColumn {
  /**
   * @param column {name, kind: class | number | angle, period, classes, values: {data}} from the manifest; the values of
   *   a class column are indices of classes, -1 if unknown
   * @param palettes {class, number, angle}: lists of colours
   */
  constructor(column, palettes) {
    Object.assign(this, column);
    this.isClass = column.kind === "class";
    if (this.isClass) {
      const colours = palettes.class;
      this.palette = [...column.classes.map((_, i) => colours[i % colours.length]), UNKNOWN];
      this.codes = Float32Array.from(column.values.data, (code) => (code < 0 ? column.classes.length : code));
      return;
    }
    const known = column.values.data.filter(Number.isFinite);
    [this.low, this.high] = known.length ? extent(known) : [0, 0];
    const [from, span] = column.period ? [0, column.period] : [this.low, this.high - this.low || 1];
    this.palette = [...palettes[column.kind], UNKNOWN];
    this.codes = Float32Array.from(column.values.data, (value) => {
      if (!Number.isFinite(value)) return N_STEPS;
      const turn = (value - from) / span;
      const share = column.period ? turn - Math.floor(turn) : turn;
      return Math.min(N_STEPS - 1, Math.floor(share * N_STEPS));
    });
  }

  /** Return the value of an image as text; empty if it is unknown. */
  text(index) {
    const value = this.values.data[index];
    if (this.isClass) return value < 0 ? "" : this.classes[value];
    return Number.isFinite(value) ? formatNumber(value) : "";
  }

  /** Return the value of an image as text with all its digits. */
  exact(index) {
    const value = this.values.data[index];
    return this.isClass || !Number.isFinite(value) ? this.text(index) : String(value);
  }

  /** Return how many of some images have each class (the last: unknown). */
  counts(indices) {
    const counts = new Array(this.classes.length + 1).fill(0);
    for (const index of indices) counts[this.codes[index]]++;
    return counts;
  }
}

function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return [low, high];
}

/** Return a number with four digits, or all digits of a whole number. */
function formatNumber(value) {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}
