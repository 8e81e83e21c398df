/** The mask of the shown frame: what tools change in it, and how it looks. */

const OPACITY = 130; // of 255
const MOST_UNDOS = 30;

/** A mask that can be edited. */
export class Drawing {
  constructor(width, height) {
    this.width = width;
    this.height = height;
    this.past = [];
    this.ids = new Uint8Array(width * height);
  }

  /** Show another mask; what was undone before is forgotten. */
  show(ids) {
    this.ids = ids.slice();
    this.past = [];
  }

  /** Remember the mask as it is now, before something changes it. */
  keep() {
    this.past.push(this.ids.slice());
    if (this.past.length > MOST_UNDOS) this.past.shift();
  }

  undo() {
    if (this.past.length > 0) this.ids = this.past.pop();
  }

  get isEmpty() {
    return this.ids.every((id) => id === 0);
  }

  /** Ids in the mask, ascending. */
  get objects() {
    const seen = new Uint8Array(256);
    for (const id of this.ids) seen[id] = 1;
    return [...seen.keys()].filter((id) => id !== 0 && seen[id]);
  }

  /** Paint a line of discs. */
  paint(from, to, diameter, id) {
    const radius = diameter / 2;
    const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / Math.max(1, radius / 2)));
    for (let step = 0; step <= steps; step++) {
      const x = from.x + ((to.x - from.x) * step) / steps;
      const y = from.y + ((to.y - from.y) * step) / steps;
      for (let row = Math.max(0, Math.floor(y - radius)); row < Math.min(this.height, y + radius); row++) {
        for (let column = Math.max(0, Math.floor(x - radius)); column < Math.min(this.width, x + radius); column++) {
          if (Math.hypot(column + 0.5 - x, row + 0.5 - y) <= radius) this.ids[row * this.width + column] = id;
        }
      }
    }
  }

  /** Give an object the pixels that are set; those of others stay theirs. */
  replace(id, isSet) {
    for (let pixel = 0; pixel < this.ids.length; pixel++) {
      if (this.ids[pixel] === id) this.ids[pixel] = 0;
      if (this.ids[pixel] === 0 && isSet[pixel]) this.ids[pixel] = id;
    }
  }

  /**
   * Draw the mask, outlines brighter.
   *
   * @param {CanvasRenderingContext2D} context
   * @param {number[][]} palette RGB colours of the ids.
   */
  draw(context, palette) {
    const { ids, width, height } = this;
    const image = context.createImageData(width, height);
    const colours = new Uint32Array(image.data.buffer);
    const words = (alpha, gain) =>
      palette.map((rgb) => {
        const bytes = [...rgb.map((value) => Math.min(255, value * gain)), alpha];
        return new Uint32Array(Uint8ClampedArray.from(bytes).buffer)[0];
      });
    const fill = words(OPACITY, 1.4);
    const outline = words(255, 2);
    for (let row = 0, pixel = 0; row < height; row++) {
      for (let column = 0; column < width; column++, pixel++) {
        const id = ids[pixel];
        if (id === 0) continue;
        const isInside =
          column > 0 && ids[pixel - 1] === id && column < width - 1 && ids[pixel + 1] === id &&
          row > 0 && ids[pixel - width] === id && row < height - 1 && ids[pixel + width] === id;
        colours[pixel] = (isInside ? fill : outline)[id];
      }
    }
    context.putImageData(image, 0, 0);
  }
}
