// Takes away what came after the oldest browsers that `docs/browser.md` names: Chrome 96, Firefox 114, Safari 16.4.

export const gone = [];

function remove(owner, ...names) {
  for (const name of names) {
    if (!owner || !(name in owner)) continue;
    for (let each = owner; each; each = Object.getPrototypeOf(each)) if (Object.hasOwn(each, name)) delete each[name];
    if (name in owner) throw new Error(`${name} cannot be taken away`);
    gone.push(name);
  }
}

remove(AbortSignal, "any", "timeout");
remove(AbortSignal.prototype, "throwIfAborted", "reason");
remove(Promise, "withResolvers", "try");
remove(Array, "fromAsync");
remove(Array.prototype, "findLast", "findLastIndex", "toSorted", "toReversed", "toSpliced", "with");
remove(Object, "groupBy");
remove(Map, "groupBy");
remove(Object.getPrototypeOf(Uint8Array.prototype), "findLast", "toSorted", "with", "toReversed", "findLastIndex");
remove(Uint8Array, "fromHex", "fromBase64");
remove(Uint8Array.prototype, "toHex", "toBase64", "setFromHex", "setFromBase64");
remove(ArrayBuffer.prototype, "transfer", "transferToFixedLength", "resize", "resizable", "detached", "maxByteLength");
remove(String.prototype, "isWellFormed", "toWellFormed");
remove(Set.prototype, "union", "intersection", "difference", "symmetricDifference", "isSubsetOf", "isSupersetOf", "isDisjointFrom");
remove(Response, "json");
remove(URL, "canParse", "parse");
remove(ReadableStream, "from");
remove(ReadableStream.prototype, Symbol.asyncIterator, "values");
remove(globalThis, "structuredClone", "scheduler", "Iterator", "WebSocketStream", "navigation", "SuppressedError", "DisposableStack", "AsyncDisposableStack");
remove(Atomics, "waitAsync");
remove(RegExp, "escape");
