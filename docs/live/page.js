/** The page: what the visitor chooses and draws, and the thread that computes. */

import { MOST_FRAMES, openClip } from "./clip.js";
import { Drawing } from "./drawing.js";
import { PageError } from "./errors.js";
import { readMask, writeMask, zip } from "./masks.js";
import { fetchFile } from "./runtime/graphs.js";
import { checkManifest } from "./runtime/manifest.js";

const MOST_OBJECTS = 9;
const PLAY_RATE = 24; // frames per second at most
const DETAIL = { low: 1 / 2, medium: 2 / 3, high: 1 }; // of the size that the model was made for
const EXAMPLE = ["example/bird.mp4", "example/first.png"];

const at = (id) => document.getElementById(id);
const picture = at("picture").getContext("2d");
const overlay = at("overlay").getContext("2d");

const state = {
  clip: null,
  drawing: null,
  masks: new Map(), // PNGs by frame
  index: 0,
  object: 1,
  objects: [1],
  isBusy: false,
  isStopped: false,
  isPlaying: false,
};

/** Calls of the other thread, by number. */
class Computer {
  constructor(onProgress) {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.calls = new Map();
    this.number = 0;
    this.worker.onmessage = ({ data }) => {
      if (data.progress !== undefined) return onProgress(data.progress);
      const { resolve, reject } = this.calls.get(data.id);
      this.calls.delete(data.id);
      if (data.error === undefined) resolve(data.result);
      else reject(new PageError(data.error));
    };
    this.worker.onerror = () => {
      for (const { reject } of this.calls.values()) {
        reject(new PageError("The computing thread did not start. Reload the page, or use a newer browser."));
      }
    };
  }

  call(verb, values, transfer = []) {
    this.number += 1;
    return new Promise((resolve, reject) => {
      this.calls.set(this.number, { resolve, reject });
      this.worker.postMessage({ id: this.number, verb, values }, transfer);
    });
  }

  close() {
    this.worker.terminate();
  }
}

let computer = null;
let model = null;

/** Load the model, once for a way of computing. */
function openModel() {
  const provider = at("provider").value;
  if (model === null || computer.provider !== provider) {
    computer?.close();
    computer = new Computer((share) => showProgress(share, `Loading the model: ${Math.round(100 * share)} %`));
    computer.provider = provider;
    model = computer.call("open", { provider }).then((facts) => {
      const how = { webgpu: "WebGPU", wasm: `WebAssembly, ${facts.threads} thread${facts.threads === 1 ? "" : "s"}` };
      facts.how = how[facts.provider];
      const isIsolated = self.crossOriginIsolated || facts.provider === "webgpu";
      if (!isIsolated) facts.how += " (the server of this page does not isolate it, which more threads need)";
      return facts;
    });
    model.catch(() => (model = null));
  }
  return model;
}

// What is said.

function say(text, kind = "note") {
  at("message").textContent = text;
  at("message").dataset.kind = kind;
  at("message").hidden = text === "";
}

function complain(error) {
  say(error.message, "error");
  if (!(error instanceof PageError)) console.error(error);
}

function showProgress(share, text) {
  at("progress").hidden = share === null;
  if (share !== null) at("progress").value = share;
  at("progress-text").textContent = text;
}

/** Run something that takes long; only one thing at a time. */
async function work(job) {
  if (state.isBusy) return;
  state.isBusy = true;
  state.isPlaying = false;
  say("");
  renew();
  try {
    await job();
  } catch (error) {
    showProgress(null, "");
    complain(error);
  } finally {
    state.isBusy = false;
    renew();
  }
}

/** Bring buttons up to date. */
function renew() {
  const { clip, drawing, masks, isBusy } = state;
  document.body.dataset.busy = String(isBusy);
  for (const id of ["files", "example", "mask-file", "add-object", "detail", "provider", "position", "previous", "next"]) {
    at(id).disabled = isBusy;
  }
  at("add-object").disabled ||= state.objects.length >= MOST_OBJECTS;
  at("play").disabled = isBusy;
  at("play").textContent = state.isPlaying ? "Pause" : "Play";
  if (clip === null) return;
  const isEmpty = drawing.isEmpty;
  at("undo").disabled = isBusy || drawing.past.length === 0;
  at("clear").disabled = isBusy || isEmpty;
  at("follow").disabled = isBusy || isEmpty || state.index === clip.count - 1;
  at("download").disabled = isBusy || masks.size === 0;
  at("download-facts").textContent = masks.size === 0 ? "" : `${masks.size} of ${clip.count} frames`;
  at("position").value = state.index;
  at("position-text").textContent = `${state.index + 1} of ${clip.count}`;
}

// The clip.

async function load(files, mask = null) {
  const clip = await openClip(files);
  state.clip?.close();
  Object.assign(state, { clip, masks: new Map(), index: 0, object: 1, objects: [1] });
  state.drawing = new Drawing(clip.width, clip.height);
  for (const id of ["picture", "overlay"]) {
    at(id).width = clip.width;
    at(id).height = clip.height;
  }
  at("position").max = clip.count - 1;
  const rate = clip.interval ? `, ${(1 / clip.interval).toFixed(2).replace(/\.?0+$/, "")} per second` : "";
  at("clip-facts").textContent = `${clip.count} frames${rate}, ${clip.width}×${clip.height}`;
  at("workspace").hidden = false;
  showProgress(null, "");
  await show(0);
  if (mask !== null) await takeMask(mask);
  showObjects();
}

async function loadExample() {
  const files = [];
  for (const path of EXAMPLE) {
    const answer = await fetch(path).catch(() => null);
    if (!answer?.ok) {
      throw new PageError(
        `${path} is not there. The example is copied when the page is built: run \`python docs/live/build.py\` in a clone ` +
          "of vos_zoo. Your own clips work without it.",
      );
    }
    const blob = await answer.blob();
    files.push(new File([blob], path.split("/").at(-1), { type: path.endsWith("mp4") ? "video/mp4" : "image/png" }));
  }
  await load([files[0]], files[1]);
}

/** Show a frame with its mask. */
async function show(index) {
  const { clip, drawing } = state;
  const frame = await clip.frame(index);
  state.index = index;
  picture.putImageData(frame, 0, 0);
  const png = state.masks.get(index);
  drawing.show(png ? (await readMask(png, "mask")).ids : new Uint8Array(clip.width * clip.height));
  paint();
}

function paint() {
  state.drawing.draw(overlay, manifest.palette);
  renew();
}

function go(index) {
  const { clip, isBusy } = state;
  if (clip === null || isBusy) return;
  keepDrawing()
    .then(() => show(Math.min(Math.max(index, 0), clip.count - 1)))
    .catch(complain);
}

/** Keep what was drawn on the shown frame. */
async function keepDrawing() {
  const { clip, drawing, index } = state;
  if (drawing.past.length === 0) return;
  if (drawing.isEmpty) state.masks.delete(index);
  else state.masks.set(index, await pack(drawing.ids, clip));
}

function pack(ids, { width, height }) {
  return writeMask({ ids, width, height }, manifest.palette);
}

async function play() {
  if (state.clip === null || state.isBusy) return;
  state.isPlaying = !state.isPlaying;
  renew();
  try {
    if (state.isPlaying) await keepDrawing();
    while (state.isPlaying && state.index < state.clip.count - 1) {
      const pause = new Promise((resolve) => setTimeout(resolve, 1000 / PLAY_RATE));
      await show(state.index + 1);
      await pause;
    }
  } catch (error) {
    complain(error);
  }
  state.isPlaying = false;
  renew();
}

// Objects and tools.

function showObjects() {
  const choices = state.objects.map((id) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "object", value: id });
    input.checked = id === state.object;
    input.addEventListener("change", () => (state.object = id));
    const text = document.createElement("span");
    const dot = document.createElement("i");
    dot.style.background = `rgb(${manifest.palette[id].map((value) => Math.min(255, value * 1.4)).join()})`;
    text.append(dot, String(id));
    label.append(input, text);
    return label;
  });
  at("objects").replaceChildren(at("objects").querySelector("legend"), ...choices);
  renew();
}

function addObject() {
  if (state.objects.length >= MOST_OBJECTS) return;
  state.object = Math.max(...state.objects) + 1;
  if (state.object > 255) state.object = [...Array(256).keys()].find((id) => id > 0 && !state.objects.includes(id));
  state.objects.push(state.object);
  showObjects();
}

async function takeMask(file) {
  const mask = await readMask(new Uint8Array(await file.arrayBuffer()), file.name);
  const { clip, drawing } = state;
  if (mask.width !== clip.width || mask.height !== clip.height) {
    throw new PageError(
      `${file.name} is ${mask.width}x${mask.height} pixels, the frames are ${clip.width}x${clip.height}. ` +
        "Give a mask of the frames' size.",
    );
  }
  const ids = [...new Set(mask.ids)].filter((id) => id !== 0).sort((one, other) => one - other);
  if (ids.length === 0 || ids.length > MOST_OBJECTS) {
    throw new PageError(`${file.name} holds ${ids.length} objects. Expected 1 to ${MOST_OBJECTS} ids besides 0, the background.`);
  }
  drawing.keep();
  drawing.ids = mask.ids;
  Object.assign(state, { objects: ids, object: ids[0] });
  showObjects();
  paint();
}

const tool = () => document.querySelector("input[name=tool]:checked").value;

function placeOf(pointer) {
  const area = at("overlay").getBoundingClientRect();
  return {
    x: ((pointer.clientX - area.left) * state.clip.width) / area.width,
    y: ((pointer.clientY - area.top) * state.clip.height) / area.height,
  };
}

let stroke = null;

function beginStroke(pointer) {
  if (state.isBusy || state.isPlaying || pointer.button !== 0) return;
  at("overlay").setPointerCapture(pointer.pointerId);
  const place = placeOf(pointer);
  stroke = { tool: tool(), start: place, last: place };
  if (stroke.tool !== "box") {
    state.drawing.keep();
    moveStroke(pointer);
  }
}

function moveStroke(pointer) {
  if (stroke === null) return;
  const place = placeOf(pointer);
  if (stroke.tool === "box") {
    state.drawing.draw(overlay, manifest.palette);
    overlay.strokeStyle = "#ffffff";
    overlay.lineWidth = Math.max(2, state.clip.width / 400);
    overlay.setLineDash([8, 5]);
    overlay.strokeRect(stroke.start.x, stroke.start.y, place.x - stroke.start.x, place.y - stroke.start.y);
  } else {
    const id = stroke.tool === "brush" ? state.object : 0;
    state.drawing.paint(stroke.last, place, Number(at("brush-width").value), id);
    state.drawing.draw(overlay, manifest.palette);
  }
  stroke.last = place;
}

function endStroke() {
  if (stroke === null) return;
  const { tool: kind, start, last } = stroke;
  stroke = null;
  if (kind === "box") work(() => takeBox(start, last));
  paint();
}

/** Let the prompt network find what is in a box. */
async function takeBox(start, end) {
  const { clip, drawing, index, object } = state;
  const within = (value, limit) => Math.min(Math.max(value, 0), limit);
  const box = {
    left: within(Math.floor(Math.min(start.x, end.x)), clip.width),
    top: within(Math.floor(Math.min(start.y, end.y)), clip.height),
    right: within(Math.ceil(Math.max(start.x, end.x)), clip.width),
    bottom: within(Math.ceil(Math.max(start.y, end.y)), clip.height),
  };
  if (box.right - box.left < 4 || box.bottom - box.top < 4) return;
  await openModel();
  showProgress(null, "Looking for the object in the box …");
  const frame = await clip.frame(index);
  const isSet = await computer.call("box", { frame: bare(frame), box }, [frame.data.buffer]);
  showProgress(null, "");
  if (!isSet.includes(1)) {
    throw new PageError("No object was found in this box. Draw it closer around the object, or paint the object with the brush.");
  }
  drawing.keep();
  drawing.replace(object, isSet);
  paint();
}

/** A frame as it is sent to the other thread. */
function bare({ data, width, height }) {
  return { data, width, height };
}

// Following.

async function follow() {
  const { clip } = state;
  state.isStopped = false;
  at("stop").hidden = false;
  try {
    const facts = await openModel();
    showProgress(0, "Remembering the first frame …");
    const start = state.index;
    const ids = state.drawing.ids.slice();
    state.masks.set(start, await pack(ids, clip));
    const frame = await clip.frame(start);
    const began = performance.now();
    const shortSide = Math.round(DETAIL[at("detail").value] * Math.min(...[manifest.working_size].flat()));
    await computer.call("begin", { frame: bare(frame), ids, shortSide }, [frame.data.buffer]);
    const count = clip.count - 1 - start;
    let done = 0;
    while (done < count && !state.isStopped) {
      const index = start + done + 1;
      const next = await clip.frame(index);
      picture.putImageData(next, 0, 0);
      const mask = await computer.call("step", { frame: bare(next) }, [next.data.buffer]);
      state.masks.set(index, await pack(mask, clip));
      state.index = index;
      state.drawing.show(mask);
      paint();
      done += 1;
      const rate = done / ((performance.now() - began) / 1000);
      const left = done < count && !state.isStopped ? ` · ${duration((count - done) / rate)} left` : "";
      showProgress(done / count, `${done} of ${count} frames · ${rate < 10 ? rate.toPrecision(2) : Math.round(rate)} frames/s${left} · ${facts.how}`);
    }
    if (state.isStopped) say(`Stopped after ${done} ${done === 1 ? "frame, which is" : "frames, which are"} kept. Correct the last one if needed, and follow on.`);
  } finally {
    at("stop").hidden = true;
  }
}

function duration(seconds) {
  const whole = Math.ceil(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

async function download() {
  await keepDrawing();
  const frames = [...state.masks.keys()].sort((one, other) => one - other);
  const files = frames.map((index) => ({ name: `${state.clip.name(index)}.png`, bytes: state.masks.get(index) }));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(zip(files));
  link.download = "masks.zip";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Wiring.

const chosen = (input, take) =>
  input.addEventListener("change", () => {
    const files = [...input.files];
    input.value = ""; // so that the same choice counts again
    if (files.length > 0) work(() => take(files));
  });
chosen(at("files"), (files) => load(files));
chosen(at("mask-file"), ([file]) => takeMask(file));
at("example").addEventListener("click", () => work(loadExample));
at("add-object").addEventListener("click", addObject);
at("undo").addEventListener("click", undo);
at("clear").addEventListener("click", () => {
  state.drawing.keep();
  state.drawing.ids.fill(0);
  paint();
});
at("previous").addEventListener("click", () => go(state.index - 1));
at("next").addEventListener("click", () => go(state.index + 1));
at("position").addEventListener("change", () => go(Number(at("position").value)));
at("play").addEventListener("click", play);
at("follow").addEventListener("click", () => work(follow));
at("stop").addEventListener("click", stop);
at("download").addEventListener("click", () => work(download));
at("overlay").addEventListener("pointerdown", beginStroke);
at("overlay").addEventListener("pointermove", moveStroke);
at("overlay").addEventListener("pointerup", endStroke);
at("overlay").addEventListener("pointercancel", endStroke);

function undo() {
  state.drawing?.undo();
  if (state.clip !== null) paint();
}

function stop() {
  state.isStopped = true;
}

const choose = (name) => () => (document.querySelector(`input[name=tool][value=${name}]`).checked = true);
const KEYS = {
  ArrowLeft: () => go(state.index - 1),
  ArrowRight: () => go(state.index + 1),
  " ": play,
  b: choose("box"),
  p: choose("brush"),
  e: choose("eraser"),
  z: () => state.isBusy || undo(),
  Escape: stop,
};

/** Tell whether a key already means something to what has the focus. */
function isTaken({ target, key }) {
  if (key === "Escape") return false;
  if (target.matches("button, summary, a")) return key === " ";
  if (target.matches("input[type=radio]")) return key === " " || key.startsWith("Arrow");
  return target.matches("input, select");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || isTaken(event)) return;
  const id = Number(event.key);
  if (state.objects.includes(id)) {
    state.object = id;
    showObjects();
  } else if (KEYS[event.key]) {
    event.preventDefault();
    KEYS[event.key]();
  }
});

at("limits").textContent =
  `Clips have at most ${MOST_FRAMES} frames of up to 1920×1080 pixels, with up to ${MOST_OBJECTS} objects. Frames of a video ` +
  "are taken at even steps; images are exact.";

const manifest = await fetchFile(new URL("graphs/session.json", import.meta.url))
  .then((content) => checkManifest(JSON.parse(new TextDecoder().decode(content))))
  .catch(complain);
const hasWebGpu = Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
if (!hasWebGpu) {
  at("provider").querySelector("[value=webgpu]").disabled = true;
  at("provider").value = "wasm";
}
renew();
for (const id of ["files", "example"]) at(id).disabled = manifest === undefined;
document.body.dataset.ready = "true";
