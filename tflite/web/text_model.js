/** A .tflite file of tflite/convert.py as a function of texts, run by LiteRT.js or by MediaPipe's text tasks. */

import { ModelFile } from "./model_file.js";
import { normalize, Tokenizer } from "./tokenizer.js";

const MOST_ANSWER_PIECES = 30;

let liteRt; // loaded once; models share it

/** The address of a package's folder beside this file; a module inside a page has no such folder. */
const packageUrl = (name) => new URL(`./node_modules/${name}`, import.meta.url).href;

/**
 * @typedef {{kind: "classes", rows: {label: string, value: number}[]}} Classes the likeliest first
 * @typedef {{kind: "score", value: number}} Score a regression model's value
 * @typedef {{kind: "tags", rows: {text: string, label: string, value: number}[]}} Tags of each word piece
 * @typedef {{kind: "answer", text: string, value: number}} Answer of a question about a text
 * @typedef {{kind: "vector", values: Float32Array}} Vector of an encoder
 */

/** Runs a file with LiteRT.js: single texts, pairs, questions, several lengths, any head. */
export class LiteRtTextModel {
  /**
   * @param {Uint8Array} bytes the file
   * @param {"wasm" | "webgpu"} accelerator
   * @param {string | null} runtime the address of LiteRT.js' loader (.js) or of the folder that holds it
   */
  static async open(bytes, accelerator = "wasm", runtime = null) {
    const file = new ModelFile(bytes);
    if (!file.vocabulary) {
      throw new Error("there is no vocab.txt in this file; tflite/convert.py without --text_input writes files that have one");
    }
    const { loadLiteRt, loadAndCompile, Tensor } = await import("@litertjs/core");
    liteRt ??= loadLiteRt(runtime ?? packageUrl("@litertjs/core/wasm/"));
    await liteRt;
    return new LiteRtTextModel(file, await loadAndCompile(bytes, { accelerator }), Tensor);
  }

  constructor(file, model, Tensor) {
    Object.assign(this, { file, model, Tensor });
    this.tokenizer = new Tokenizer(file.vocabulary, file.settings);
  }

  /**
   * @param {string} first
   * @param {string | null} second the second text of a pair, or the text that holds the answer
   * @returns {Promise<Classes | Score | Tags | Answer | Vector>}
   */
  async run(first, second = null) {
    const longest = this.file.signatures.at(-1).length;
    const encoded = this.tokenizer.encode(first, second, longest);
    const signature = this.file.signatures.find((candidate) => candidate.length >= encoded.ids.length);
    return this.#read(await this.#invoke(signature, encoded), first, second, encoded, signature.length);
  }

  async #invoke(signature, { ids, segmentIds }) {
    const padded = (values, filling) => {
      const row = new Int32Array(signature.length).fill(filling);
      row.set(values);
      return new this.Tensor(row, [1, signature.length]);
    };
    const inputs = {
      input_word_ids: padded(ids, this.tokenizer.padId),
      input_mask: padded(ids.map(() => 1), 0),
      input_type_ids: padded(segmentIds, 0),
    };
    const outputs = await this.model.run(signature.key, inputs);
    const values = {};
    for (const [name, tensor] of Object.entries(outputs)) {
      values[name] = (await tensor.data()).slice();
      tensor.delete();
    }
    Object.values(inputs).forEach((tensor) => tensor.delete());
    return values;
  }

  #read(outputs, first, second, encoded, length) {
    if (outputs.start_logits) return this.#answer(outputs, first, second ?? "", encoded);
    const [values] = Object.values(outputs);
    const { labels } = this.file;
    if (labels && values.length === labels.length) return classes(labels, values);
    if (labels && values.length === labels.length * length) return this.#tags(values, first, encoded);
    return values.length === 1 ? { kind: "score", value: values[0] } : { kind: "vector", values };
  }

  /** Tags of the pieces of the first text that fit into the model. */
  #tags(values, text, { segmentIds }) {
    const { labels } = this.file;
    const count = segmentIds.filter((id) => id === 0).length - 2; // without [CLS] and [SEP]
    const rows = this.tokenizer.truncate(this.tokenizer.tokenize(text), count).map((piece, index) => {
      const [best] = classes(labels, values.subarray((index + 1) * labels.length, (index + 2) * labels.length)).rows;
      return { text: text.slice(piece.begin, piece.end), ...best };
    });
    return { kind: "tags", rows };
  }

  /** The span of the highest sum in the part of the text that fits into the model. */
  #answer({ start_logits: starts, end_logits: ends }, question, text, { segmentIds }) {
    const offset = segmentIds.indexOf(1);
    const count = segmentIds.length - offset - 1;
    let best = { value: -Infinity, first: 0, last: 0 };
    for (let first = 0; first < count; first++) {
      for (let last = first; last < Math.min(first + MOST_ANSWER_PIECES, count); last++) {
        const value = starts[offset + first] + ends[offset + last];
        if (value > best.value) best = { value, first, last };
      }
    }
    const pieces = this.tokenizer.truncate(this.tokenizer.tokenize(text), count);
    const answer = offset < 0 || count < 1 ? "" : text.slice(pieces[best.first].begin, pieces[best.last].end);
    return { kind: "answer", text: answer, value: best.value };
  }

  close() {
    this.model.delete();
  }
}

/** Runs a classifier with MediaPipe's TextClassifier: single texts and one length. Texts are normalized before. */
export class MediaPipeTextModel {
  /** @param {Uint8Array} bytes the file */
  static async open(bytes) {
    const file = new ModelFile(bytes);
    const { FilesetResolver, TextClassifier } = await import("@mediapipe/tasks-text");
    const runtime = await FilesetResolver.forTextTasks(packageUrl("@mediapipe/tasks-text/wasm"));
    return new MediaPipeTextModel(file, await TextClassifier.createFromModelBuffer(runtime, bytes));
  }

  constructor(file, task) {
    Object.assign(this, { file, task });
  }

  /**
   * @param {string} first
   * @returns {Promise<Classes>}
   */
  async run(first, second = null) {
    if (second !== null) throw new Error("MediaPipe's TextClassifier takes single texts; take LiteRT.js for pairs");
    const result = this.task.classify(normalize(first, this.file.settings));
    const rows = result.classifications[0].categories.map(({ categoryName, score }) => ({
      label: categoryName,
      value: score,
    }));
    return { kind: "classes", rows };
  }

  close() {
    this.task.close();
  }
}

function classes(labels, values) {
  const rows = labels.map((label, id) => ({ label, value: values[id] }));
  return { kind: "classes", rows: rows.sort((a, b) => b.value - a.value) };
}

/** Cosine of the angle between two vectors. */
export function cosine(a, b) {
  const dot = (x, y) => x.reduce((sum, value, index) => sum + value * y[index], 0);
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
}
