/**
 * Two text fields and what a model makes of them as they change: the elements #first, #second, #result, #time and #about of a
 * page, which fields.css styles.
 */

import { cosine } from "./text_model.js";

const MOST_ROWS = 20;

const element = (id) => document.getElementById(id);
let model = null;
let running = Promise.resolve(); // a model serves one text at a time
let newest = 0;
let opening = 0;

/**
 * Puts a model in place of the last one, says what it is, and shows what it makes of the fields. Of two calls the later one
 * counts, whichever model is loaded first.
 *
 * @param {() => Promise<import("./text_model.js").LiteRtTextModel | import("./text_model.js").MediaPipeTextModel>} load
 */
export async function open(load) {
  const number = ++opening;
  say("Loading …");
  await close();
  if (number !== opening) return;
  let loaded;
  try {
    loaded = await load();
  } catch (error) {
    if (number === opening) say(`This file cannot be opened: ${error.message}`, true);
    return;
  }
  if (number !== opening) return loaded.close();
  model = loaded;
  say(describe(model.file));
  return show();
}

/** Closes the model behind the run in flight; what that run gives is not shown. */
function close() {
  const last = model;
  model = null;
  element("result").replaceChildren();
  running = running.then(() => last?.close());
  return running;
}

function describe(file) {
  const lengths = file.signatures.map((signature) => signature.length).join(", ");
  const labels = file.labels ? `, ${file.labels.length} labels` : "";
  const words = file.vocabulary ? `, ${file.vocabulary.length.toLocaleString("en")} words` : "";
  return `${(file.bytes.length / 1e6).toFixed(1)} MB, texts of up to ${lengths} word pieces${words}${labels}.`;
}

/** Runs the newest state of the fields; one that was overtaken is skipped. */
function show() {
  const number = ++newest;
  running = running.then(() => (number === newest ? compute() : null));
  return running;
}

async function compute() {
  const first = element("first").value;
  const second = element("second").value.trim() ? element("second").value : null;
  const used = model;
  element("time").textContent = "";
  if (!used || !first) return element("result").replaceChildren();
  try {
    const begin = performance.now();
    let result = await used.run(first, second);
    const milliseconds = performance.now() - begin;
    if (result.kind === "vector") result = await similarity(used, result.values, second);
    if (used !== model) return;
    element("result").replaceChildren(...rows(result));
    element("time").textContent = `${milliseconds.toFixed(1)} ms`;
  } catch (error) {
    if (used === model) element("result").replaceChildren(line(error.message, "error"));
  }
}

/** An encoder's vectors are compared: of the first text, and of the second. */
async function similarity(used, values, second) {
  if (second === null) return { kind: "text", text: `A vector of ${values.length} numbers. Add a second text to compare.` };
  const first = (await used.run(element("first").value)).values;
  const other = (await used.run(second)).values;
  return { kind: "classes", rows: [{ label: "similarity (cosine)", value: cosine(first, other) }] };
}

function rows(result) {
  switch (result.kind) {
    case "classes":
      return result.rows.slice(0, MOST_ROWS).map(({ label, value }) => row(label, value.toFixed(3), value));
    case "tags":
      return result.rows.map(({ text, label, value }) => row(text, `${label} ${value.toFixed(3)}`, 0));
    case "score":
      return [row("score", result.value.toFixed(3), 0)];
    case "answer":
      return [row(result.text || "no answer: put the text into the second field", result.value.toFixed(2), 0)];
    default:
      return [line(result.text, "note")];
  }
}

function row(label, value, share) {
  const node = line("", "row");
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.style.width = `${100 * Math.max(0, Math.min(1, share))}%`;
  const name = document.createElement("span");
  name.textContent = label; // as text: a label may hold anything
  const number = document.createElement("span");
  number.className = "value";
  number.textContent = value;
  node.append(bar, name, number);
  return node;
}

function line(text, className) {
  const node = document.createElement("div");
  node.className = className;
  node.textContent = text;
  return node;
}

function say(text, wrong = false) {
  element("about").textContent = text;
  element("about").classList.toggle("error", wrong);
}

for (const id of ["first", "second"]) element(id).addEventListener("input", show);
