// A page that allows itself no more than its own files and WebAssembly.

import assert from "node:assert/strict";
import { test } from "node:test";
import { suite } from "./support/suite.mjs";

const POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; connect-src 'self'";
const shared = await suite({ headers: { "Content-Security-Policy": POLICY } });

for (const worker of [true, false]) {
  test(`a strict policy is kept ${worker ? "in a worker" : "on the page's thread"}`, async () => {
    const page = await shared.page("/csp.html");
    await page.waitForFunction(() => globalThis.judge);
    const probabilities = await page.evaluate((worker) => globalThis.judge(worker), worker);
    assert.ok(Object.values(probabilities).every((probability) => probability > 0 && probability < 1));
    assert.deepEqual(await page.evaluate(() => globalThis.refused), []);
    await page.close();
  });
}

test("the policy is in force", async () => {
  const page = await shared.page("/csp.html");
  await page.waitForFunction(() => globalThis.judge);
  // As a script of the page: what the debugger evaluates is exempt.
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "globalThis.wasAllowed = true";
    document.head.append(script);
  });
  assert.equal(await page.evaluate(() => globalThis.wasAllowed), undefined);
  assert.match((await page.evaluate(() => globalThis.refused)).join(), /script-src/);
  await page.close();
});
