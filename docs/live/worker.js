/** Everything that takes long, in a thread of its own, so that the page stays usable. */

import { PageError } from "./errors.js";
import { BoxNetwork } from "./prompt.js";
import { Graphs, fetchFile } from "./runtime/graphs.js";
import { GraphSession } from "./runtime/session.js";

const MOST_THREADS = 8; // beyond, small convolutions gain nothing

let ort = null;
let rules = null;
let graphs = null;
let boxes = null;
let session = null;

const verbs = {
  /** Load ONNX Runtime and the graphs; returns what computes. */
  async open({ provider }) {
    rules = JSON.parse(new TextDecoder().decode(await fetchFile(here("live.json"))));
    ort = await loadRuntime();
    const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, MOST_THREADS) : 1;
    ort.env.wasm.numThreads = threads;
    const tell = (share) => postMessage({ progress: share });
    const usable = provider === "webgpu" && !(await hasWebGpu()) ? "wasm" : provider;
    graphs = await Graphs.open(ort, here("graphs/"), usable, tell);
    boxes = new BoxNetwork(ort, here("prompt/"), usable);
    return { provider: usable, threads };
  },

  /** Find the object in a box; returns its pixels as 0 and 1. */
  box({ frame, box }) {
    return boxes.find(frame, box);
  },

  /** Begin to follow what a mask shows on a frame. */
  async begin({ frame, ids, shortSide }) {
    session = new GraphSession(graphs, rules, shortSide);
    await session.begin(frame, ids);
  },

  /** Follow to the next frame; returns its object ids. */
  step({ frame }) {
    return session.step(frame);
  },
};

self.onmessage = async ({ data: { id, verb, values } }) => {
  try {
    const result = await verbs[verb](values);
    postMessage({ id, result }, result?.buffer ? [result.buffer] : []);
  } catch (error) {
    postMessage({ id, error: describe(error) });
  }
};

function here(path) {
  return new URL(path, import.meta.url);
}

async function loadRuntime() {
  const folder = here("ort/");
  const entry = new URL("ort.webgpu.min.mjs", folder);
  const module = await import(entry).catch(() => null);
  if (module === null) await fetchFile(entry); // says what is missing
  if (module === null) throw new PageError("This browser cannot load ONNX Runtime. Use a newer one.");
  module.env.wasm.wasmPaths = folder.href;
  module.env.logLevel = "error";
  return module;
}

async function hasWebGpu() {
  return Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
}

function describe(error) {
  if (error instanceof PageError) return error.message;
  const text = String(error?.message ?? error);
  if (error instanceof RangeError || /memory|alloc/i.test(text)) {
    return `Out of memory: ${text}. Choose a lower detail, mark fewer objects, or close other pages.`;
  }
  return `${text}. Reload the page; if that does not help, compute with WebAssembly, or use another browser.`;
}
