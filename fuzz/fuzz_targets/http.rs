//! Any bytes as the body of a request: it is read, or refused with a 4xx status.
#![no_main]

use grice_server::fuzz::{parse_message, parse_tensors, parse_turns, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (own, alias) = parse_turns(bytes);
    unpack(bytes);
    for status in [own, alias, parse_tensors(bytes), parse_message(bytes)].into_iter().flatten() {
        assert!((400..500).contains(&status), "{status}");
    }
});
