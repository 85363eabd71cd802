/**
 * Opens the page in headless Chromium, gives it a model file and texts, and writes what it answers.
 *
 *     node drive.mjs MODEL.tflite TEXTS.json RESULTS.json [SCREENSHOTS]
 *     node drive.mjs REPORT.html  TEXTS.json RESULTS.json [SCREENSHOTS]
 *
 * TEXTS.json holds a list of [first, second or null]. RESULTS.json gets `page`, the rows that the page shows for the first
 * text, and for each runtime the results of all texts. A report, which has a model inside, is opened from the disk; RESULTS.json
 * gets `typed`, the rows that it shows for each text. SCREENSHOTS is a folder for pictures at 400 and 1400 pixels, light and
 * dark. $CHROMIUM is the browser, by default `chromium` on the PATH.
 */

import { createServer } from "node:http";
import { readFile, writeFile } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { extname, join, normalize } from "node:path";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";

const FOLDER = import.meta.dirname;
const TYPES = { ".html": "text/html", ".css": "text/css", ".wasm": "application/wasm" };

async function serve(request, response) {
  const path = normalize(decodeURIComponent(new URL(request.url, "http://localhost").pathname));
  try {
    const content = await readFile(join(FOLDER, path === "/" ? "index.html" : path));
    response.setHeader("Content-Type", TYPES[extname(path)] ?? (path === "/" ? "text/html" : "text/javascript"));
    response.end(content);
  } catch {
    response.writeHead(404).end();
  }
}

/** Results of all texts, from the page's own modules. */
async function inPage([url, runtime, texts]) {
  const { LiteRtTextModel, MediaPipeTextModel } = await import("./text_model.js");
  const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
  const model = await (runtime === "mediapipe" ? MediaPipeTextModel : LiteRtTextModel).open(bytes);
  const results = [];
  for (const [first, second] of texts) {
    const result = await model.run(first, second);
    results.push(result.values ? { ...result, values: [...result.values] } : result);
  }
  model.close();
  return results;
}

/** The rows that the page shows for a text or a pair. */
async function type(page, [first, second]) {
  await page.fill("#first", first);
  if ((await page.inputValue("#second")) !== (second ?? "")) await page.fill("#second", second ?? "");
  await page.waitForSelector("#time:not(:empty)", { timeout: 60_000 });
  return page.locator("#result .row").allInnerTexts();
}

const [path, textsPath, resultsPath, screenshots] = process.argv.slice(2);
const isReport = path.endsWith(".html");
const texts = JSON.parse(await readFile(textsPath, "utf8"));
const content = await readFile(path);
const server = createServer((request, response) =>
  request.url === "/model.tflite" ? response.end(content) : serve(request, response),
);
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
const address = isReport ? pathToFileURL(path).href : `http://127.0.0.1:${server.address().port}/`;
const executablePath = process.env.CHROMIUM ?? execFileSync("which", ["chromium"], { encoding: "utf8" }).trim();
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
try {
  const page = await browser.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(address) && !/^(data|blob):/.test(request.url())) problems.push(request.url());
  });
  await page.goto(address);
  if (!isReport) await page.setInputFiles("#file", path);
  const results = { page: await type(page, texts[0]), about: await page.innerText("#about") };
  if (screenshots) {
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [400, 1400]) {
        await page.emulateMedia({ colorScheme });
        await page.setViewportSize({ width, height: 900 });
        await page.locator("#first").scrollIntoViewIfNeeded();
        await page.screenshot({ path: join(screenshots, `${width}-${colorScheme}.png`) });
      }
    }
  }
  if (isReport) {
    results.typed = [];
    for (const text of texts) results.typed.push(await type(page, text));
  } else {
    results.litert = await page.evaluate(inPage, ["/model.tflite", "wasm", texts]);
  }
  if (!isReport && texts.every(([, second]) => second === null) && results.litert[0].kind === "classes") {
    results.mediapipe = await page.evaluate(inPage, ["/model.tflite", "mediapipe", texts]);
  }
  await writeFile(resultsPath, JSON.stringify({ ...results, problems }));
} finally {
  await browser.close();
  server.close();
}
