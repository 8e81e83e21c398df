/** Frames of the visitor's clip: of a video file, or of images. */

import { PageError } from "./errors.js";

/** What a clip may have; what is longer belongs into a program, not into a page. */
export const MOST_FRAMES = 600;
export const MOST_PIXELS = 1920 * 1080;

const SAMPLE_FRAMES = 24; // from which the frame rate is told
const SAMPLE_SECONDS = 3; // and how long to wait for them
const USUAL_RATES = [10, 12, 15, 24000 / 1001, 24, 25, 30000 / 1001, 30, 48, 50, 60000 / 1001, 60];
const RATE_TOLERANCE = 0.004; // times in files are rounded to milliseconds
const FALLBACK_RATE = 25; // where the browser does not tell when frames are shown
const WAIT = 20_000; // milliseconds for a browser to come up with a frame

/**
 * Open what a visitor chose.
 *
 * @param {File[]} files One video, or images of one size, which are sorted by name.
 * @returns {Promise<VideoClip|ImageClip>}
 * @throws {PageError} If there is nothing to read, it cannot be decoded, or it is too long or too large.
 */
export async function openClip(files) {
  const images = files.filter((file) => file.type.startsWith("image/"));
  if (images.length > 0) return checkClip(await ImageClip.open(images));
  const videos = files.filter((file) => file.type.startsWith("video/") || /\.(mp4|m4v|mov|webm|mkv|ogv)$/i.test(file.name));
  if (videos.length !== 1) {
    throw new PageError(
      `${videos.length} videos were found among ${files.length} files. Expected one video file (MP4 or WebM), or images ` +
        "(PNG, JPEG or WebP). Choose again.",
    );
  }
  return checkClip(await VideoClip.open(videos[0]));
}

function checkClip(clip) {
  let problem = null;
  if (clip.count > MOST_FRAMES) problem = `The clip has ${clip.count} frames. Expected at most ${MOST_FRAMES}.`;
  if (clip.width * clip.height > MOST_PIXELS) {
    problem = `Its frames are ${clip.width}x${clip.height} pixels. Expected at most 1920x1080.`;
  }
  if (problem !== null) {
    clip.close();
    throw new PageError(`${problem} Cut or scale it first, or take \`vos-zoo segment\`, which has no such limit.`);
  }
  return clip;
}

/** Draw what the browser decoded, and read its pixels. */
class Canvas {
  constructor(width, height) {
    this.canvas = document.createElement("canvas");
    this.canvas.width = width;
    this.canvas.height = height;
    this.context = this.canvas.getContext("2d", { willReadFrequently: true });
  }

  read(picture) {
    this.context.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    return this.context.getImageData(0, 0, this.canvas.width, this.canvas.height);
  }
}

/** Images, each decoded when it is asked for. */
export class ImageClip {
  static async open(files) {
    const sorted = [...files].sort((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
    const first = await decode(sorted[0]);
    return new ImageClip(sorted, first.width, first.height);
  }

  constructor(files, width, height) {
    this.files = files;
    this.width = width;
    this.height = height;
    this.count = files.length;
    this.canvas = new Canvas(width, height);
  }

  /** Name of a frame's mask, without its ending. */
  name(index) {
    return this.files[index].name.replace(/\.[^.]*$/, "");
  }

  /**
   * @param {number} index
   * @returns {Promise<ImageData>}
   */
  async frame(index) {
    const picture = await decode(this.files[index]);
    if (picture.width !== this.width || picture.height !== this.height) {
      throw new PageError(
        `${this.files[index].name} is ${picture.width}x${picture.height} pixels, the images before were ` +
          `${this.width}x${this.height}. Choose images of one size.`,
      );
    }
    const pixels = this.canvas.read(picture);
    picture.close();
    return pixels;
  }

  close() {}
}

async function decode(file) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
  } catch {
    throw new PageError(`This browser cannot decode ${file.name}. Expected a PNG, JPEG or WebP image. Convert it.`);
  }
}

/** A video, whose frames are taken at even steps, each in the middle of the time that it is shown. */
export class VideoClip {
  static async open(file) {
    const video = document.createElement("video");
    video.muted = true;
    video.playsInline = true;
    video.preload = "auto";
    video.src = URL.createObjectURL(file);
    try {
      await event(video, "loadeddata", file.name);
      if (video.videoWidth === 0) throw undecodable(file.name);
      const { start, interval } = await sampleTimes(video);
      return new VideoClip(file, video, start, interval);
    } catch (error) {
      URL.revokeObjectURL(video.src);
      throw error;
    }
  }

  constructor(file, video, start, interval) {
    this.file = file;
    this.video = video;
    this.start = start;
    this.interval = interval;
    this.width = video.videoWidth;
    this.height = video.videoHeight;
    this.count = Math.max(1, Math.round((video.duration - start) / interval));
    this.canvas = new Canvas(this.width, this.height);
    this.last = Promise.resolve();
  }

  name(index) {
    return String(index).padStart(5, "0");
  }

  /**
   * @param {number} index
   * @returns {Promise<ImageData>}
   */
  frame(index) {
    const read = async () => {
      const arrived = event(this.video, "seeked", this.file.name);
      this.video.currentTime = Math.min(this.start + (index + 0.5) * this.interval, this.video.duration);
      await arrived;
      return this.canvas.read(this.video);
    };
    this.last = this.last.then(read, read); // one after the other: there is one video to wind
    return this.last;
  }

  close() {
    URL.revokeObjectURL(this.video.src);
  }
}

/** Tell when frames begin and how long each of them is shown, in seconds, by playing some of them. */
async function sampleTimes(video) {
  const times = [];
  if (video.requestVideoFrameCallback) {
    await new Promise((resolve) => {
      const limit = setTimeout(resolve, SAMPLE_SECONDS * 1000);
      const note = (_, frame) => {
        times.push(frame.mediaTime);
        if (times.length < SAMPLE_FRAMES) video.requestVideoFrameCallback(note);
        else finish();
      };
      const finish = () => {
        clearTimeout(limit);
        resolve();
      };
      video.requestVideoFrameCallback(note);
      video.addEventListener("ended", finish, { once: true });
      video.play().catch(finish);
    });
    video.pause();
  }
  if (!Number.isFinite(video.duration)) {
    // Recordings of browsers do not say how long they are until somebody looks.
    const known = event(video, "durationchange", "The video");
    video.currentTime = 1e9;
    await known;
  }
  const steps = times.slice(1).map((time, index) => time - times[index]).filter((step) => step > 0.001);
  if (steps.length === 0) return { start: 0, interval: 1 / FALLBACK_RATE };
  const span = times.at(-1) - times[0];
  const rate = Math.round(span / Math.min(...steps)) / span; // frames may have been left out while playing
  const distance = (usual) => Math.abs(usual / rate - 1);
  const nearest = USUAL_RATES.reduce((best, usual) => (distance(usual) < distance(best) ? usual : best));
  const interval = 1 / (distance(nearest) < RATE_TOLERANCE ? nearest : rate);
  // The first frames may have been shown before anybody looked.
  return { start: Math.max(0, times[0] - Math.round(times[0] / interval) * interval), interval };
}

/** Wait for an event of a video. */
function event(video, name, label) {
  return new Promise((resolve, reject) => {
    const end = (settle, value) => {
      clearTimeout(limit);
      video.removeEventListener(name, onEvent);
      video.removeEventListener("error", onError);
      settle(value);
    };
    const onEvent = () => end(resolve);
    const onError = () => end(reject, undecodable(label));
    const limit = setTimeout(onError, WAIT);
    video.addEventListener(name, onEvent);
    video.addEventListener("error", onError);
  });
}

function undecodable(name) {
  return new PageError(
    `This browser cannot decode ${name}. Expected a video that it plays, such as MP4 with H.264, or WebM. Convert it ` +
      `(for FFmpeg, \`ffmpeg -i ${name} -pix_fmt yuv420p clip.mp4\`), or choose its frames as images.`,
  );
}
