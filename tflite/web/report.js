/**
 * The section "Try it" of a report that bin/report.py --live wrote. Model and runtime are elements of the page, and this module
 * and those that it imports are in its import map: the page loads nothing.
 */

import { open } from "./fields.js";
import { LiteRtTextModel } from "./text_model.js";

// What the two fields take, by the network's head; null: the model takes one text.
const FIELDS = {
  span: ["Question", "Text that holds the answer"],
  token_classification: ["Text", null],
  pooled: ["Text", "Second text, to compare"],
  mean: ["Text", "Second text, to compare"],
  first_token: ["Text", "Second text, to compare"],
};
const OTHER_FIELDS = ["Text", "Second text of a pair (optional)"];

/** What an element holds as base64 of gzip. The element is removed, since its text takes more memory than the content. */
async function unpack(id) {
  const element = document.getElementById(id);
  const text = atob(element.textContent);
  element.remove();
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackToUrl(id, type) {
  return URL.createObjectURL(new Blob([await unpack(id)], { type }));
}

function nameFields({ settings }) {
  const [first, second] = FIELDS[settings.head] ?? OTHER_FIELDS;
  document.querySelector("label[for=first]").textContent = first;
  document.querySelector("label[for=second]").textContent = second ?? "";
  document.getElementById("pair").hidden = second === null;
}

open(async () => {
  const binary = await unpackToUrl("live-binary", "application/wasm");
  self.Module = { locateFile: () => binary }; // which LiteRT.js' loader asks for the place of its binary
  const loader = await unpackToUrl("live-loader", "text/javascript");
  // An address that does not end in .js would be taken for a folder.
  const model = await LiteRtTextModel.open(await unpack("live-model"), "wasm", `${loader}#.js`);
  nameFields(model.file);
  return model;
});
