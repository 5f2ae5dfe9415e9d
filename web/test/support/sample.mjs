// A project that installed the package: what `npm pack` packs, in a node_modules of its own.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("../..", import.meta.url));

/** A copy of a folder of `test/` in which `import "grice"`, and the packages named, are found. */
export function makeProject(name, packages = []) {
  const folder = mkdtempSync(path.join(tmpdir(), "grice-project-"));
  if (name) cpSync(path.join(web, "test", name), folder, { recursive: true });
  const modules = path.join(folder, "node_modules");
  mkdirSync(path.join(modules, "grice"), { recursive: true });
  const packed = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: web, encoding: "utf8" }));
  const [{ filename }] = Array.isArray(packed) ? packed : Object.values(packed);
  execFileSync("tar", ["--extract", "--file", path.join(folder, filename), "--strip-components=1", "--directory", path.join(modules, "grice")]);
  rmSync(path.join(folder, filename));
  for (const each of packages) cpSync(path.join(web, "node_modules", each), path.join(modules, each), { recursive: true });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
