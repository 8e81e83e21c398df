/** Masks as palette PNGs, whose pixels are object ids, and ZIP archives of them. */

import { PageError } from "./errors.js";

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const GREY = 0;
const PALETTE = 3;
const EXPECTED = "Expected a PNG with one object id per pixel, palette or greyscale of 8 bits. Save it in that form.";

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

function concat(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

/**
 * Write a mask.
 *
 * @param {{ids: Uint8Array, width: number, height: number}} mask
 * @param {number[][]} palette RGB colours of the ids.
 * @returns {Promise<Uint8Array>} A PNG.
 */
export async function writeMask({ ids, width, height }, palette) {
  const rows = new Uint8Array(height * (width + 1)); // each begins with its filter, 0 for none
  for (let row = 0; row < height; row++) {
    rows.set(ids.subarray(row * width, (row + 1) * width), row * (width + 1) + 1);
  }
  const header = new DataView(new ArrayBuffer(13));
  header.setUint32(0, width);
  header.setUint32(4, height);
  header.setUint8(8, 8);
  header.setUint8(9, PALETTE);
  return concat([
    Uint8Array.from(SIGNATURE),
    chunk("IHDR", new Uint8Array(header.buffer)),
    chunk("PLTE", Uint8Array.from(palette.flat())),
    chunk("IDAT", await through(new CompressionStream("deflate"), rows)),
    chunk("IEND", new Uint8Array()),
  ]);
}

function chunk(name, content) {
  const body = concat([new TextEncoder().encode(name), content]);
  const ends = new DataView(new ArrayBuffer(8));
  ends.setUint32(0, content.length);
  ends.setUint32(4, crc32(body));
  return concat([new Uint8Array(ends.buffer, 0, 4), body, new Uint8Array(ends.buffer, 4)]);
}

/**
 * Read a mask.
 *
 * @param {Uint8Array} bytes A PNG, palette or greyscale of up to 8 bits.
 * @param {string} name For messages.
 * @returns {Promise<{ids: Uint8Array, width: number, height: number}>}
 * @throws {PageError} If it is none.
 */
export async function readMask(bytes, name) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (SIGNATURE.some((byte, place) => bytes[place] !== byte)) throw new PageError(`${name} is no PNG. ${EXPECTED}`);
  let header = null;
  const parts = [];
  for (let place = 8; place + 12 <= bytes.length; ) {
    const length = view.getUint32(place);
    const kind = String.fromCharCode(...bytes.subarray(place + 4, place + 8));
    if (kind === "IHDR") header = new DataView(bytes.buffer, bytes.byteOffset + place + 8, length);
    if (kind === "IDAT") parts.push(bytes.subarray(place + 8, place + 8 + length));
    place += length + 12;
  }
  const [bits, colours, interlaced] = header ? [header.getUint8(8), header.getUint8(9), header.getUint8(12)] : [];
  if (![GREY, PALETTE].includes(colours)) throw new PageError(`${name} has several colour channels. ${EXPECTED}`);
  if (bits > 8 || interlaced) throw new PageError(`${name} has ${bits} bits or is interlaced. ${EXPECTED}`);
  const width = header.getUint32(0);
  const height = header.getUint32(4);
  const rows = await through(new DecompressionStream("deflate"), concat(parts)).catch(() => new Uint8Array());
  const stride = Math.ceil((width * bits) / 8);
  if (rows.length !== height * (stride + 1)) throw new PageError(`${name} is damaged. Save it again.`);
  const ids = new Uint8Array(width * height);
  let above = new Uint8Array(stride);
  for (let row = 0; row < height; row++) {
    const start = row * (stride + 1);
    const line = unfilter(rows[start], rows.subarray(start + 1, start + 1 + stride), above);
    for (let column = 0; column < width; column++) {
      const bit = column * bits;
      ids[row * width + column] = (line[bit >> 3] >> (8 - bits - (bit & 7))) & ((1 << bits) - 1);
    }
    above = line;
  }
  return { ids, width, height };
}

/** Undo a row's filter, for pixels of one byte. Source: the PNG specification, section 9. */
function unfilter(kind, line, above) {
  for (let place = 0; place < line.length; place++) {
    const left = place > 0 ? line[place - 1] : 0;
    const corner = place > 0 ? above[place - 1] : 0;
    if (kind === 1) line[place] += left;
    else if (kind === 2) line[place] += above[place];
    else if (kind === 3) line[place] += (left + above[place]) >> 1;
    else if (kind === 4) line[place] += paeth(left, above[place], corner);
  }
  return line;
}

function paeth(left, above, corner) {
  const guess = left + above - corner;
  const [toLeft, toAbove, toCorner] = [left, above, corner].map((value) => Math.abs(guess - value));
  if (toLeft <= toAbove && toLeft <= toCorner) return left;
  return toAbove <= toCorner ? above : corner;
}

/**
 * Pack files into a ZIP archive, without compression: PNGs are compressed.
 *
 * @param {{name: string, bytes: Uint8Array}[]} files
 * @returns {Blob}
 */
export function zip(files) {
  const parts = [];
  const directory = [];
  let place = 0;
  for (const { name, bytes } of files) {
    const label = new TextEncoder().encode(name);
    // Version 2.0, names in UTF-8, stored, 1 January 1980.
    const common = [[20, 2], [0x800, 2], [0, 2], [0, 2], [33, 2], [crc32(bytes), 4], [bytes.length, 4], [bytes.length, 4], [label.length, 2], [0, 2]];
    const local = record([[0x04034b50, 4], ...common]);
    parts.push(local, label, bytes);
    directory.push(record([[0x02014b50, 4], [20, 2], ...common, [0, 2], [0, 2], [0, 2], [0, 4], [place, 4]]), label);
    place += local.length + label.length + bytes.length;
  }
  const size = directory.reduce((sum, part) => sum + part.length, 0);
  const end = record([[0x06054b50, 4], [0, 2], [0, 2], [files.length, 2], [files.length, 2], [size, 4], [place, 4], [0, 2]]);
  return new Blob([...parts, ...directory, end], { type: "application/zip" });
}

/** Write numbers of two or four bytes, the lowest first. */
function record(numbers) {
  return Uint8Array.from(
    numbers.flatMap(([value, length]) => Array.from({ length }, (_, byte) => (value >>> (8 * byte)) & 255)),
  );
}
