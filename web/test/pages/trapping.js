// Makes functions of the WebAssembly module that is started after this trap when they are called next, as a fault in them would.

/** Names of exported functions that trap, as long as they are in here. */
export const traps = new Set();

// A module of one function, which executes `unreachable`.
const code = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 7, 8, 1, 4, 0x74, 0x72, 0x61, 0x70, 0, 0, 10, 5, 1, 3, 0, 0, 11];
const { trap } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array(code))).exports;

for (const name of ["instantiate", "instantiateStreaming"]) {
  const original = WebAssembly[name];
  WebAssembly[name] = async (...parts) => {
    const found = await original.apply(WebAssembly, parts);
    const exports = { ...(found.instance ?? found).exports };
    for (const [name, work] of Object.entries(exports)) {
      if (/^(detector|task)_/.test(name)) exports[name] = (...values) => (traps.has(name) ? trap() : work(...values));
    }
    return { module: found.module, instance: { exports } };
  };
}

globalThis.addEventListener("message", ({ data }) => data?.type === "trap" && traps.add(data.name));
