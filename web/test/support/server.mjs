// Files on localhost, and answers of a test's own.

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".wasm": "application/wasm",
  ".tar": "application/x-tar",
};

/**
 * Serves `folders` (URL prefix → folder, the longest prefix wins) and `routes` (path → function of request and response) on a free
 * port. `headers` go with every file.
 */
export async function serve({ folders = {}, routes = {}, headers = {} }) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const { pathname } = new URL(request.url, "http://localhost");
    requests.push({ path: pathname, range: request.headers.range, ifRange: request.headers["if-range"] });
    try {
      if (routes[pathname]) return await routes[pathname](request, response);
      const file = locate(pathname, folders);
      const { size } = await stat(file);
      const type = TYPES[path.extname(file)] ?? "application/octet-stream";
      response.writeHead(200, { "Content-Type": type, "Content-Length": size, "Cache-Control": "no-cache", ...headers });
      createReadStream(file).pipe(response);
    } catch (error) {
      if (!response.headersSent) response.writeHead(404, { "Content-Type": "text/plain", ...headers });
      response.end(String(error));
    }
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const url = `http://127.0.0.1:${server.address().port}`;
  return {
    url,
    routes,
    requests,
    close: () =>
      new Promise((closed) => {
        server.close(closed);
        server.closeAllConnections();
      }),
  };
}

/** Sends part of a file and then breaks the connection. */
export function sendPartly(response, bytes, { status = 200, headers = {}, length = bytes.length, sent }) {
  response.writeHead(status, { "Content-Type": "application/x-tar", "Content-Length": length, ...headers });
  response.write(bytes.subarray(0, sent), () => setTimeout(() => response.destroy(), 100));
}

function locate(pathname, folders) {
  const prefix = Object.keys(folders)
    .filter((prefix) => pathname.startsWith(prefix))
    .sort((a, b) => b.length - a.length)[0];
  if (prefix === undefined) throw new Error(`nothing is served at ${pathname}`);
  const file = path.join(folders[prefix], pathname.slice(prefix.length) || "index.html");
  if (!file.startsWith(path.join(folders[prefix]))) throw new Error(`${pathname} is outside`);
  return file;
}

