/**
 * What a .tflite file of tflite/convert.py holds beside its network: vocabulary, labels, how texts are prepared, and the lengths
 * of its inputs. The files are a zip archive behind the network's last byte.
 */

// Numbers of the fields in TensorFlow Lite's schema.
const SUBGRAPHS = 2;
const BUFFERS = 4;
const METADATA = 6;
const SIGNATURES = 7;
const DIRECTORY_END = 0x06054b50;
const DIRECTORY_END_SIZE = 22;

export class ModelFile {
  /** @param {Uint8Array} bytes the whole file */
  constructor(bytes) {
    this.bytes = bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 8 || text(bytes, 4, 4) !== "TFL3") throw new Error("this is not a .tflite file");
    const files = attachedFiles(bytes, view);
    const root = new Table(bytes, view, view.getUint32(0, true));
    /** @type {string[] | null} words by id */
    this.vocabulary = files["vocab.txt"] ?? null;
    /** @type {import("./tokenizer.js").Settings} */
    this.settings = JSON.parse(ownMetadata(root) ?? "{}");
    /** @type {string[] | null} classes by id; null for a model that does not classify */
    this.labels = this.settings.head === "regression" ? null : (files["labels.txt"] ?? null);
    /** @type {{key: string, length: number, outputs: string[]}[]} shortest first */
    this.signatures = root.tables(SIGNATURES).map((signature) => readSignature(root, signature));
    this.signatures.sort((a, b) => a.length - b.length);
  }
}

function readSignature(root, signature) {
  const [INPUTS, OUTPUTS, KEY, SUBGRAPH] = [0, 1, 2, 4];
  const [TENSOR_MAP_NAME, TENSOR_MAP_INDEX] = [0, 1];
  const [TENSORS, SHAPE] = [0, 0];
  const names = (field) => signature.tables(field).map((entry) => entry.text(TENSOR_MAP_NAME));
  const [input] = signature.tables(INPUTS);
  const tensors = root.tables(SUBGRAPHS)[signature.uint(SUBGRAPH)].tables(TENSORS);
  const shape = tensors[input.uint(TENSOR_MAP_INDEX)].ints(SHAPE);
  return { key: signature.text(KEY), length: shape[1] ?? 0, inputs: names(INPUTS), outputs: names(OUTPUTS) };
}

/** The text that the flatbuffer holds under the name of this project. */
function ownMetadata(root) {
  const [NAME, BUFFER, DATA] = [0, 1, 0];
  const entry = root.tables(METADATA).find((candidate) => candidate.text(NAME) === "tinybert_tf");
  return entry && root.tables(BUFFERS)[entry.uint(BUFFER)].text(DATA);
}

/** Lines of each file in the archive. Its directory is found from behind and says where each file is. */
function attachedFiles(bytes, view) {
  let end = bytes.length - DIRECTORY_END_SIZE;
  while (end >= 0 && view.getUint32(end, true) !== DIRECTORY_END) end--;
  if (end < 0) return {};
  const files = {};
  let entry = view.getUint32(end + 16, true);
  for (let count = view.getUint16(end + 10, true); count > 0; count--) {
    const size = view.getUint32(entry + 24, true);
    const nameLength = view.getUint16(entry + 28, true);
    const name = text(bytes, entry + 46, nameLength);
    if (view.getUint16(entry + 10, true) !== 0) throw new Error(`${name} in the model file is compressed`);
    const local = view.getUint32(entry + 42, true);
    const begin = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    files[name] = text(bytes, begin, size).replace(/\n$/, "").split(/\r?\n/);
    entry += 46 + nameLength + view.getUint16(entry + 30, true) + view.getUint16(entry + 32, true);
  }
  return files;
}

/** A table of a flatbuffer: its first word says how far before it the list of its fields is. */
class Table {
  constructor(bytes, view, at) {
    Object.assign(this, { bytes, view, at });
  }

  #field(number) {
    const fields = this.at - this.view.getInt32(this.at, true);
    const entry = 4 + 2 * number;
    if (entry >= this.view.getUint16(fields, true)) return null;
    const offset = this.view.getUint16(fields + entry, true);
    return offset ? this.at + offset : null;
  }

  #vector(number) {
    const field = this.#field(number);
    return field === null ? null : field + this.view.getUint32(field, true);
  }

  #items(number, read) {
    const begin = this.#vector(number);
    if (begin === null) return [];
    return Array.from({ length: this.view.getUint32(begin, true) }, (_, index) => read(begin + 4 + 4 * index));
  }

  uint(number) {
    const field = this.#field(number);
    return field === null ? 0 : this.view.getUint32(field, true);
  }

  text(number) {
    const begin = this.#vector(number);
    return begin === null ? null : text(this.bytes, begin + 4, this.view.getUint32(begin, true));
  }

  ints(number) {
    return this.#items(number, (at) => this.view.getInt32(at, true));
  }

  tables(number) {
    return this.#items(number, (at) => new Table(this.bytes, this.view, at + this.view.getUint32(at, true)));
  }
}

function text(bytes, begin, length) {
  return new TextDecoder().decode(bytes.subarray(begin, begin + length));
}
