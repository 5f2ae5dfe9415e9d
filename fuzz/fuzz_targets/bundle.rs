//! Any bytes as a bundle: it opens, loads and answers, or it is refused; it never panics.
#![no_main]

use grice_core::{Bundle, Detector, Options, Turn};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(bundle) = Bundle::from_tar(bytes) else { return };
    let Ok(mut detector) = Detector::load(&bundle, &Options::default()) else { return };
    let _ = detector.detect(&Turn::new("Hello?", "Hello."));
});
