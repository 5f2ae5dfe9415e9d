// Headless Chromium: the system's own, none is downloaded.

import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

// Quiet, and nothing of it on the network.
const FLAGS = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-dev-shm-usage",
];

/** A browser with an empty profile, and an extension if a folder with one is named. `close` ends it and forgets the profile. */
export async function launch({ flags = [], extension } = {}) {
  const profile = await mkdtemp(path.join(tmpdir(), "grice-web-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? find(),
    headless: true,
    args: [...FLAGS, ...flags, ...(extension ? [`--disable-extensions-except=${extension}`, `--load-extension=${extension}`] : [])],
    ignoreDefaultArgs: extension ? ["--disable-extensions"] : [],
  });
  context.setDefaultTimeout(300_000);
  return {
    context,
    /** A page at a URL. What goes wrong in it unheard fails the test that asks `problems`. */
    open: async (url) => {
      const page = await context.newPage();
      page.problems = [];
      page.on("pageerror", (error) => page.problems.push(String(error)));
      page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
      await page.goto(url);
      return page;
    },
    close: async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true });
    },
  };
}

function find() {
  const folders = (process.env.PATH ?? "").split(path.delimiter);
  const files = NAMES.flatMap((name) => folders.map((folder) => path.join(folder, name)));
  const found = files.find((file) => existsSync(file));
  if (!found) throw new Error(`none of ${NAMES.join(", ")} is on PATH; CHROMIUM names another`);
  return found;
}
