"use strict";
// The arrays of the page: gzip-compressed, base64-encoded bytes in elements of the document.

/** Return the bytes of an element that holds compressed data. */
async function unpack(id) {
  const binary = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Return the manifest, in which every {dtype, start, shape} has become a tensor {data, shape}. */
async function readPage() {
  const manifest = JSON.parse(new TextDecoder().decode(await unpack("manifest")));
  const { buffer } = await unpack("arrays");
  return reviveArrays(manifest, buffer);
}

const ARRAY_TYPES = { f8: Float64Array, f4: Float32Array, f2: Uint16Array, u1: Uint8Array, i4: Int32Array };

function reviveArrays(value, buffer) {
  if (value === null || typeof value !== "object") return value;
  if (value.dtype && "start" in value) {
    const n = value.shape.reduce((a, b) => a * b, 1);
    const stored = new ARRAY_TYPES[value.dtype](buffer, value.start, n);
    return { data: value.dtype === "f2" ? fromHalf(stored) : stored, shape: value.shape };
  }
  for (const key of Object.keys(value)) value[key] = reviveArrays(value[key], buffer);
  return value;
}

let halves = null;

/** Return 16-bit floating-point numbers as a Float32Array. */
function fromHalf(bits) {
  if (!halves) {
    halves = new Float32Array(65536);
    for (let i = 0; i < 65536; i++) {
      const sign = i & 0x8000 ? -1 : 1;
      const exponent = (i >> 10) & 31;
      const fraction = i & 1023;
      if (exponent === 0) halves[i] = sign * 2 ** -14 * (fraction / 1024);
      else if (exponent === 31) halves[i] = fraction ? NaN : sign * Infinity;
      else halves[i] = sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
    }
  }
  return Float32Array.from(bits, (half) => halves[half]);
}
