// Nothing is needed that only recent browsers have.

import assert from "node:assert/strict";
import { test } from "node:test";
import { sendPartly } from "./support/server.mjs";
import { suite } from "./support/suite.mjs";

const shared = await suite();
const { bundles, server } = shared;

for (const worker of [true, false]) {
  test(`loading, resuming, giving up and judging in an old browser: ${worker ? "in a worker" : "on the page's thread"}`, async () => {
    const bytes = bundles.bytes("tiny-bert");
    let times = 0;
    server.routes["/torn.tar"] = (request, response) => {
      const start = Number(/\d+/.exec(request.headers.range ?? "0")[0]);
      const rest = bytes.subarray(start);
      const range = start ? { "Content-Range": `bytes ${start}-${bytes.length - 1}/${bytes.length}` } : {};
      const headers = { ETag: '"a"', "Cache-Control": "no-store", ...range };
      const status = start ? 206 : 200;
      if (times++ === 0) return sendPartly(response, rest, { status, headers, sent: 100_000 });
      response.writeHead(status, { "Content-Type": "application/x-tar", "Content-Length": rest.length, ...headers }).end(rest);
    };
    const page = await shared.page();
    const found = await page.evaluate(async (inWorker) => {
      const { gone } = await import("/bare.js");
      const { createDetector, GriceError, supports } = await import("/grice/index.js");
      const worker = inWorker && (() => new Worker("/bare-worker.js", { type: "module" }));
      const detector = await createDetector({ model: `/torn.tar?${inWorker}`, worker });
      const turn = { context: "How are you?", response: "Fine, and you?" };
      const { probabilities } = await detector.detect(turn);
      const controller = new AbortController();
      const late = detector.detect({ response: "Too late." }, { signal: controller.signal }).catch((error) => error.name);
      controller.abort();
      const loading = new AbortController();
      const given = createDetector({ model: "/torn.tar?2", worker, signal: loading.signal }).catch((error) => error.name);
      loading.abort();
      await detector.dispose();
      const disposed = await detector.detect(turn).catch((error) => error instanceof GriceError && error.code);
      return { gone, probabilities, aborted: [await late, await given], disposed, simd: (await supports()).simd };
    }, worker);
    for (const name of ["any", "timeout", "throwIfAborted", "reason", "withResolvers"]) assert.ok(found.gone.includes(name), name);
    assert.ok(Object.values(found.probabilities).every((probability) => probability > 0 && probability < 1));
    assert.deepEqual(found.aborted, ["AbortError", "AbortError"]);
    assert.equal(found.disposed, "disposed");
    assert.equal(found.simd, true);
    assert.equal(times >= 2, true, "the download broke off once");
    // The break itself, which Chromium tells the console.
    assert.deepEqual(page.problems.filter((problem) => !/ERR_CONTENT_LENGTH_MISMATCH/.test(problem)), []);
    await page.close();
  });
}
