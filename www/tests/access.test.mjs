// The page for everybody: keyboard, screen reader, small screens, both schemes.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { eventually, judge, openPage, readVerdict, startBrowser, untilJudged } from "./browser.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let browser;
before(async () => (browser = await startBrowser()));
after(async () => await browser?.close());

async function findFaults(page) {
  // Motion over: a colour that is still on its way has no contrast to speak of.
  await page.waitForTimeout(400);
  // Run in a world of its own, which the page's policy does not govern.
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run());
  assert.ok(passes.length > 20, "axe looked at next to nothing");
  return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} ${target}: ${failureSummary}`));
}

for (const colorScheme of ["light", "dark"]) {
  for (const width of [360, 1280]) {
    test(`axe finds nothing, ${colorScheme}, ${width} px, and nothing runs over the side`, async (t) => {
      const { page } = await openPage(t, browser, { context: { colorScheme, viewport: { width, height: 800 } } });
      await page.click("#sample-quality");
      await judge(page, "It opened in 1962.");
      const states = {
        broken: async () => {},
        cooperative: async () => await judge(page, "It opened in 1937."),
        editing: async () => {
          await page.locator("#messages li").first().hover();
          await page.locator("#messages .edit").first().click();
        },
        "a long word": async () => {
          await page.keyboard.press("Escape");
          await page.fill("#draft", `Llan${"fair".repeat(40)}gogoch`);
          await page.click("#send");
          await untilJudged(page);
        },
        empty: async () => await page.click("#clear"),
      };
      for (const [state, reach] of Object.entries(states)) {
        await reach();
        assert.deepEqual(await findFaults(page), [], state);
        const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(inner <= outer, `${state}: ${inner} px of content in ${outer}`);
      }
    });
  }
}

test("axe finds nothing while loading, nor in trouble", async (t) => {
  let isHeld = true;
  const held = [];
  const intercept = (request, response) => {
    if (!request.url.includes("/models/")) return false;
    if (isHeld) held.push(response);
    else response.writeHead(404).end();
    return true;
  };
  const { page } = await openPage(t, browser, { intercept, isReady: false });
  await eventually("the model is asked for", () => held.length > 0);
  assert.equal(await page.isVisible("#loading"), true);
  assert.deepEqual(await findFaults(page), [], "loading");
  isHeld = false;
  held.forEach((response) => response.writeHead(404).end());
  await page.waitForSelector("#verdict[data-state=trouble]");
  assert.deepEqual(await findFaults(page), [], "trouble");
});

test("everything can be done by keyboard", async (t) => {
  const { page } = await openPage(t, browser);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className || document.activeElement.tagName);
  await press("Tab");
  assert.equal(await focused(), "skip");
  await press("Enter");
  // The skip link leads to the field, and the next Tab goes on from there.
  assert.equal(await page.evaluate(() => location.hash), "#draft");
  await page.focus("#theme");
  await press("Tab", "Tab", "Tab", "Tab", "Tab");
  assert.equal(await focused(), "sample-relation");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), "none", "focus can be seen");
  await press("Enter");
  await untilJudged(page);
  assert.deepEqual((await readVerdict(page)).violated, ["relation"]);

  await page.focus("#draft");
  await press("Shift+Tab", "Shift+Tab");
  assert.equal(await page.evaluate(() => document.activeElement.value), "ben");
  await press("ArrowLeft");
  assert.equal(await page.evaluate(() => document.activeElement.value), "ada");
  await page.focus("#draft");
  await press("Control+A");
  await page.keyboard.type("It went well, they call on Friday.");
  await press("Shift+Enter");
  assert.match(await page.inputValue("#draft"), /Friday\.\n$/);
  await press("Enter");
  assert.equal(await page.inputValue("#draft"), "");
  assert.equal(await page.locator("#messages > li").count(), 2);

  // The arrow up edits the last message, Escape leaves it as it was.
  await press("ArrowUp");
  await page.keyboard.type(" Or on Monday.");
  await press("Escape");
  assert.doesNotMatch(await page.textContent("#messages"), /Monday/);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Edit");
  await press("Enter");
  await page.keyboard.type(" Or on Monday.");
  await press("Enter");
  assert.match(await page.textContent("#messages"), /Friday\. Or on Monday\./);
  await press("Tab", "Enter");
  assert.equal(await page.locator("#messages > li").count(), 1);
  assert.equal(await focused(), "draft");
});

test("the verdict is read out once typing has paused", async (t) => {
  const { page } = await openPage(t, browser);
  await page.evaluate(() => {
    globalThis.spoken = [];
    new MutationObserver(() => globalThis.spoken.push(document.getElementById("spoken").textContent)).observe(document.getElementById("spoken"), { childList: true, characterData: true, subtree: true });
  });
  assert.equal(await page.getAttribute("#spoken", "role"), "status");
  await page.fill("#draft", "");
  await page.locator("#draft").pressSequentially("Yes.", { delay: 200 });
  await eventually("the verdict is spoken", async () => /^Breaks quantity\. Says less/.test(await page.textContent("#spoken")));
  assert.ok((await page.evaluate(() => globalThis.spoken.length)) <= 2, "not at every key");
});

test("nothing moves where motion is not wanted", async (t) => {
  const { page } = await openPage(t, browser, { context: { reducedMotion: "reduce" } });
  const moving = await page.evaluate(() => document.getAnimations().length);
  assert.equal(moving, 0);
  const durations = await page.evaluate(() => [".headline", ".probability"].map((name) => getComputedStyle(document.querySelector(name), "::before").transitionDuration));
  assert.deepEqual(durations, ["0s", "0s"]);
});
