// Each sample shows on the real model what it is there to show.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { eventually, openPage, readVerdict, startBrowser, untilJudged } from "./browser.mjs";
import { importSource } from "./sources.mjs";

const { SAMPLES } = await importSource("samples");
let browser;
before(async () => (browser = await startBrowser()));
after(async () => await browser?.close());

test("there is one for each maxim and one that breaks none", () => {
  assert.deepEqual(SAMPLES.map(({ breaks }) => breaks), [null, "quantity", "quality", "relation", "manner"]);
});

test("each breaks what it says, clearly, and nothing else; what was said before breaks nothing", async (t) => {
  const { page } = await openPage(t, browser);
  for (const { id, breaks, chat } of SAMPLES) {
    await page.click(`#sample-${id}`);
    await untilJudged(page);
    const { violated, percents, headline } = await readVerdict(page);
    assert.deepEqual(violated, breaks ? [breaks] : [], id);
    assert.equal(headline, breaks ? `Breaks ${breaks}` : "Cooperative");
    for (const [maxim, percent] of Object.entries(percents)) {
      const value = Number(percent.replace(/[^0-9]/g, ""));
      assert.ok(maxim === breaks ? value >= 90 : value <= 30, `${id}: ${maxim} ${percent}`);
    }
    const marks = page.locator("#messages .mark-button");
    await eventually(`${id}: every message before is judged`, async () => {
      const texts = await marks.allTextContents();
      return texts.length === chat.length && texts.every((text) => /Cooperative/.test(text));
    });
  }
});
