// Keeps hold of the memory of the WebAssembly module that is started after this, to weigh it.

export const started = {};

for (const name of ["instantiate", "instantiateStreaming"]) {
  const original = WebAssembly[name];
  WebAssembly[name] = async (...parts) => {
    const found = await original.apply(WebAssembly, parts);
    started.memory = (found.instance ?? found).exports.memory;
    return found;
  };
}
