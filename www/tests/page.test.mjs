// The page in a browser, with the real package and the real model.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, judge, openPage, readVerdict, startBrowser, untilJudged, untilReady } from "./browser.mjs";

let browser;
before(async () => (browser = await startBrowser()));
after(async () => await browser?.close());

/** Violations of the content policy, gathered in the page. */
async function watchPolicy(page) {
  await page.addInitScript(() => {
    globalThis.policyViolations = [];
    addEventListener("securitypolicyviolation", (event) => globalThis.policyViolations.push(`${event.violatedDirective}: ${event.blockedURI}`));
  });
}

test("it works under a strict content policy, which is in force", async (t) => {
  const { page, complaints, url } = await openPage(t, browser, { before: watchPolicy });
  const policy = (await page.request.get(url)).headers()["content-security-policy"];
  assert.match(policy, /default-src 'self'; script-src 'self' 'wasm-unsafe-eval'/);
  assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval'(?<!wasm-unsafe-eval')|data:|blob:|\*/);
  await judge(page, "Yes.");
  await page.click("#theme");
  await page.click("#send");
  await untilJudged(page);
  assert.deepEqual(await page.evaluate(() => globalThis.policyViolations), []);
  assert.deepEqual(complaints, []);
  // The refusal: what the policy forbids is stopped, and noticed.
  await page.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "globalThis.gotIn = true";
    document.body.append(script);
    return fetch("https://elsewhere.example/").catch(() => undefined);
  });
  const { gotIn, violations } = await page.evaluate(() => ({ gotIn: globalThis.gotIn, violations: globalThis.policyViolations }));
  assert.equal(gotIn, undefined);
  // Each is told twice: by the policy in the header, and by the one in the page.
  assert.equal(violations.length, 4, violations.join("\n"));
  assert.equal(new Set(violations).size, 2, violations.join("\n"));
});

test("a host that sets no headers will do, and the policy holds in the page and in the worker", async (t) => {
  const { page, url } = await openPage(t, browser, { setsHeaders: false, before: watchPolicy });
  assert.equal((await page.request.get(url)).headers()["content-security-policy"], undefined);
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
  assert.deepEqual(await page.evaluate(() => globalThis.policyViolations), []);
  await page.evaluate(() => fetch("https://elsewhere.example/").catch(() => undefined));
  assert.deepEqual(await page.evaluate(() => globalThis.policyViolations), ["connect-src: https://elsewhere.example/"]);
  const inWorker = await page.workers()[0].evaluate(() => new Promise((resolve) => {
    addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective));
    fetch("https://elsewhere.example/").catch(() => setTimeout(() => resolve("nothing stopped it"), 1000));
  }));
  assert.equal(inWorker, "connect-src");
});

test("typing judges the last text, and only that", async (t) => {
  const { page } = await openPage(t, browser);
  const expected = await judge(page, "It was slow at first, but the last half hour was superb.");
  await judge(page, "");
  // Every state that the card goes through while somebody types.
  await page.evaluate(() => {
    globalThis.shown = [];
    const card = document.getElementById("verdict");
    const note = () => {
      const percents = [...card.querySelectorAll(".percent")].map((percent) => percent.textContent).join();
      if (globalThis.shown.at(-1) !== percents) globalThis.shown.push(percents);
    };
    new MutationObserver(note).observe(card, { subtree: true, childList: true, characterData: true });
  });
  await page.locator("#draft").pressSequentially("It was slow at first, but the last half hour was superb.", { delay: 15 });
  await untilJudged(page);
  const shown = await readVerdict(page);
  assert.deepEqual(shown.percents, expected.percents);
  assert.equal(shown.about, expected.about);
  const states = await page.evaluate(() => globalThis.shown);
  assert.equal(states.at(-1), Object.values(expected.percents).join(), "nothing came after the last text's verdict");
  assert.ok(states.length < 25, `${states.length} verdicts for 56 keys: typing is not debounced`);
});

test("judging happens in a worker, and the page's own thread stays free", async (t) => {
  const { page } = await openPage(t, browser);
  assert.equal(page.workers().length, 1);
  const inPage = await page.evaluate(() => performance.getEntriesByType("resource").filter(({ name }) => name.endsWith(".wasm")).length);
  assert.equal(inPage, 0, "the page itself loaded a WebAssembly module");
  await page.evaluate(() => {
    globalThis.longTasks = [];
    new PerformanceObserver((list) => globalThis.longTasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
  });
  await page.locator("#draft").pressSequentially(" It was far too long and I left before the end.", { delay: 60 });
  await untilJudged(page);
  const tasks = await page.evaluate(() => globalThis.longTasks);
  // A figure, not a verdict: what else the machine does is in it.
  t.diagnostic(`tasks of 50 ms or more while 47 keys were typed: ${tasks.length} (${tasks.map(Math.round).join(", ")} ms)`);
});

test("what was judged before comes from the cache, and says so", async (t) => {
  const { page } = await openPage(t, browser);
  const first = await judge(page, "I liked it a lot.");
  assert.equal(first.isCached, false);
  await judge(page, "I liked it a lot, for once.");
  const again = await judge(page, "I liked it a lot.");
  assert.equal(again.isCached, true);
  assert.deepEqual(again.percents, first.percents);
  assert.match(await page.getAttribute("#spark", "aria-label"), /median .* ms, 1 from the cache/);
});

test("a conversation can be sent, read back, edited and shortened", async (t) => {
  const { page } = await openPage(t, browser);
  await page.click("#clear");
  assert.equal(await page.locator("#messages > li").count(), 0);
  for (const text of ["What colour is your bicycle?", "The interview went well, they call on Friday."]) {
    await judge(page, text);
    await page.click("#send");
  }
  const marks = page.locator("#messages .mark-button");
  await eventually("the second message is off topic", async () => /Relation/.test(await marks.nth(1).textContent()));
  assert.match(await marks.nth(0).textContent(), /Cooperative/);
  // The question changes, and with it what the answer is worth.
  await page.locator("#messages .edit").first().click();
  await page.locator("#messages textarea").fill("How was the job interview?");
  await page.locator("#messages .editor .solid").click();
  await eventually("the second message fits its new question", async () => /Cooperative/.test(await marks.nth(1).textContent()));
  await marks.nth(1).click();
  const selected = await readVerdict(page);
  assert.match(selected.about, /^Message 2, by Ben$/);
  assert.equal(await marks.nth(1).getAttribute("aria-pressed"), "true");
  await page.locator("#messages .remove").first().click();
  assert.equal(await page.locator("#messages > li").count(), 1);
});

test("nothing is asked for while one types, and what is asked for is counted, in the page and in the worker", async (t) => {
  const { page, requests } = await openPage(t, browser);
  await eventually("the count begins", async () => (await readVerdict(page)).requests === "0");
  // The browser looks for a newer service worker when it likes to; that is no request of the page's.
  const asked = () => requests.filter((url) => url !== "/sw.js");
  const before = asked().length;
  const { requests: counted } = await judge(page, "I could have left after ten minutes.");
  assert.equal(counted, "0");
  assert.equal(asked().length, before, asked().slice(before).join());
  await page.evaluate(() => fetch("./icon.svg"));
  await eventually("the page's request is counted", async () => (await readVerdict(page)).requests === "1");
  const worker = page.workers()[0];
  await worker.evaluate(() => fetch("../icon.svg"));
  await eventually("the worker's request is counted", async () => (await readVerdict(page)).requests === "2");
  assert.match(await page.textContent("#requests-items"), /icon\.svg/);
});

test("once loaded it opens and judges without any server", async (t) => {
  const { page, stop, complaints, requests } = await openPage(t, browser);
  const first = await judge(page, "It was dull.");
  await page.reload();
  await untilReady(page);
  assert.equal(requests.filter((url) => url.includes("/models/")).length, 1, "the model is fetched once");
  await stop();
  await page.reload();
  await untilReady(page);
  assert.deepEqual((await judge(page, "It was dull.")).percents, first.percents);
  assert.match(await page.textContent("#offline"), /reload included/);
  const real = complaints.filter((line) => !/ERR_CONNECTION_REFUSED|ERR_INTERNET_DISCONNECTED/.test(line));
  assert.deepEqual(real, []);
});

test("a lost network is said", async (t) => {
  const { page, context } = await openPage(t, browser);
  await context.setOffline(true);
  await eventually("the page says that it is offline", async () => /You are offline/.test(await page.textContent("#offline")));
  await judge(page, "It was fine, really.");
  await context.setOffline(false);
  await eventually("the page is back", async () => !/You are offline/.test(await page.textContent("#offline")));
});

test("it works from a path below the root", async (t) => {
  const { page, url, requests, complaints } = await openPage(t, browser, { base: "/some/where/" });
  assert.match(url, /\/some\/where\/$/);
  assert.deepEqual((await judge(page, "Yes.")).violated, ["quantity"]);
  assert.deepEqual(requests.filter((path) => !path.startsWith("/some/where/")), []);
  assert.deepEqual(complaints, []);
});

test("the theme goes through its three states and stays", async (t) => {
  const { page } = await openPage(t, browser, { context: { colorScheme: "light" } });
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await ground();
  await page.click("#theme");
  assert.equal(await ground(), light);
  await page.click("#theme");
  const dark = await ground();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await ground(), dark);
  await page.click("#theme");
  assert.equal(await ground(), light);
});

test("the words that moved a verdict are named and underlined, at both widths", async (t) => {
  for (const width of [360, 1280]) {
    const { page, complaints } = await openPage(t, browser, { context: { viewport: { width, height: 860 } } });
    await page.click("#sample-quality");
    await judge(page, "It opened in 1962, and my aunt won the lottery there.");
    await page.waitForSelector(".maxim[data-violated=true] .moved:not([hidden]) mark");
    const shown = await page.evaluate(() => {
      const row = document.querySelector(".maxim[data-violated=true]:has(mark)");
      const marks = [...row.querySelectorAll("mark")];
      const line = getComputedStyle(marks[0]).textDecorationLine;
      const texts = [...row.querySelectorAll(".marked")].map((text) => text.textContent);
      return { line, marks: marks.map((mark) => mark.textContent), texts, named: row.querySelector(".without").textContent };
    });
    assert.equal(shown.line, "underline");
    assert.match(shown.named, /^Without “[^”]+”: [<>]?\d+ %\./);
    assert.ok(shown.marks.every((word) => shown.texts.some((text) => text.includes(word))), JSON.stringify(shown));
    const [inner, outer] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(inner <= outer, `${inner} px of content in ${outer}`);
    // What breaks nothing has no words to name, and nothing stays of the last text.
    await judge(page, "It opened in 1937.");
    await eventually("no word is named", async () => (await page.locator(".moved:not([hidden])").count()) === 0);
    assert.deepEqual(complaints, []);
  }
});
