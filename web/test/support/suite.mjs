// What the browser tests share: one browser, one server, the package and the bundles behind it.

import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";
import { dist, packBundles } from "./fixtures.mjs";
import { serve } from "./server.mjs";

/** To be awaited at the top of a test file. `page()` opens a page of the package's origin. */
export async function suite({ flags, headers } = {}) {
  const bundles = packBundles();
  const pages = fileURLToPath(new URL("../pages", import.meta.url));
  const server = await serve({ folders: { "/": pages, "/grice/": dist, "/models/": bundles.folder }, headers });
  const browser = await launch({ flags });
  after(async () => {
    await browser.close();
    await server.close();
    bundles.remove();
  });
  return { bundles, server, browser, page: (path = "/") => browser.open(server.url + path) };
}
