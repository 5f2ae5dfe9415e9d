// Serves a built page like a careful host: content policy, precompressed files, files with a digest in their name cached forever.
// `node serve.mjs --folder ../target/www --port 8000`

import { createServer } from "node:http";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import sirv from "sirv";
import { POLICY } from "./build.mjs";

const HERE = fileURLToPath(new URL(".", import.meta.url));
const FOREVER = /\/(assets|models|grice-[0-9a-f]+)\//u;

/**
 * Starts serving; returns the server and the address of the page.
 * @param {{ folder: string, port?: number, host?: string, base?: string, setsHeaders?: boolean,
 *   intercept?: (request: import("node:http").IncomingMessage, response: import("node:http").ServerResponse) => boolean }} options
 *   `base`: the path of the page, `/` or `/…/`. `setsHeaders`: `false` for a host that only sets types. `intercept` may answer a
 *   request itself, and then returns true.
 */
export async function servePage({ folder, port = 0, host = "localhost", base = "/", setsHeaders = true, intercept }) {
  const files = sirv(folder, { brotli: setsHeaders, etag: setsHeaders, setHeaders: setsHeaders ? setHeaders : undefined });
  const server = createServer((request, response) => {
    if (intercept?.(request, response)) return;
    if (!request.url?.startsWith(base)) {
      response.writeHead(404).end("not here");
      return;
    }
    request.url = request.url.slice(base.length - 1);
    files(request, response, () => response.writeHead(404).end("not found"));
  });
  await new Promise((started, failed) => server.once("error", failed).listen(port, host, started));
  return { server, url: `http://${host}:${server.address().port}${base}` };
}

function setHeaders(response, path) {
  response.setHeader("Content-Security-Policy", `${POLICY}; frame-ancestors 'none'`);
  response.setHeader("X-Content-Type-Options", "nosniff");
  response.setHeader("Referrer-Policy", "no-referrer");
  response.setHeader("Cache-Control", FOREVER.test(path) ? "public, max-age=31536000, immutable" : "no-cache");
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values } = parseArgs({
    options: { folder: { type: "string", default: join(HERE, "../target/www") }, port: { type: "string", default: "8000" } },
  });
  const { url } = await servePage({ folder: resolve(values.folder), port: Number(values.port) });
  console.log(`The page is at ${url} (Ctrl+C ends it)`);
}
