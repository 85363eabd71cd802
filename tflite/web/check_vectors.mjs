/**
 * Compares tokenizer.js with what android/make_test_vectors.py wrote: node check_vectors.mjs FOLDER. Exit code 1 where they differ.
 */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ModelFile } from "./model_file.js";
import { normalize, Tokenizer } from "./tokenizer.js";

const unescape = (text) => text.replace(/\\u([0-9a-f]{4})/g, (_, code) => String.fromCharCode(parseInt(code, 16)));
const escape = (text) =>
  text.replace(/[^ -[\]-~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

const CHECKS = {
  texts(tokenizer, [text]) {
    const pieces = tokenizer.tokenize(text);
    return ["id", "begin", "end"].map((field) => pieces.map((piece) => piece[field]).join(" "));
  },
  pairs(tokenizer, [first, second, length]) {
    const { ids, segmentIds } = tokenizer.encode(first, second, Number(length));
    const filling = Array(Number(length) - ids.length);
    const rows = [
      [...ids, ...filling.fill(tokenizer.padId)],
      [...ids.map(() => 1), ...filling.fill(0)],
      [...segmentIds, ...filling.fill(0)],
    ];
    return rows.map((row) => row.join(" "));
  },
  labels: (tokenizer, [number], model) => [model.labels[Number(number)]],
  signatures(tokenizer, [number], model) {
    const { key, length, inputs, outputs } = model.signatures[Number(number)];
    return [key, String(length), inputs.join(" "), outputs.join(" ")];
  },
  normalized: (tokenizer, [text]) => [normalize(text, tokenizer.settings)],
};

let differences = 0;
for (const name of readdirSync(process.argv[2]).sort()) {
  const folder = join(process.argv[2], name);
  const model = existsSync(join(folder, "model.tflite")) ? new ModelFile(readFileSync(join(folder, "model.tflite"))) : null;
  const read = (file) => readFileSync(join(folder, file), "utf8");
  const tokenizer = model
    ? new Tokenizer(model.vocabulary, model.settings)
    : new Tokenizer(read("vocab.txt").replace(/\n$/, "").split("\n"), JSON.parse(read("settings.json")));
  for (const [kind, check] of Object.entries(CHECKS)) {
    const path = join(folder, `${kind}.tsv`);
    if (!existsSync(path)) continue;
    const lines = readFileSync(path, "utf8").split("\n").filter(Boolean);
    console.log(`${name}: ${lines.length} ${kind}`);
    for (const line of lines) {
      const columns = line.split("\t");
      const arrow = columns.indexOf("=>");
      const right = columns.slice(arrow + 1).join("\t");
      const got = check(tokenizer, columns.slice(0, arrow).map(unescape), model).map(escape).join("\t");
      if (got !== right && ++differences <= 20) console.log(`${name}, ${kind}: ${line}\n  got ${got}`);
    }
  }
}
console.log(`${differences} differences`);
process.exitCode = differences ? 1 : 0;
