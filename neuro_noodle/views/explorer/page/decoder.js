"use strict";
// Computes a decoder: the operations of its exported PyTorch graph, for one latent at a time.
// A tensor is {data: Float32Array, shape}; arguments are in the order of the schema of the PyTorch operation.

const count = (shape) => shape.reduce((a, b) => a * b, 1);
const each = (x, f) => ({ data: x.data.map(f), shape: x.shape });
const sigmoid = (v) => 1 / (1 + Math.exp(-v));
const softplus = (v) => (v > 20 ? v : Math.log1p(Math.exp(v)));

/** Return the shape with a -1 replaced by what is left of n numbers. */
function resolveShape(shape, n) {
  const known = count(shape.filter((size) => size !== -1));
  return shape.map((size) => (size === -1 ? n / known : size));
}

function linear(x, weight, bias) {
  const [nOut, nIn] = weight.shape;
  const nRows = x.data.length / nIn;
  const out = new Float32Array(nRows * nOut);
  const [values, weights] = [x.data, weight.data];
  for (let row = 0; row < nRows; row++) {
    for (let o = 0; o < nOut; o++) {
      let sum = bias ? bias.data[o] : 0;
      for (let i = 0, w = o * nIn, v = row * nIn; i < nIn; i++) sum += weights[w + i] * values[v + i];
      out[row * nOut + o] = sum;
    }
  }
  return { data: out, shape: [...x.shape.slice(0, -1), nOut] };
}

function batchNorm(x, weight, bias, mean, variance, training, momentum, eps) {
  const nChannels = x.shape[1];
  const nPixels = count(x.shape.slice(2));
  const out = new Float32Array(x.data.length);
  for (let c = 0; c < nChannels; c++) {
    const gain = (weight ? weight.data[c] : 1) / Math.sqrt(variance.data[c] + eps);
    const shift = (bias ? bias.data[c] : 0) - mean.data[c] * gain;
    for (let i = c * nPixels; i < (c + 1) * nPixels; i++) out[i] = x.data[i] * gain + shift;
  }
  return { data: out, shape: x.shape };
}

/** Return maps (1, C, height, width) filled with a bias per channel. */
function biasedMaps(nChannels, height, width, bias) {
  const out = new Float32Array(nChannels * height * width);
  if (bias) bias.data.forEach((value, c) => out.fill(value, c * height * width, (c + 1) * height * width));
  return { data: out, shape: [1, nChannels, height, width] };
}

const pair = (values) => (values.length === 1 ? [values[0], values[0]] : values);

function convTranspose2d(x, weight, bias, stride, padding, outputPadding, groups, dilation) {
  const [, nIn, height, width] = x.shape;
  const [, perGroup, kernelY, kernelX] = weight.shape;
  const [[strideY, strideX], [padY, padX], [extraY, extraX], [dilationY, dilationX]] = [
    stride,
    padding,
    outputPadding,
    dilation,
  ].map(pair);
  const outHeight = (height - 1) * strideY - 2 * padY + dilationY * (kernelY - 1) + extraY + 1;
  const outWidth = (width - 1) * strideX - 2 * padX + dilationX * (kernelX - 1) + extraX + 1;
  const out = biasedMaps(perGroup * groups, outHeight, outWidth, bias);
  const [from, to] = [x.data, out.data];
  for (let i = 0; i < nIn; i++) {
    const group = Math.floor((i * groups) / nIn);
    for (let o = 0; o < perGroup; o++) {
      for (let ky = 0; ky < kernelY; ky++) {
        for (let kx = 0; kx < kernelX; kx++) {
          const w = weight.data[((i * perGroup + o) * kernelY + ky) * kernelX + kx];
          const left = kx * dilationX - padX;
          const firstX = Math.max(0, Math.ceil(-left / strideX));
          const endX = Math.min(width, Math.floor((outWidth - 1 - left) / strideX) + 1);
          for (let y = 0; y < height; y++) {
            const outY = y * strideY + ky * dilationY - padY;
            if (outY < 0 || outY >= outHeight) continue;
            const row = (i * height + y) * width;
            const outRow = ((group * perGroup + o) * outHeight + outY) * outWidth + left;
            for (let column = firstX; column < endX; column++) {
              to[outRow + column * strideX] += w * from[row + column];
            }
          }
        }
      }
    }
  }
  return out;
}

function conv2d(x, weight, bias, stride, padding, dilation, groups) {
  const [, nIn, height, width] = x.shape;
  const [nOut, perGroup, kernelY, kernelX] = weight.shape;
  const [[strideY, strideX], [padY, padX], [dilationY, dilationX]] = [stride, padding, dilation].map(pair);
  const outHeight = Math.floor((height + 2 * padY - dilationY * (kernelY - 1) - 1) / strideY) + 1;
  const outWidth = Math.floor((width + 2 * padX - dilationX * (kernelX - 1) - 1) / strideX) + 1;
  const out = biasedMaps(nOut, outHeight, outWidth, bias);
  const [from, to] = [x.data, out.data];
  for (let o = 0; o < nOut; o++) {
    const firstIn = Math.floor((o * groups) / nOut) * perGroup;
    for (let i = 0; i < perGroup; i++) {
      for (let ky = 0; ky < kernelY; ky++) {
        for (let kx = 0; kx < kernelX; kx++) {
          const w = weight.data[((o * perGroup + i) * kernelY + ky) * kernelX + kx];
          const left = kx * dilationX - padX;
          for (let outY = 0; outY < outHeight; outY++) {
            const y = outY * strideY + ky * dilationY - padY;
            if (y < 0 || y >= height) continue;
            const row = ((firstIn + i) * height + y) * width;
            const outRow = (o * outHeight + outY) * outWidth;
            for (let outX = 0; outX < outWidth; outX++) {
              const column = outX * strideX + left;
              if (column >= 0 && column < width) to[outRow + outX] += w * from[row + column];
            }
          }
        }
      }
    }
  }
  return out;
}

/** Pad (or with negative numbers crop) maps (1, C, height, width) by [left, right, top, bottom]. */
function pad(x, [left, right, top = 0, bottom = 0], mode, value) {
  const [, nChannels, height, width] = x.shape;
  const [outHeight, outWidth] = [height + top + bottom, width + left + right];
  const out = new Float32Array(nChannels * outHeight * outWidth).fill(value || 0);
  for (let c = 0; c < nChannels; c++) {
    for (let y = Math.max(0, -top); y < Math.min(height, height + bottom); y++) {
      for (let column = Math.max(0, -left); column < Math.min(width, width + right); column++) {
        out[(c * outHeight + y + top) * outWidth + column + left] = x.data[(c * height + y) * width + column];
      }
    }
  }
  return { data: out, shape: [1, nChannels, outHeight, outWidth] };
}

/** Return f of two tensors (or numbers), broadcast as in PyTorch. */
function broadcast(a, b, f) {
  if (typeof b === "number") return each(a, (v) => f(v, b));
  if (typeof a === "number") return each(b, (v) => f(a, v));
  const n = Math.max(a.shape.length, b.shape.length);
  const [from, to] = [a, b].map((x) => [...Array(n - x.shape.length).fill(1), ...x.shape]);
  const shape = from.map((size, i) => Math.max(size, to[i]));
  const out = new Float32Array(count(shape));
  for (let index = 0; index < out.length; index++) {
    let [rest, i, j, stepA, stepB] = [index, 0, 0, 1, 1];
    for (let axis = n - 1; axis >= 0; axis--) {
      const at = rest % shape[axis];
      rest = (rest - at) / shape[axis];
      if (from[axis] > 1) i += at * stepA;
      if (to[axis] > 1) j += at * stepB;
      stepA *= from[axis];
      stepB *= to[axis];
    }
    out[index] = f(a.data[i], b.data[j]);
  }
  return { data: out, shape };
}

function softmax(x, axis) {
  const at = axis < 0 ? axis + x.shape.length : axis;
  const [size, step] = [x.shape[at], count(x.shape.slice(at + 1))];
  const out = new Float32Array(x.data.length);
  for (let start = 0; start < out.length; start += size * step) {
    for (let first = start; first < start + step; first++) {
      let [largest, sum] = [-Infinity, 0];
      for (let k = 0; k < size; k++) largest = Math.max(largest, x.data[first + k * step]);
      for (let k = 0; k < size; k++) sum += out[first + k * step] = Math.exp(x.data[first + k * step] - largest);
      for (let k = 0; k < size; k++) out[first + k * step] /= sum;
    }
  }
  return { data: out, shape: x.shape };
}

function prelu(x, weight) {
  const perChannel = count(x.shape.slice(2));
  const slope = (i) => weight.data[weight.data.length === 1 ? 0 : Math.floor(i / perChannel)];
  return each(x, (v, i) => (v > 0 ? v : v * slope(i)));
}

/** Return the error function, with an error below 1.5e-7 (Abramowitz & Stegun 1964, formula 7.1.26). */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - sum * Math.exp(-x * x));
}

function gelu(x, approximate) {
  const gate =
    approximate === "tanh"
      ? (v) => (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3))) / 2
      : (v) => (1 + erf(v / Math.SQRT2)) / 2;
  return each(x, (v) => v * gate(v));
}

const SELU = [1.0507009873554805, 1.6732632423543772];

const OPERATIONS = {
  linear,
  batch_norm: batchNorm,
  conv_transpose2d: convTranspose2d,
  conv2d,
  pad,
  softmax,
  prelu,
  gelu,
  unflatten: (x, axis, sizes) => ({
    data: x.data,
    shape: [...x.shape.slice(0, axis), ...sizes, ...x.shape.slice(axis + 1)],
  }),
  view: (x, shape) => ({ data: x.data, shape: resolveShape(shape, x.data.length) }),
  add: (a, b, alpha) => broadcast(a, b, (v, w) => v + alpha * w),
  sub: (a, b, alpha) => broadcast(a, b, (v, w) => v - alpha * w),
  mul: (a, b) => broadcast(a, b, (v, w) => v * w),
  div: (a, b) => broadcast(a, b, (v, w) => v / w),
  relu: (x) => each(x, (v) => Math.max(0, v)),
  leaky_relu: (x, slope) => each(x, (v) => (v > 0 ? v : slope * v)),
  elu: (x, alpha, scale, inputScale) => each(x, (v) => scale * (v > 0 ? v : alpha * Math.expm1(v * inputScale))),
  celu: (x, alpha) => each(x, (v) => (v > 0 ? v : alpha * Math.expm1(v / alpha))),
  selu: (x) => each(x, (v) => SELU[0] * (v > 0 ? v : SELU[1] * Math.expm1(v))),
  silu: (x) => each(x, (v) => v * sigmoid(v)),
  mish: (x) => each(x, (v) => v * Math.tanh(softplus(v))),
  softplus: (x) => each(x, softplus),
  tanh: (x) => each(x, Math.tanh),
  sigmoid: (x) => each(x, sigmoid),
  log_sigmoid: (x) => each(x, (v) => -softplus(-v)),
};

/** A decoder of the page: from a latent to an image. */
class Decoder {
  /** @param graph {latent, steps: [[name, operation, arguments]], output, weights} from the manifest */
  constructor(graph) {
    this.graph = graph;
  }

  /** Return the image {data, shape: [1, C, H, W]} of a latent, an array of D numbers. */
  decode(latent) {
    const { weights, steps, output } = this.graph;
    const found = { [this.graph.latent]: { data: Float32Array.from(latent), shape: [1, latent.length] } };
    const value = (argument) =>
      argument !== null && typeof argument === "object" && !Array.isArray(argument)
        ? found[argument.of] || weights[argument.of]
        : argument;
    for (const [name, operation, inputs] of steps) found[name] = OPERATIONS[operation](...inputs.map(value));
    return found[output];
  }
}

/** Stands in for a decoder that the page cannot compute: interpolates images decoded on a grid over a 2-D latent. */
class GridDecoder {
  /** @param grid {low, high: ends of both latents; images: (rows, columns, C, H, W), 0 to 255} from the manifest */
  constructor(grid) {
    this.grid = grid;
  }

  /** Return the image {data, shape: [1, C, H, W]} of a latent, two numbers; outside the grid that of its edge. */
  decode(latent) {
    const { low, high, images } = this.grid;
    const [nRows, nColumns, ...shape] = images.shape;
    const at = [nColumns, nRows].map((n, axis) => {
      const place = ((latent[axis] - low[axis]) / (high[axis] - low[axis])) * (n - 1);
      return Math.max(0, Math.min(n - 1 - 1e-6, place));
    });
    const [column, row] = at.map(Math.floor);
    const [across, up] = [at[0] - column, at[1] - row];
    const n = count(shape);
    const out = new Float32Array(n);
    for (const [r, c, weight] of [
      [row, column, (1 - up) * (1 - across)],
      [row, column + 1, (1 - up) * across],
      [row + 1, column, up * (1 - across)],
      [row + 1, column + 1, up * across],
    ]) {
      const start = (r * nColumns + c) * n;
      for (let i = 0; i < n; i++) out[i] += (weight * images.data[start + i]) / 255;
    }
    return { data: out, shape: [1, ...shape] };
  }
}
