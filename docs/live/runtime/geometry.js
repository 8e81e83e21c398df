/**
 * From a frame's own size to the size that graphs take and back. Mirrors `vos_zoo.inference.sizes` and
 * `vos_zoo.runtime.geometry`; sizes are [height, width] in pixels.
 */

import { nearest, resizeFrame, resizePlane, roundHalfEven } from "./resize.js";

/** Sizes of one video, and what arrays they make of its frames and masks. */
export class Geometry {
  /**
   * @param {[number, number]} frameSize The visitor's frames.
   * @param {[number, number]} workingSize Frames as the network sees them, before padding.
   * @param {[number, number]} paddedSize What the network takes.
   */
  constructor(frameSize, workingSize, paddedSize) {
    this.frameSize = frameSize;
    this.workingSize = workingSize;
    this.paddedSize = paddedSize;
    this.top = Math.floor((paddedSize[0] - workingSize[0]) / 2);
    this.left = Math.floor((paddedSize[1] - workingSize[1]) / 2);
  }

  /**
   * Fit frames into what the graphs take.
   *
   * @param {[number, number]} frameSize
   * @param {number} shortSide That larger frames are scaled down to.
   * @param {object} manifest
   * @param {{least_cells: number, least_side: number, largest_ratio: number}} rules Those of the package.
   */
  static fit(frameSize, shortSide, manifest, rules) {
    const stride = manifest.stride;
    let working = workingSize(frameSize, shortSide, rules);
    if (manifest.size === null) {
      const least = rules.least_cells * stride;
      return new Geometry(frameSize, working, working.map((side) => Math.max(Math.ceil(side / stride) * stride, least)));
    }
    const scale = Math.min(...manifest.size.map((full, axis) => full / working[axis]));
    if (scale < 1) working = working.map((side) => Math.max(1, Math.floor(side * scale)));
    return new Geometry(frameSize, working, manifest.size);
  }

  /**
   * Turn a frame into a normalised, padded image.
   *
   * @param {Uint8ClampedArray} rgba (height, width, 4).
   * @param {object} manifest
   * @returns {Float32Array} (1, 3, height, width) of the padded size.
   */
  toImage(rgba, manifest) {
    let pixels = withoutAlpha(rgba);
    if (!isSame(this.frameSize, this.workingSize)) pixels = resizeFrame(pixels, this.frameSize, this.workingSize);
    const [height, width] = this.workingSize;
    const [fullHeight, fullWidth] = this.paddedSize;
    const image = new Float32Array(3 * fullHeight * fullWidth);
    for (let channel = 0; channel < 3; channel++) {
      const mean = Math.fround(manifest.mean[channel]);
      const std = Math.fround(manifest.std[channel]);
      const plane = image.subarray(channel * fullHeight * fullWidth, (channel + 1) * fullHeight * fullWidth);
      if (manifest.pads_before_normalisation) plane.fill(-mean / std);
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) {
          const value = Math.fround(pixels[(row * width + column) * 3 + channel] / 255);
          plane[(row + this.top) * fullWidth + column + this.left] = Math.fround(value - mean) / std;
        }
      }
    }
    return image;
  }

  /**
   * Turn a mask of ids into padded planes of 0 and 1, by nearest neighbour.
   *
   * @param {Uint8Array} mask (height, width) of the frame.
   * @param {number[]} ids
   * @returns {Float32Array} (ids, height, width) of the padded size.
   */
  toPlanes(mask, ids) {
    const [height, width] = this.workingSize;
    const [fullHeight, fullWidth] = this.paddedSize;
    const rows = nearest(this.frameSize[0], height);
    const columns = nearest(this.frameSize[1], width);
    const planes = new Float32Array(ids.length * fullHeight * fullWidth);
    for (let row = 0; row < height; row++) {
      for (let column = 0; column < width; column++) {
        const plane = ids.indexOf(mask[rows[row] * this.frameSize[1] + columns[column]]);
        if (plane >= 0) planes[(plane * fullHeight + row + this.top) * fullWidth + column + this.left] = 1;
      }
    }
    return planes;
  }

  /** Remove the padding of one plane (height, width). */
  crop(plane) {
    const [height, width] = this.workingSize;
    const cropped = new Float32Array(height * width);
    for (let row = 0; row < height; row++) {
      const start = (row + this.top) * this.paddedSize[1] + this.left;
      cropped.set(plane.subarray(start, start + width), row * width);
    }
    return cropped;
  }

  /** Set planes (planes, height, width) to zero in the padding. */
  blankPadding(planes) {
    const [fullHeight, fullWidth] = this.paddedSize;
    const [height, width] = this.workingSize;
    for (let index = 0; index < planes.length; index++) {
      const row = (Math.floor(index / fullWidth) % fullHeight) - this.top;
      const column = (index % fullWidth) - this.left;
      if (row < 0 || row >= height || column < 0 || column >= width) planes[index] = 0;
    }
  }

  /** Enlarge one plane (height, width) without padding to the frame's size, bilinearly. */
  toFrame(plane) {
    return resizePlane(plane, this.workingSize, this.frameSize);
  }
}

function workingSize([height, width], shortSide, rules) {
  const short = Math.min(height, width);
  const largest = Math.sqrt((rules.largest_ratio * shortSide ** 2) / (height * width));
  const scale = Math.min(Math.min(shortSide, Math.max(short, rules.least_side)) / short, largest);
  return [height, width].map((side) => Math.max(1, roundHalfEven(side * scale)));
}

function withoutAlpha(rgba) {
  const pixels = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    pixels[to] = rgba[from];
    pixels[to + 1] = rgba[from + 1];
    pixels[to + 2] = rgba[from + 2];
  }
  return pixels;
}

function isSame(one, other) {
  return one[0] === other[0] && one[1] === other[1];
}
