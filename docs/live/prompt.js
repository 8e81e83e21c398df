/** First masks from boxes, by the bundled prompt network. Mirrors the box of `vos_zoo.prompts.prediction`. */

import { fetchFile } from "./runtime/graphs.js";
import { resizeFrame, resizePlane, roundHalfEven } from "./runtime/resize.js";

export class BoxNetwork {
  /**
   * @param {object} ort The module of onnxruntime-web.
   * @param {URL} folder With `prompt.json` and the graph that it names.
   * @param {string} provider `webgpu` or `wasm`.
   */
  constructor(ort, folder, provider) {
    this.ort = ort;
    this.folder = folder;
    this.provider = provider;
    this.session = null;
  }

  /** Load the network, when the first box is drawn. */
  async open() {
    const [rules, graph] = await Promise.all([
      fetchFile(new URL("prompt.json", this.folder)),
      fetchFile(new URL("prompt.onnx", this.folder)),
    ]);
    this.rules = JSON.parse(new TextDecoder().decode(rules));
    this.session = await this.ort.InferenceSession.create(graph, { executionProviders: [this.provider], logSeverityLevel: 3 });
  }

  /**
   * Find the object in a box.
   *
   * @param {{data: Uint8ClampedArray, width: number, height: number}} frame RGBA.
   * @param {{left: number, top: number, right: number, bottom: number}} box In pixels; right and bottom lie outside.
   * @returns {Promise<Uint8Array>} 1 where the object is, (height, width) of the frame.
   */
  async find(frame, box) {
    if (this.session === null) await this.open();
    const window = placeWindow(box, frame, this.rules);
    const logits = await this.look(cut(frame, window), window, box);
    const sureness = this.sureness(logits, window, box);
    const enlarged = resizePlane(sureness, window.crop, [window.height, window.width]);
    const mask = new Uint8Array(frame.width * frame.height);
    for (let row = 0; row < window.height; row++) {
      for (let column = 0; column < window.width; column++) {
        const isInside = enlarged[row * window.width + column] >= this.rules.inside;
        mask[(row + window.top) * frame.width + column + window.left] = Number(isInside);
      }
    }
    return mask;
  }

  /** Run the network on the crop and its mirror image; their mean is more often right. */
  async look(crop, window, box) {
    const { stride, mean, std, channels } = this.rules;
    const [height, width] = window.crop;
    const padded = window.crop.map((side) => Math.ceil(side / stride) * stride);
    const [x0, y0, x1, y1] = placeExtent(window, box).map(Math.round);
    const size = padded[0] * padded[1];
    const image = new Float32Array(2 * 3 * size);
    const maps = new Float32Array(2 * channels.length * size);
    const boxPlane = channels.indexOf("box");
    for (let row = 0; row < padded[0]; row++) {
      for (let column = 0; column < padded[1]; column++) {
        const place = row * padded[1] + column;
        const mirrored = row * padded[1] + padded[1] - 1 - column;
        // Beyond the crop, its last rows and columns go on.
        const source = (Math.min(row, height - 1) * width + Math.min(column, width - 1)) * 3;
        for (let channel = 0; channel < 3; channel++) {
          const value = (crop[source + channel] / 255 - mean[channel]) / std[channel];
          image[channel * size + place] = value;
          image[(3 + channel) * size + mirrored] = value;
        }
        const isInBox = row >= y0 && row <= y1 && column >= x0 && column <= x1;
        maps[boxPlane * size + place] = Number(isInBox);
        maps[(channels.length + boxPlane) * size + mirrored] = Number(isInBox);
      }
    }
    const { logits } = await this.session.run({
      image: new this.ort.Tensor("float32", image, [2, 3, ...padded]),
      maps: new this.ort.Tensor("float32", maps, [2, channels.length, ...padded]),
    });
    const both = new Float32Array(height * width);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const place = row * padded[1] + column;
        const mirrored = size + row * padded[1] + padded[1] - 1 - column;
        both[row * width + column] = (logits.data[place] + logits.data[mirrored]) / 2;
      }
    }
    return both;
  }

  /** Turn logits into 0 to 255, 0 too far from the box to be of its object. */
  sureness(logits, window, box) {
    const [height, width] = window.crop;
    const dx = this.rules.box_tolerance * (box.right - box.left);
    const dy = this.rules.box_tolerance * (box.bottom - box.top);
    const around = { left: box.left - dx, top: box.top - dy, right: box.right + dx, bottom: box.bottom + dy };
    const [x0, y0, x1, y1] = placeExtent(window, around);
    return Float32Array.from({ length: height * width }, (_, place) => {
      const row = Math.floor(place / width);
      const column = place % width;
      const isNear = row >= Math.floor(y0) && row <= Math.ceil(y1) && column >= Math.floor(x0) && column <= Math.ceil(x1);
      return isNear ? roundHalfEven(255 / (1 + Math.exp(-logits[place]))) : 0;
    });
  }
}

/** Place a square window around a box, within the frame, and give the size that it is scaled to. */
function placeWindow(box, frame, rules) {
  const longest = Math.max(box.right - box.left, box.bottom - box.top);
  const side = Math.max(rules.margin * longest, rules.least_side);
  const width = Math.min(roundHalfEven(side), frame.width);
  const height = Math.min(roundHalfEven(side), frame.height);
  const corner = (low, high, own, limit) => Math.min(Math.max(roundHalfEven((low + high - own) / 2), 0), limit - own);
  const scale = rules.crop_size / Math.max(width, height);
  return {
    left: corner(box.left, box.right, width, frame.width),
    top: corner(box.top, box.bottom, height, frame.height),
    width,
    height,
    crop: [height, width].map((length) => Math.max(roundHalfEven(length * scale), 1)),
  };
}

function cut(frame, window) {
  const pixels = new Uint8Array(window.height * window.width * 3);
  for (let row = 0; row < window.height; row++) {
    for (let column = 0; column < window.width; column++) {
      const from = ((row + window.top) * frame.width + column + window.left) * 4;
      pixels.set(frame.data.subarray(from, from + 3), (row * window.width + column) * 3);
    }
  }
  return resizeFrame(pixels, [window.height, window.width], window.crop);
}

/** Convert a box to the crop: the centres of its first and last pixels there. */
function placeExtent(window, box) {
  const [height, width] = window.crop;
  const x = (value, shift) => Math.min(Math.max(((value - window.left) * width) / window.width - shift, 0), width - 1);
  const y = (value, shift) => Math.min(Math.max(((value - window.top) * height) / window.height - shift, 0), height - 1);
  const [x0, y0] = [x(box.left, 0), y(box.top, 0)];
  return [x0, y0, Math.max(x(box.right, 1), x0), Math.max(y(box.bottom, 1), y0)];
}
