// Runs .tflite files with a web client in headless Chromium; benchmarks/clients.py starts it in a folder with node_modules.
//
// node client_worker.mjs CLIENT CASES.json OUTPUT_DIR CHROMIUM [skipped,names]
//
// It prints "START name" before each case and "DONE name {error}" behind it, as client_worker.py does.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import {chromium} from 'playwright-core';

const [client, casesFile, outputDir, executablePath, skipped = ''] = process.argv.slice(2);
const MODULES = path.resolve('node_modules');
const TYPES = {'.mjs': 'text/javascript', '.js': 'text/javascript', '.wasm': 'application/wasm', '.html': 'text/html'};

// In the page: window.load() prepares the client, window.run(case) returns one list of numbers for each row or text.
const PAGES = {
  'mediapipe-web': `<script type="module">
    import {FilesetResolver, TextClassifier} from '/modules/@mediapipe/tasks-text/text_bundle.mjs';
    window.load = async () => { window.files = await FilesetResolver.forTextTasks('/modules/@mediapipe/tasks-text/wasm'); };
    window.run = async (test) => {
      const classifier = await TextClassifier.createFromOptions(window.files, {baseOptions: {modelAssetPath: test.url}});
      const results = test.texts.map((text) => {
        const scores = Object.fromEntries(
          classifier.classify(text).classifications[0].categories.map((entry) => [entry.categoryName, entry.score]));
        return test.labels.map((label) => scores[label]);
      });
      classifier.close();
      return results;
    };
    window.ready = true;
  </script>`,
  'litert-js': `<script type="importmap">
    {"imports": {"@litertjs/wasm-utils": "/modules/@litertjs/wasm-utils/dist/index.js"}}
  </script>
  <script type="module">
    import {loadLiteRt, loadAndCompile, Tensor} from '/modules/@litertjs/core/dist/index.js';
    window.load = () => loadLiteRt('/modules/@litertjs/core/wasm/');
    window.run = async (test) => {
      const model = await loadAndCompile(test.url, {accelerator: 'wasm'});
      const results = [];
      for (let row = 0; row < test.rows.ids.length; row++) {
        const inputs = ['ids', 'mask', 'segment_ids'].map(
          (name) => new Tensor(Int32Array.from(test.rows[name][row]), [1, test.rows[name][row].length]));
        const outputs = await model.run(inputs);
        const values = await Promise.all(outputs.map((output) => output.data()));
        results.push(values.flatMap((data) => Array.from(data)));
        [...inputs, ...outputs].forEach((tensor) => tensor.delete());
      }
      model.delete();
      return results;
    };
    window.ready = true;
  </script>`,
  'tfjs-tflite': `<script src="/modules/@tensorflow/tfjs-core/dist/tf-core.min.js"></script>
  <script src="/modules/@tensorflow/tfjs-backend-cpu/dist/tf-backend-cpu.min.js"></script>
  <script src="/modules/@tensorflow/tfjs-tflite/dist/tf-tflite.min.js"></script>
  <script>
    window.load = async () => { tflite.setWasmPath('/modules/@tensorflow/tfjs-tflite/wasm/'); };
    window.run = async (test) => {
      const model = await tflite.loadTFLiteModel(test.url);
      const results = [];
      for (let row = 0; row < test.rows.ids.length; row++) {
        const inputs = ['ids', 'mask', 'segment_ids'].map((name) => tf.tensor2d([test.rows[name][row]], undefined, 'int32'));
        const output = model.predict(inputs);
        const outputs = output instanceof tf.Tensor ? [output] : Object.values(output);
        results.push(outputs.flatMap((tensor) => Array.from(tensor.dataSync())));
      }
      return results;
    };
    window.ready = true;
  </script>`,
};

const cases = JSON.parse(fs.readFileSync(casesFile, 'utf-8'));
const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://localhost').pathname;
  if (url === '/') {
    response.writeHead(200, {'Content-Type': 'text/html'}).end(`<!doctype html><meta charset="utf-8">${PAGES[client]}`);
    return;
  }
  const file = url.startsWith('/modules/')
    ? path.join(MODULES, url.slice('/modules/'.length))
    : cases.find((entry) => `/cases/${entry.name}.tflite` === url)?.path;
  if (!file || !fs.existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, {'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream'});
  fs.createReadStream(file).pipe(response);
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await chromium.launch({executablePath, args: ['--no-sandbox']});
for (const entry of cases.filter((entry) => !skipped.split(',').includes(entry.name))) {
  console.log('START', entry.name);
  const page = await browser.newPage();
  let error = null;
  try {
    await page.goto(`http://127.0.0.1:${server.address().port}/`);
    await page.waitForFunction(() => window.ready, null, {timeout: 30_000});
    const {path: _, ...test} = {...entry, url: `/cases/${entry.name}.tflite`};
    const results = await page.evaluate(async (test) => { await window.load(); return window.run(test); }, test);
    fs.writeFileSync(path.join(outputDir, `${entry.name}.json`), JSON.stringify(results));
  } catch (problem) {
    error = String(problem.message ?? problem).replace(/\s+/g, ' ').slice(0, 200);
  }
  await page.close();
  console.log('DONE', entry.name, JSON.stringify({error}));
}
await browser.close();
server.close();
