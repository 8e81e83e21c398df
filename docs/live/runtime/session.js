/**
 * One video's state around exported graphs: frames go in one at a time, masks come out. Mirrors
 * `vos_zoo.runtime.GraphSession` for objects that are all given on the first frame.
 */

import { PageError } from "../errors.js";
import { aggregate, sigmoid } from "./aggregation.js";
import { Geometry } from "./geometry.js";
import { NEXT, STATE, resolveShape } from "./manifest.js";

export class GraphSession {
  /**
   * @param {import("./graphs.js").Graphs} graphs
   * @param {object} rules Rules of the package about sizes, see `Geometry.fit`.
   * @param {number} shortSide That larger frames are scaled down to, in pixels.
   */
  constructor(graphs, rules, shortSide) {
    this.graphs = graphs;
    this.manifest = graphs.manifest;
    this.rules = rules;
    this.shortSide = shortSide;
    this.ids = [];
    this.sinceKept = 0;
  }

  /**
   * Take the first frame and its mask.
   *
   * @param {{data: Uint8ClampedArray, width: number, height: number}} frame RGBA.
   * @param {Uint8Array} mask Object id per pixel, 0 for background, (height, width).
   * @throws {PageError} If the mask is empty, has another size, or holds more objects than the graphs take.
   */
  async begin(frame, mask) {
    if (mask.length !== frame.width * frame.height) {
      throw new PageError(`The mask has ${mask.length} pixels, its frame ${frame.width}x${frame.height}. Draw it anew.`);
    }
    this.ids = [...new Set(mask)].filter((id) => id !== 0).sort((one, other) => one - other);
    const most = this.manifest.objects ?? Infinity;
    if (this.ids.length === 0) throw new PageError("No object is marked on this frame. Draw a box around one, or paint it.");
    if (this.ids.length > most) {
      throw new PageError(`The mask holds ${this.ids.length} objects, and these graphs take ${most} at most. Remove some.`);
    }
    this.geometry = Geometry.fit([frame.height, frame.width], this.shortSide, this.manifest, this.rules);
    this.state = this.newState();
    const features = await this.encode(frame);
    await this.memorize(features, aggregate(this.geometry.toPlanes(mask, this.ids), this.ids.length), 1);
  }

  /**
   * Segment the next frame.
   *
   * @param {{data: Uint8ClampedArray, width: number, height: number}} frame RGBA, of the first frame's size.
   * @returns {Promise<Uint8Array>} Object id per pixel, (height, width).
   * @throws {PageError} If the frame has another size than the first one.
   */
  async step(frame) {
    const [height, width] = this.geometry.frameSize;
    if (frame.width !== width || frame.height !== height) {
      throw new PageError(
        `This frame is ${frame.width}x${frame.height} pixels, the frames before were ${width}x${height}. ` +
          "Choose frames of one size.",
      );
    }
    const features = await this.encode(frame);
    const { logits } = await this.graphs.run("segment", { ...features, ...this.state });
    const planes = this.ids.length * this.geometry.paddedSize[0] * this.geometry.paddedSize[1];
    const shares = aggregate(sigmoid(logits.data.slice(0, planes)), this.ids.length);
    const labels = this.label(shares);
    const { every, keep_latest: keepsLatest } = this.manifest.memory;
    const isKept = this.sinceKept + 1 >= every;
    if (isKept || keepsLatest) await this.memorize(features, shares, 0);
    this.sinceKept = isKept ? 0 : this.sinceKept + 1;
    return labels;
  }

  async encode(frame) {
    const data = this.geometry.toImage(frame.data, this.manifest);
    const image = this.graphs.toValue(data, [1, 3, ...this.geometry.paddedSize]);
    return { image, ...(await this.graphs.run("encode", { image })) };
  }

  /** Fold a frame into the state. `shares` are (1 + objects, height, width), `reference` is 1 for given masks. */
  async memorize(features, shares, reference) {
    const [height, width] = this.geometry.paddedSize;
    const pixels = height * width;
    const count = this.ids.length;
    const graphCount = this.manifest.objects ?? count;
    const masks = new Float32Array(graphCount * pixels); // graphs of a fixed number get empty objects
    masks.set(shares.subarray(pixels));
    if (this.manifest.pads_masks_with_zeros) this.geometry.blankPadding(masks);
    const total = new Float32Array(pixels);
    for (let index = 0; index < masks.length; index++) total[index % pixels] += masks[index];
    const others = new Float32Array(graphCount * pixels);
    if (count > 1) {
      for (let index = 0; index < count * pixels; index++) others[index] = total[index % pixels] - masks[index];
    }
    const given = new Float32Array(graphCount).fill(reference, 0, count);
    const results = await this.graphs.run("memorize", {
      ...features,
      ...this.state,
      masks: this.graphs.toValue(masks, [1, graphCount, height, width]),
      others: this.graphs.toValue(others, [1, graphCount, height, width]),
      reference: this.graphs.toValue(given, [graphCount]),
    });
    this.state = Object.fromEntries(
      this.manifest.memory.state.map(({ name }) => [STATE + name, results[NEXT + name]]),
    );
  }

  newState() {
    const [height, width] = this.geometry.paddedSize;
    const sizes = { height, width, objects: this.manifest.objects ?? this.ids.length };
    return Object.fromEntries(
      this.manifest.memory.state.map((array) => {
        const shape = resolveShape(array, sizes);
        const data = new Float32Array(shape.reduce((product, side) => product * side, 1));
        return [STATE + array.name, this.graphs.toValue(data, shape)];
      }),
    );
  }

  /** Give every pixel of a frame the most probable object. */
  label(shares) {
    const pixels = this.geometry.paddedSize[0] * this.geometry.paddedSize[1];
    const planeOf = (plane) =>
      this.geometry.toFrame(this.geometry.crop(shares.subarray(plane * pixels, (plane + 1) * pixels)));
    const best = planeOf(0).slice();
    const labels = new Uint8Array(best.length);
    this.ids.forEach((id, index) => {
      const probability = planeOf(index + 1);
      for (let pixel = 0; pixel < best.length; pixel++) {
        if (probability[pixel] > best[pixel]) {
          best[pixel] = probability[pixel];
          labels[pixel] = id;
        }
      }
    });
    return labels;
  }
}
