/** What runs graphs: ONNX Runtime in the browser. Mirrors `vos_zoo.runtime.graphs`. */

import { PageError } from "../errors.js";
import { checkManifest } from "./manifest.js";

export class Graphs {
  /**
   * Load the graphs of a folder.
   *
   * @param {object} ort The module of onnxruntime-web.
   * @param {URL} folder What `vos-zoo export-onnx` wrote.
   * @param {string} provider `webgpu` or `wasm`.
   * @param {(part: number) => void} progress Called with the share of bytes that have come, 0 to 1.
   * @throws {PageError} If a file is missing, was cut or changed, or does not fit this page.
   */
  static async open(ort, folder, provider, progress) {
    const manifest = checkManifest(JSON.parse(new TextDecoder().decode(await fetchFile(new URL("session.json", folder)))));
    const entries = [...Object.values(manifest.graphs), ...(manifest.weights ? [manifest.weights] : [])];
    const total = entries.reduce((sum, entry) => sum + entry.num_bytes, 0);
    const files = {};
    let done = 0;
    for (const entry of entries) {
      files[entry.file] = await fetchFile(new URL(entry.file, folder), (bytes) => progress((done + bytes) / total));
      await checkFile(entry, files[entry.file]);
      done += entry.num_bytes;
    }
    const weights = manifest.weights?.file;
    const options = {
      executionProviders: [provider],
      externalData: weights ? [{ path: weights, data: files[weights] }] : [],
      logSeverityLevel: 3,
    };
    const sessions = {};
    for (const [verb, entry] of Object.entries(manifest.graphs)) {
      sessions[verb] = await ort.InferenceSession.create(files[entry.file], options);
    }
    return new Graphs(ort, manifest, sessions);
  }

  constructor(ort, manifest, sessions) {
    this.ort = ort;
    this.manifest = manifest;
    this.sessions = sessions;
  }

  /**
   * Run a verb.
   *
   * @param {string} verb `encode`, `segment` or `memorize`.
   * @param {object} values Those that the verb takes, by name, and any others.
   * @returns {Promise<object>} Its outputs by name.
   */
  async run(verb, values) {
    const feeds = this.manifest.graphs[verb].inputs.map(({ name }) => [name, values[name]]);
    return this.sessions[verb].run(Object.fromEntries(feeds));
  }

  /** Turn numbers into a value. */
  toValue(data, shape) {
    return new this.ort.Tensor("float32", data, shape);
  }
}

/**
 * Fetch a file of this page.
 *
 * @param {URL} url
 * @param {(bytes: number) => void} [progress] Called with the number of bytes that have come.
 * @returns {Promise<Uint8Array>}
 */
export async function fetchFile(url, progress = () => {}) {
  const answer = await fetch(url).catch(() => null);
  if (!answer?.ok) {
    throw new PageError(
      `${url.pathname} is not there (${answer ? `HTTP ${answer.status}` : "no answer"}). The graphs and ONNX Runtime are ` +
        "made when the page is built: run `python docs/live/build.py` in a clone of vos_zoo, and copy the whole folder.",
    );
  }
  const chunks = [];
  let length = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    chunks.push(value);
    length += value.length;
    progress(length);
  }
  const content = new Uint8Array(length);
  let place = 0;
  for (const chunk of chunks) {
    content.set(chunk, place);
    place += chunk.length;
  }
  return content;
}

async function checkFile(entry, content) {
  if (content.length !== entry.num_bytes) {
    const what = content.length < entry.num_bytes ? "was cut" : "was changed";
    throw new PageError(
      `${entry.file} has ${content.length} bytes instead of ${entry.num_bytes}: it ${what}. Copy the folder of this page again.`,
    );
  }
  if (!crypto.subtle) return; // browsers have it on https and on this machine only
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  if ([...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("") !== entry.sha256) {
    throw new PageError(
      `${entry.file} has another checksum than session.json says: it was changed or damaged. Copy the folder of this page again.`,
    );
  }
}
