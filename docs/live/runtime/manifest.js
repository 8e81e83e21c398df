/** `session.json`: how exported graphs want to be run. Mirrors `vos_zoo.runtime.manifest`. */

import { PageError } from "../errors.js";

const FORMAT_VERSION = 1;
const VERBS = ["encode", "segment", "memorize"];

/** How names begin in graphs: of the state, and of the state after `memorize`. */
export const STATE = "state_";
export const NEXT = "next_";

/** What a session gives to graphs besides features and state. */
const GIVEN = ["image", "masks", "others", "reference"];

/**
 * Check that this page can run what an export describes.
 *
 * @param {object} data Content of `session.json`.
 * @returns {object} The same.
 * @throws {PageError} If it is of another version, or asks for what this page does not do.
 */
export function checkManifest(data) {
  if (data?.format_version !== FORMAT_VERSION) {
    throw new PageError(
      `session.json has format_version ${JSON.stringify(data?.format_version)}; this page reads ${FORMAT_VERSION}. ` +
        "Build the page and its graphs with the same vos_zoo.",
    );
  }
  if (data.kind !== "onnx") {
    throw new PageError(`The graphs are of kind '${data.kind}'. Expected 'onnx'. Export them with vos-zoo export-onnx.`);
  }
  if (data.memory.kind !== "recurrent") {
    throw new PageError(
      `The memory of ${data.model} grows with the video (kind '${data.memory.kind}'). Expected one of constant size. ` +
        "Build the page with a model such as rde.small.",
    );
  }
  const features = data.graphs.encode.outputs.map((array) => array.name);
  const known = new Set([...GIVEN, ...features, ...data.memory.state.map((array) => STATE + array.name)]);
  for (const verb of VERBS) {
    for (const array of data.graphs[verb].inputs) {
      if (!known.has(array.name)) {
        throw new PageError(
          `The graph '${verb}' of ${data.model} takes '${array.name}', which this page does not know. ` +
            "Build the page with a model such as rde.small.",
        );
      }
    }
  }
  return data;
}

/**
 * Give an array's shape in numbers.
 *
 * @param {{shape: (number|string)[]}} array Numbers and formulas such as `objects` or `height/16`.
 * @param {{height: number, width: number, objects: number}} sizes Height and width of padded frames, in pixels.
 * @returns {number[]}
 */
export function resolveShape(array, sizes) {
  return array.shape.map((part) => {
    if (typeof part === "number") return part;
    const [word, divisor] = part.split("/");
    return Math.floor(sizes[word] / Number(divisor ?? 1));
  });
}
