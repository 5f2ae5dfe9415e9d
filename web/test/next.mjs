// The package in a Next.js project: rendered on the server, built by both of its bundlers, and used in the page and on the server. Not one
// of `npm test`, since its packages are 340 MB: `npm run test:next`.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import path from "node:path";
import { after, before, test } from "node:test";
import { launch } from "./support/browser.mjs";
import { packBundles } from "./support/fixtures.mjs";
import { addPackage, makeProject } from "./support/sample.mjs";

const QUIET = { ...process.env, NEXT_TELEMETRY_DISABLED: "1", CI: "1" };

let project, browser;
before(async () => {
  project = makeProject("next", [], { installs: false });
  execFileSync("npm", ["ci", "--no-audit", "--no-fund", "--loglevel", "error"], { cwd: project.folder, stdio: "inherit" });
  addPackage(project.folder);
  mkdirSync(path.join(project.folder, "public"));
  const bundles = packBundles();
  copyFileSync(path.join(bundles.folder, "tiny-bert.tar"), path.join(project.folder, "public/model.tar"));
  bundles.remove();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  project?.remove();
});

// With Turbopack a server judges as it is; webpack moves the modules away, and `docs/browser.md` says how to have it leave them.
for (const [bundler, env] of [["turbopack", {}], ["webpack", { IS_JUDGE: "1" }]]) {
  test(`built by Next.js with ${bundler}`, async () => {
    const settings = { cwd: project.folder, env: { ...QUIET, ...env }, stdio: "inherit" };
    execFileSync(process.execPath, [bin(), "build", `--${bundler}`], settings);
    await checkServed(await start(["start"], settings), bundler, true);
  });

  test(`in the development server of Next.js with ${bundler}, without any setting`, async () => {
    const settings = { cwd: project.folder, env: QUIET, stdio: "inherit" };
    await checkServed(await start(["dev", `--${bundler}`], settings), `${bundler}-dev`, bundler === "turbopack");
  });
}

async function checkServed({ url, stop }, name, serverJudges) {
  try {
    // Rendered on the server, by server components and by those of the page.
    const rendered = await (await fetch(url)).text();
    assert.match(rendered, /SIMD on the server: (<!-- -->)?true/);
    assert.match(rendered, /Is it cooperative\? (<!-- -->)?<output>…<\/output>/);
    const answer = await (await fetch(`${url}/api/judge`)).json();
    if (serverJudges) checkVerdict(answer);
    else assert.match(answer.problem, /^GriceError download: .*serverExternalPackages/);
    const page = await browser.open(url);
    await page.waitForFunction(() => globalThis.judge);
    for (const worker of [true, false]) {
      const { info, probabilities } = await page.evaluate((worker) => globalThis.judge(worker), worker);
      assert.equal(info.worker, worker);
      checkVerdict({ name: info.name, probabilities });
    }
    assert.deepEqual(page.problems, []);
    if (process.env.GRICE_SCREENSHOTS) await page.screenshot({ path: path.join(process.env.GRICE_SCREENSHOTS, `next-${name}.png`) });
    await page.close();
  } finally {
    await stop();
  }
}

function checkVerdict({ name, probabilities }) {
  assert.equal(name, "tiny-bert");
  assert.ok(Object.values(probabilities).every((probability) => probability > 0 && probability < 1));
}

function bin() {
  return path.join(project.folder, "node_modules/next/dist/bin/next");
}

/** Starts a server of Next.js on a free port; resolves once it answers. */
async function start(options, settings) {
  const port = await freePort();
  const url = `http://localhost:${port}`;
  const server = spawn(process.execPath, [bin(), ...options, "--port", String(port)], settings);
  const ended = new Promise((resolve) => server.on("exit", resolve));
  const stop = async () => {
    server.kill();
    await ended;
  };
  for (let tries = 0; tries < 600 && server.exitCode === null; tries++) {
    if (await fetch(url).then((response) => response.ok, () => false)) return { url, stop };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  await stop();
  throw new Error(`next ${options.join(" ")} does not answer`);
}

async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}
