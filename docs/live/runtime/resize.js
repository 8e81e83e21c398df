/**
 * Resampling of images and planes. Mirrors `vos_zoo.runtime.resize`, in float32 like it, so that both give the same
 * numbers: products and sums are rounded one by one.
 */

const CUBIC = -0.75; // parameter of the cubic kernel
const f32 = Math.fround;

/** Round to the nearest whole number, halves to the even one. */
export function roundHalfEven(value) {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

/**
 * Resample an RGB image: by area to fewer rows, by cubic interpolation to more.
 *
 * @param {Uint8Array} pixels (height, width, 3).
 * @param {[number, number]} from (height, width).
 * @param {[number, number]} to (height, width).
 * @returns {Uint8ClampedArray} (height, width, 3).
 */
export function resizeFrame(pixels, from, to) {
  let kind = "cubic";
  if (to[0] < from[0]) kind = to[1] <= from[1] ? "area" : "area_linear";
  const rows = along(pixels, 1, from[0], from[1] * 3, to[0], kind);
  const exact = along(rows, to[0], from[1], 3, to[1], kind);
  if (from[0] === 2 * to[0] && from[1] === 2 * to[1]) {
    // The mean of four pixels is rounded up.
    for (let index = 0; index < exact.length; index++) exact[index] = Math.floor(exact[index] + 0.5);
  }
  return Uint8ClampedArray.from(exact); // which rounds halves to even and clips
}

/**
 * Enlarge or shrink a plane bilinearly, corners not aligned.
 *
 * @param {Float32Array} plane (height, width).
 * @param {[number, number]} from (height, width).
 * @param {[number, number]} to (height, width).
 * @returns {Float32Array} (height, width).
 */
export function resizePlane(plane, from, to) {
  return along(along(plane, 1, from[0], from[1], to[0], "linear"), to[0], from[1], 1, to[1], "linear");
}

/**
 * Give the places, among `length`, of `size` samples by nearest neighbour.
 *
 * @returns {Int32Array}
 */
export function nearest(length, size) {
  const scale = f32(length / size);
  return Int32Array.from({ length: size }, (_, index) => {
    const centre = f32(scale * (index + 0.5) - 0.5);
    return Math.min(Math.floor(f32(Math.max(centre, 0) + 0.5)), length - 1);
  });
}

/** Resample the middle axis of (outer, length, inner) to `size` entries. */
function along(values, outer, length, inner, size, kind) {
  if (length === size) return values;
  const taps = findTaps(length, size, kind);
  const result = new Float32Array(outer * size * inner);
  for (const { places, weights } of taps) {
    for (let block = 0; block < outer; block++) {
      for (let index = 0; index < size; index++) {
        const weight = weights[index];
        if (weight === 0) continue;
        const to = (block * size + index) * inner;
        const from = (block * length + places[index]) * inner;
        for (let entry = 0; entry < inner; entry++) result[to + entry] += f32(values[from + entry] * weight);
      }
    }
  }
  return result;
}

const tapsOf = new Map();

function findTaps(length, size, kind) {
  const name = `${length} ${size} ${kind}`;
  if (!tapsOf.has(name)) {
    if (tapsOf.size > 32) tapsOf.clear();
    tapsOf.set(name, makeTaps(length, size, kind));
  }
  return tapsOf.get(name);
}

/** Give places and weights of the samples that make up each result, tap by tap. */
function makeTaps(length, size, kind) {
  const scale = 1 / (size / length); // rounded as OpenCV does
  const perResult = Array.from({ length: size }, (_, index) => {
    if (kind === "area") return areaTaps(index * scale, Math.min(index * scale + scale, length));
    if (kind === "area_linear") {
      const base = Math.floor(index * scale);
      let offset = f32(index + 1 - (base + 1) / scale);
      offset = offset <= 0 ? 0 : f32(offset - Math.floor(offset));
      return [[base, f32(1 - offset)], [base + 1, offset]];
    }
    if (kind === "linear") {
      const centre = Math.max(f32(f32(f32(length / size) * f32(index + 0.5)) - 0.5), 0);
      const base = Math.floor(centre);
      const offset = f32(centre - base);
      return [[base, f32(1 - offset)], [base + 1, offset]];
    }
    const centre = f32((index + 0.5) * scale - 0.5);
    const base = Math.floor(centre);
    return cubicWeights(f32(centre - base)).map((weight, tap) => [base - 1 + tap, weight]);
  });
  const count = Math.max(...perResult.map((taps) => taps.length));
  return Array.from({ length: count }, (_, tap) => ({
    places: Int32Array.from(perResult, (taps) => Math.min(Math.max(taps[tap]?.[0] ?? 0, 0), length - 1)),
    weights: Float32Array.from(perResult, (taps) => taps[tap]?.[1] ?? 0),
  }));
}

function areaTaps(start, end) {
  const first = Math.floor(start + 1e-9); // slivers are left out
  const last = Math.ceil(end - 1e-9);
  const taps = [];
  for (let place = first; place < last; place++) {
    taps.push([place, Math.max(Math.min(end, place + 1) - Math.max(start, place), 0)]);
  }
  const sum = taps.reduce((total, [, weight]) => total + weight, 0);
  return taps.map(([place, weight]) => [place, weight / sum]);
}

/** Give the weights of four neighbours for a place between the inner two, in float32. */
function cubicWeights(offset) {
  const a = CUBIC;
  const before = f32(offset + 1);
  const after = f32(1 - offset);
  const outer = f32(f32(f32(f32(f32(f32(a * before) - 5 * a) * before) + 8 * a) * before) - 4 * a);
  const curve = (at) => f32(f32(f32(f32(f32(a + 2) * at) - (a + 3)) * at) * at + 1);
  const inner = curve(offset);
  const second = curve(after);
  return [outer, inner, second, f32(f32(f32(1 - outer) - inner) - second)];
}
