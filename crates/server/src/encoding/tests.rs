#![allow(clippy::unwrap_used)]

use super::*;
use flate2::write::DeflateEncoder;
use std::time::Duration;

const TEXT: &[u8] = b"{\"response\": \"Yes, yes, yes, yes, yes, yes.\"}";

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn headers(name: axum::http::HeaderName, values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
}

#[test]
fn what_was_packed_comes_back() {
    for bytes in [TEXT, b"", &[7; 100_000]] {
        for coding in [Coding::Gzip, Coding::Deflate] {
            assert_eq!(coding.unpack(&coding.pack(bytes), bytes.len()).unwrap(), bytes);
        }
        assert_eq!(Coding::Deflate.unpack(&raw_deflate(bytes), bytes.len()).unwrap(), bytes);
        // Members of gzip may follow each other.
        let twice = [Coding::Gzip.pack(bytes), Coding::Gzip.pack(TEXT)].concat();
        assert_eq!(Coding::Gzip.unpack(&twice, 200_000).unwrap(), [bytes, TEXT].concat());
    }
}

#[test]
fn what_is_cut_off_spoilt_or_followed_by_more_is_refused() {
    let long: Vec<u8> = (0..50_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for bytes in [TEXT, &long[..]] {
        let streams = [(Coding::Gzip, Coding::Gzip.pack(bytes)), (Coding::Deflate, Coding::Deflate.pack(bytes))];
        for (coding, packed) in streams.into_iter().chain([(Coding::Deflate, raw_deflate(bytes))]) {
            for cut in [0, 1, 2, packed.len() / 2, packed.len() - 1] {
                let found = coding.unpack(&packed[..cut], 1 << 20);
                assert!(matches!(found, Err(Unpacked::Broken(_))), "{coding:?} cut at {cut}: {found:?}");
            }
            let more = coding.unpack(&[&packed[..], b"more"].concat(), 1 << 20);
            assert!(matches!(more, Err(Unpacked::Broken(_))), "{coding:?}: {more:?}");
        }
    }
    let mut spoilt = Coding::Gzip.pack(TEXT);
    let sum = spoilt.len() - 8;
    spoilt[sum] ^= 1;
    assert!(matches!(Coding::Gzip.unpack(&spoilt, 1 << 20), Err(Unpacked::Broken(_))));
}

#[test]
fn a_bomb_costs_what_the_limit_costs() {
    let zeros = vec![0; 64 << 20];
    let streams = [(Coding::Gzip, Coding::Gzip.pack(&zeros)), (Coding::Deflate, raw_deflate(&zeros))];
    for (coding, packed) in streams {
        let start = Instant::now();
        assert_eq!(coding.unpack(&packed, 1 << 20), Err(Unpacked::TooMany));
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        // To the byte.
        assert_eq!(coding.unpack(&coding.pack(&zeros[..1000]), 1000).unwrap().len(), 1000);
        assert_eq!(coding.unpack(&coding.pack(&zeros[..1001]), 1000), Err(Unpacked::TooMany));
    }
    // Members without content give nothing, and there are no more of them than the body has room for.
    let empty = Coding::Gzip.pack(b"").repeat((2 << 20) / 20);
    let start = Instant::now();
    assert_eq!(Coding::Gzip.unpack(&empty, 1 << 20).unwrap(), b"");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn layers_come_off_in_turn() {
    let codings = codings_of(&headers(CONTENT_ENCODING, &["gzip, identity", "Deflate,"])).unwrap();
    assert_eq!(codings, [Coding::Gzip, Coding::Deflate]);
    let packed = Bytes::from(Coding::Deflate.pack(&Coding::Gzip.pack(TEXT)));
    assert_eq!(unpack_all(&codings, &packed, 1000).unwrap(), TEXT);
    let refused = unpack_all(&codings[..1], &packed, 1000).unwrap_err();
    assert!(refused.status == 400 && refused.detail.contains("not valid gzip"), "{}", refused.detail);
    for (values, words) in
        [(&["gzip", "br"][..], "`br`"), (&["gzip, gzip, gzip, gzip"], "4 layers"), (&["zstd"], "`zstd`")]
    {
        let refused = codings_of(&headers(CONTENT_ENCODING, values)).unwrap_err();
        assert!(refused.status == 415 && refused.detail.contains(words), "{}", refused.detail);
        assert!(refused.detail.contains("gzip, deflate, identity"), "{}", refused.detail);
    }
}

#[test]
fn clients_get_what_they_ask_for() {
    for (asked, expected) in [
        (&[][..], None),
        (&["identity"], None),
        (&["*"], None),
        (&["gzip;q=0"], None),
        (&["deflate, gzip"], Some(Coding::Gzip)),
        (&["deflate", "br"], Some(Coding::Deflate)),
        (&["gzip;q=0.5, deflate;q=0.8"], Some(Coding::Deflate)),
        (&["GZIP ; Q=1"], Some(Coding::Gzip)),
    ] {
        assert_eq!(wanted(&headers(ACCEPT_ENCODING, asked)), expected, "{asked:?}");
    }
}
