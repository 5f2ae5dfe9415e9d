// Runs this crate's tests in Node's WebAssembly engine:
//
//   rustup target add wasm32-wasip1
//   RUSTFLAGS='-C target-feature=+simd128,+relaxed-simd' CARGO_TARGET_WASM32_WASIP1_RUNNER="node $PWD/crates/kernels/tests/wasi.mjs" \
//     cargo test --release -p grice-kernels --target wasm32-wasip1
//
// Relaxed SIMD needs Node 22 or later. (Node 20 has it behind a flag, and its baseline compiler adds up dot products wrongly:
// `--experimental-wasm-relaxed-simd --no-liftoff --single-threaded`, the last because it may crash at its end else.)
import { readFile } from 'node:fs/promises';
import process, { argv, env } from 'node:process';
import { WASI } from 'node:wasi';

const wasi = new WASI({ version: 'preview1', args: argv.slice(2), env });
const module = await WebAssembly.compile(await readFile(argv[2]));
const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
process.exitCode = wasi.start(instance);
