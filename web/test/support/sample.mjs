// A project that installed the package: what `npm pack` packs, in a node_modules of its own.

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const web = fileURLToPath(new URL("../..", import.meta.url));

/** A copy of a folder of `test/` in which `import "grice"`, and the packages named, are found; unless another installs what it needs. */
export function makeProject(name, packages = [], { installs = true } = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), "grice-project-"));
  if (name) cpSync(path.join(web, "test", name), folder, { recursive: true });
  if (installs) addPackage(folder);
  for (const each of packages) cpSync(path.join(web, "node_modules", each), path.join(folder, "node_modules", each), { recursive: true });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Puts the package into a project, as `npm install` would. */
export function addPackage(folder) {
  const installed = path.join(folder, "node_modules/grice");
  mkdirSync(installed, { recursive: true });
  const packed = JSON.parse(execFileSync("npm", ["pack", "--json", "--pack-destination", folder], { cwd: web, encoding: "utf8" }));
  const [{ filename }] = Array.isArray(packed) ? packed : Object.values(packed);
  execFileSync("tar", ["--extract", "--file", path.join(folder, filename), "--strip-components=1", "--directory", installed]);
  rmSync(path.join(folder, filename));
}
