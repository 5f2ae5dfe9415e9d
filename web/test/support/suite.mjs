// What the browser tests share: one browser, one server, the package and the bundles behind it.

import { after, before } from "node:test";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";
import { dist, packBundles } from "./fixtures.mjs";
import { serve } from "./server.mjs";

/** Call at the top of a test file. `page()` opens a page of the package's origin. */
export function suite({ flags, headers } = {}) {
  const shared = {};
  before(async () => {
    shared.bundles = packBundles();
    shared.server = await serve({
      folders: { "/": fileURLToPath(new URL("../pages", import.meta.url)), "/grice/": dist, "/models/": shared.bundles.folder },
      headers,
    });
    shared.browser = await launch({ flags });
  });
  after(async () => {
    await shared.browser?.close();
    await shared.server?.close();
    shared.bundles?.remove();
  });
  shared.page = (path = "/") => shared.browser.open(shared.server.url + path);
  return shared;
}
