// Serves a few folders on localhost, cross-origin isolated so that the browser's clock is precise.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";

const TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm" };

/// Serves `folders` (URL prefix → folder, the longest prefix wins) and `files` (URL → file) on a free port.
export async function serve({ folders, files }) {
  const server = createServer(async (request, response) => {
    try {
      const file = locate(new URL(request.url, "http://localhost").pathname, folders, files);
      const body = await readFile(file);
      response.writeHead(200, {
        "Content-Type": TYPES[path.extname(file)] ?? "application/octet-stream",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Embedder-Policy": "require-corp",
        "Cache-Control": "no-store",
      });
      response.end(body);
    } catch (error) {
      response.writeHead(404).end(String(error));
    }
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () =>
      new Promise((closed) => {
        server.close(closed);
        // A closed browser may leave connections open.
        server.closeAllConnections();
      }),
  };
}

function locate(url, folders, files) {
  if (url in files) return files[url];
  const prefix = Object.keys(folders)
    .filter((prefix) => url.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0];
  const file = path.join(folders[prefix], url.slice(prefix.length) || "index.html");
  if (!file.startsWith(path.join(folders[prefix]))) throw new Error(`${url} is outside`);
  return file;
}
