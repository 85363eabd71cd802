/** The page: opens the chosen or dropped file on the chosen runtime. */

import { open } from "./fields.js";
import { LiteRtTextModel, MediaPipeTextModel } from "./text_model.js";

const OPEN = {
  wasm: (bytes) => LiteRtTextModel.open(bytes, "wasm"),
  webgpu: (bytes) => LiteRtTextModel.open(bytes, "webgpu"),
  mediapipe: (bytes) => MediaPipeTextModel.open(bytes),
};

const element = (id) => document.getElementById(id);
let bytes = null;
let chosen = null; // the file that was taken last: a smaller one may be read before it

const openFile = () => open(() => OPEN[element("runtime").value](bytes));

async function take(file) {
  element("file-name").textContent = file.name;
  chosen = file;
  const content = await file.arrayBuffer();
  if (file !== chosen) return;
  bytes = new Uint8Array(content);
  await openFile();
}

element("file").addEventListener("change", (event) => event.target.files[0] && take(event.target.files[0]));
element("runtime").addEventListener("change", () => bytes && openFile());

const drop = element("drop");
for (const name of ["dragover", "dragleave", "drop"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
