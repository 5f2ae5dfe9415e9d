// Bundles as .tar, and the verdicts that the native build gives.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../..", import.meta.url));
export const dist = path.join(root, "web/dist");
const fixtures = path.join(root, "crates/testkit/fixtures");

const folders = {
  "tiny-bert": path.join(fixtures, "tiny-bert"),
  "tiny-deberta": path.join(fixtures, "tiny-deberta"),
  embedded: path.join(root, "models/detector-mini"),
};

const ofWriters = ["config.json", "generation_config.json", "tokenizer.json", "model.safetensors"];

/** Models that write. */
const writers = {
  "repair-mini": { from: path.join(root, "models/repair-mini"), files: ["grice.json", ...ofWriters] },
  // It has no recipes.
  "tiny-llama": { from: path.join(fixtures, "generators/llama"), files: ofWriters },
  // An encoder and a decoder.
  "tiny-t5": { from: path.join(fixtures, "generators/t5"), files: ofWriters },
};

/** Makes `<name>.tar` of every bundle in a new folder. */
export function packBundles() {
  const folder = mkdtempSync(path.join(tmpdir(), "grice-bundles-"));
  for (const [name, bundle] of Object.entries(folders)) {
    const files = JSON.parse(readFileSync(path.join(bundle, "grice.json"), "utf8")).models;
    // The compiled program where there is one, which the lean module opens; else the ONNX file, for which the full one is loaded.
    const models = Object.values(files).map((file) => [file.replace(/\.onnx$/, ".grice"), file].find((name) => existsSync(path.join(bundle, name))));
    const names = ["grice.json", "config.json", "tokenizer.json", ...models];
    execFileSync("tar", ["--create", "--file", path.join(folder, `${name}.tar`), "--directory", bundle, ...names]);
  }
  for (const [name, { from, files }] of Object.entries(writers)) {
    execFileSync("tar", ["--create", "--file", path.join(folder, `${name}.tar`), "--directory", from, ...files]);
  }
  return {
    folder,
    bytes: (name) => readFileSync(path.join(folder, `${name}.tar`)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const committed = JSON.parse(readFileSync(path.join(fixtures, "verdicts.json"), "utf8"));

/** Repairs, answers and texts of the shipped models: what is asked, and what came of it natively. */
export const repairs = JSON.parse(readFileSync(path.join(fixtures, "repairs.json"), "utf8"));

/** Compares what came of repairs with what came of them natively: equal but for times, and for probabilities to the tolerance. */
export function checkRepairs(found) {
  assert.deepEqual(Object.keys(found), Object.keys(repairs.ends));
  for (const [name, end] of Object.entries(found)) compareEnds(name, end, repairs.ends[name]);
}

function compareEnds(place, found, expected) {
  if (typeof expected !== "object" || expected === null) {
    if (place.includes("probabilities")) assert.ok(Math.abs(found - expected) <= TOLERANCE, `${place}: ${found}, not ${expected}`);
    else if (!place.endsWith(".ms")) assert.deepEqual(found, expected, place);
    return;
  }
  assert.deepEqual(Object.keys(found).sort(), Object.keys(expected).sort(), place);
  for (const [name, value] of Object.entries(expected)) compareEnds(`${place}.${name}`, found[name], value);
}

/** Turns by name. */
export const turns = committed.turns;

/** fp32 sums in the order of another instruction set. */
export const TOLERANCE = 1e-4;

/** Compares detections, by the turn's name, with the native verdicts. */
export function checkVerdicts(bundle, detections) {
  assert.deepEqual(Object.keys(detections), Object.keys(turns));
  for (const [name, found] of Object.entries(detections)) {
    const expected = committed.verdicts[bundle][name];
    for (const [maxim, probability] of Object.entries(expected.probabilities)) {
      const difference = Math.abs(found.probabilities[maxim] - probability);
      assert.ok(difference <= TOLERANCE, `${bundle}: ${name}: ${maxim} differs by ${difference}`);
    }
    const { violations, cooperative, truncated } = found;
    assert.deepEqual(
      { violations, cooperative, truncated },
      { violations: expected.violations, cooperative: expected.cooperative, truncated: expected.truncated },
      `${bundle}: ${name}`,
    );
  }
}
