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
  return {
    folder,
    bytes: (name) => readFileSync(path.join(folder, `${name}.tar`)),
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}

const committed = JSON.parse(readFileSync(path.join(fixtures, "verdicts.json"), "utf8"));

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
