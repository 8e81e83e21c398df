/** Soft aggregation of objects and background. Mirrors `vos_zoo.runtime.aggregation`. */

const LEAST = Math.fround(1e-7);
const LARGEST = Math.fround(1 - 1e-7);
const LIMIT = 30; // beyond, a sigmoid in float32 is 0 or 1
const f32 = Math.fround;

/** Turn logits into probabilities, in place. */
export function sigmoid(logits) {
  for (let index = 0; index < logits.length; index++) {
    logits[index] = 1 / f32(1 + f32(Math.exp(-Math.min(Math.max(logits[index], -LIMIT), LIMIT))));
  }
  return logits;
}

/**
 * Share pixels out between background and objects, in proportion to their odds.
 *
 * @param {Float32Array} probabilities One plane per object, (objects, pixels), values 0 to 1.
 * @param {number} objects
 * @returns {Float32Array} (1 + objects, pixels), background first; they sum to 1.
 */
export function aggregate(probabilities, objects) {
  const pixels = probabilities.length / objects;
  const shares = new Float32Array((1 + objects) * pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    let none = 1;
    for (let object = 0; object < objects; object++) {
      none = f32(none * f32(1 - probabilities[object * pixels + pixel]));
    }
    let sum = 0;
    for (let plane = 0; plane <= objects; plane++) {
      const own = plane === 0 ? none : probabilities[(plane - 1) * pixels + pixel];
      const clipped = Math.min(Math.max(own, LEAST), LARGEST);
      const odds = f32(clipped / f32(1 - clipped));
      shares[plane * pixels + pixel] = odds;
      sum = f32(sum + odds);
    }
    for (let plane = 0; plane <= objects; plane++) shares[plane * pixels + pixel] /= sum;
  }
  return shares;
}
