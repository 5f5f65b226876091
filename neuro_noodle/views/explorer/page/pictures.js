"use strict";
// Images on canvases: tiles of the sheets of thumbnails, and decoded tensors.

/** The images of the page, many to a sheet. */
class Sheets {
  /** @param layout {height, width, per_row, per_sheet} of the tiles, in px */
  constructor(layout) {
    this.layout = layout;
    this.loaded = new Map();
  }

  /** Draw the image with an index on a canvas; resolves when it is drawn. */
  async draw(canvas, index) {
    const { height, width, per_row: perRow, per_sheet: perSheet } = this.layout;
    const wanted = (canvas.dataset.index = String(index));
    const sheet = await this.load(Math.floor(index / perSheet));
    if (canvas.dataset.index !== wanted) return; // another image was asked for in the meantime
    const at = index % perSheet;
    [canvas.width, canvas.height] = [width, height];
    const [x, y] = [(at % perRow) * width, Math.floor(at / perRow) * height];
    canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
  }

  load(number) {
    if (!this.loaded.has(number)) {
      const image = new Image();
      image.src = document.getElementById(`sheet-${number}`).textContent.trim();
      this.loaded.set(
        number,
        image.decode().then(() => image),
      );
    }
    return this.loaded.get(number);
  }
}

/** Draw an image {data, shape: [1, C, H, W]}, where 0 is black and 1 is white, on a canvas. */
function drawTensor(canvas, image) {
  const [, nChannels, height, width] = image.shape;
  const n = height * width;
  const pixels = new ImageData(width, height);
  const clipped = (channel, i) => Math.max(0, Math.min(1, image.data[channel * n + i]));
  for (let i = 0; i < n; i++) {
    let mean = 0; // shown as grey, unless there are three channels
    for (let channel = 0; channel < nChannels; channel++) mean += clipped(channel, i) / nChannels;
    for (let channel = 0; channel < 3; channel++) {
      pixels.data[4 * i + channel] = 255 * (nChannels === 3 ? clipped(channel, i) : mean); // rounded
    }
    pixels.data[4 * i + 3] = 255;
  }
  [canvas.width, canvas.height] = [width, height];
  canvas.dataset.index = "";
  canvas.getContext("2d").putImageData(pixels, 0, 0);
}
