//! The types of the npm package equal those of Rust: `GRICE_BLESS=1` writes `web/src/wire.ts`, and this test compares it.
#![cfg(not(target_arch = "wasm32"))]
#![allow(clippy::unwrap_used)]

use grice_core::session::{Detection, ModelInfo, Timings};
use grice_core::task::{StepKind, TraceStep};
use grice_core::{
    Context, DetectorBrief, DraftNews, PerMaxim, Precision, Repair, Text, Turn, Utterance, Verdict, WorkshopInfo,
};
use std::path::Path;
use ts_rs::{Config, TS};

#[test]
fn the_package_s_types_are_those_of_rust() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../web/src/wire.ts");
    let types = [
        declare::<PerMaxim<f32>>(),
        declare::<Precision>(),
        declare::<Utterance>(),
        declare::<Context>(),
        declare::<Turn>(),
        declare::<Verdict>(),
        declare::<Timings>(),
        declare::<Detection>(),
        declare::<ModelInfo>(),
        declare::<StepKind>(),
        declare::<TraceStep>(),
        declare::<DraftNews>(),
        declare::<Repair>(),
        declare::<Text>(),
        declare::<DetectorBrief>(),
        declare::<WorkshopInfo>(),
    ];
    let head = "// Types that cross to WebAssembly and back, generated from the Rust types: `GRICE_BLESS=1 cargo test -p grice-wasm --test types`.\n";
    let text = head.to_owned() + &types.concat();
    if std::env::var_os("GRICE_BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text, "web/src/wire.ts is not what the Rust types are");
}

/// One exported type with its documentation.
fn declare<T: TS>() -> String {
    let text = format!("\n{}export {}\n", T::docs().unwrap_or_default(), T::decl(&Config::default()));
    // Links of Rust's documentation lead nowhere in TypeScript's; and no line ends in a space.
    let text = text.replace("[`", "`").replace("`]", "`").replace(" \n", "\n");
    // Rust's examples do not belong in TypeScript's documentation.
    match text.split_once(" *\n * ```\n") {
        Some((before, example)) => before.to_owned() + example.split_once(" * ```\n").unwrap().1,
        None => text,
    }
}
