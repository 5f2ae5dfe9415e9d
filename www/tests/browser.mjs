// What the tests share: a headless Chromium, the built page served as a host would, and a look at what it shows.

import assert from "node:assert/strict";
import { access } from "node:fs/promises";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { servePage } from "../serve.mjs";

/** The page that `cargo xtask www --build` made. */
export const BUILT = resolve(process.env.GRICE_WWW ?? fileURLToPath(new URL("../../target/www", import.meta.url)));
/** A shared machine may load the model at a tenth of its speed. */
export const PATIENCE_MS = 120_000;

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/usr/bin/google-chrome-stable"];
const FLAGS = ["--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

/** A browser; `CHROMIUM` names another than the system's. */
export async function startBrowser(flags = []) {
  return await chromium.launch({ executablePath: process.env.CHROMIUM ?? (await firstOf(BROWSERS)), args: [...FLAGS, ...flags] });
}

/**
 * Serves the page and opens it in a context of its own; all ends with the test.
 * @param {import("node:test").TestContext} test
 * @param {import("playwright-core").Browser} browser
 */
export async function openPage(test, browser, { folder = BUILT, base = "/", setsHeaders = true, intercept, context: settings = {}, before, isReady = true } = {}) {
  const requests = [];
  const { server, url } = await servePage({
    folder,
    base,
    setsHeaders,
    intercept: (request, response) => {
      requests.push(request.url);
      return intercept?.(request, response) ?? false;
    },
  });
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, ...settings });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // Chromium itself says so where there is no GPU.
    if (message.type() === "error") complaints.push(`console: ${message.text()}`);
  });
  const stop = () => new Promise((stopped) => (server.closeAllConnections(), server.close(stopped)));
  test.after(async () => {
    await context.close();
    await stop();
  });
  await before?.(page, context);
  await page.goto(url);
  if (isReady) await untilReady(page);
  return { page, context, url, requests, complaints, stop };
}

/** Waits until the model judges. */
export async function untilReady(page) {
  await page.waitForSelector("#verdict[data-state=ready]");
}

/** Waits until what is written in the field, or in an edited message, has its verdict. */
export async function untilJudged(page) {
  await page.waitForSelector("#verdict[data-state=ready]:not([data-busy])");
}

/** Types into the message field, in place of what was there, and waits for the verdict. */
export async function judge(page, text) {
  await page.fill("#draft", text);
  await untilJudged(page);
  return await readVerdict(page);
}

/** What the verdict's card shows. */
export async function readVerdict(page) {
  return await page.evaluate(() => {
    const rows = [...document.querySelectorAll("#maxims > li")];
    const cell = (row, name) => row.querySelector(`.${name}`).textContent;
    return {
      headline: document.getElementById("headline-text").textContent,
      about: document.getElementById("about").textContent,
      violated: rows.filter((row) => row.dataset.violated === "true").map((row) => row.dataset.maxim),
      percents: Object.fromEntries(rows.map((row) => [row.dataset.maxim, cell(row, "percent")])),
      reasons: Object.fromEntries(rows.map((row) => [row.dataset.maxim, cell(row, "reason")])),
      isCached: !document.getElementById("cached").hidden,
      requests: document.getElementById("requests").textContent,
    };
  });
}

/** Waits for something to hold, in the page or here. */
export async function eventually(what, holds, patienceMs = PATIENCE_MS / 4) {
  const end = Date.now() + patienceMs;
  for (;;) {
    const result = await holds();
    if (result) return result;
    assert.ok(Date.now() < end, `never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function firstOf(files) {
  for (const file of files) if (await access(file).then(() => true, () => false)) return file;
  throw new Error("no Chromium: `cargo xtask setup` installs one, or CHROMIUM names one");
}
