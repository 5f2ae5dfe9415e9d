// Both engines in one worker, in alternation.

import * as ort from "/peer/ort.wasm.min.mjs";

const PEER = "onnxruntime-web";
const BLOCK_MS = 60;

onmessage = async ({ data: plan }) => {
  try {
    postMessage(await measure(plan));
  } catch (error) {
    postMessage({ error: String(error?.stack ?? error) });
  }
};

async function measure(plan) {
  const load_ms = {};
  const runners = {};
  for (const name of plan.artifacts) runners[name] = await timed(load_ms, name, () => loadGrice(name, plan.labels));
  runners[PEER] = await timed(load_ms, PEER, loadPeer);
  const shapes = [];
  for (const shape of plan.shapes) shapes.push(await measureShape(shape, runners, plan.seconds));
  return { load_ms, shapes };
}

async function loadGrice(name, labels) {
  const { default: init, Engine } = await import(`/grice/${name}/grice.js`);
  await init();
  const engine = Engine.fromOnnx(new Uint8Array(await fetched("/model.onnx")), labels);
  if (engine.kernels !== name) throw new Error(`${name} runs the kernels of ${engine.kernels}`);
  return (rows, length) => {
    const ids = tokens(rows, length);
    const lengths = new Uint32Array(rows).fill(length);
    return async () => engine.run(ids, lengths);
  };
}

async function loadPeer() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = "/peer/";
  const options = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  const session = await ort.InferenceSession.create(await fetched("/peer-model.onnx"), options);
  return (rows, length) => {
    const tensor = (numbers) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [rows, length]);
    const feeds = { input_ids: tensor(tokens(rows, length)), attention_mask: tensor(new Array(rows * length).fill(1)) };
    if (session.inputNames.includes("token_type_ids")) feeds.token_type_ids = tensor(new Array(rows * length).fill(0));
    return async () => (await session.run(feeds)).logits.data;
  };
}

async function measureShape(shape, runners, seconds) {
  const runs = Object.fromEntries(Object.entries(runners).map(([name, make]) => [name, make(...shape)]));
  const names = Object.keys(runs);
  const counts = {};
  const logits = {};
  for (const name of names) {
    logits[name] = Array.from(await runs[name]());
    // V8 compiles a function again, optimised, after it has run for a while.
    const until = performance.now() + 1500;
    while (performance.now() < until) await runs[name]();
    counts[name] = Math.max(1, Math.round(BLOCK_MS / (await block(runs[name], 3))));
  }
  const blocks = Object.fromEntries(names.map((name) => [name, []]));
  const until = performance.now() + seconds * 1000;
  for (let round = 0; performance.now() < until || round < 5; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(turn + round) % names.length];
      blocks[name].push(await block(runs[name], counts[name]));
    }
  }
  const differences = {};
  for (const name of names) {
    differences[name] = Math.max(...logits[name].map((logit, index) => Math.abs(logit - logits[PEER][index])));
    if (!Number.isFinite(differences[name])) throw new Error(`${name}: ${logits[name]}, not ${logits[PEER]}`);
  }
  return { shape, blocks, differences };
}

/// Milliseconds per run, over `count` runs.
async function block(run, count) {
  const start = performance.now();
  for (let i = 0; i < count; i++) await run();
  return (performance.now() - start) / count;
}

function tokens(rows, length) {
  return Uint32Array.from({ length: rows * length }, (_, index) => (index % length === 0 ? 101 : 1000 + ((index * 7919) % 20000)));
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${await response.text()}`);
  return response.arrayBuffer();
}

async function timed(times, name, load) {
  const start = performance.now();
  const loaded = await load();
  times[name] = performance.now() - start;
  return loaded;
}
