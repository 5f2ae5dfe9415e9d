//! Compressed bodies, both ways.

use crate::fake::Plan;
use crate::http::Answer;
use crate::started::{Started, faked, settings};
use flate2::Compression;
use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use serde_json::json;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// So many zeros, packed; never in memory as they are, since other tests watch what this process holds.
fn bomb(bytes: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    (0..bytes >> 16).for_each(|_| encoder.write_all(&[b' '; 1 << 16]).unwrap());
    encoder.finish().unwrap()
}

fn send(server: &Started, path: &str, encoding: &str, body: &[u8]) -> Answer {
    let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
    server.client().send("POST", path, &headers, body).unwrap()
}

#[test]
fn packed_bodies_are_read_on_every_route() {
    let server = Started::new(settings(vec![faked(&Arc::new(Plan::default()))]));
    let text = "a word and another ".repeat(5000);
    let turn = json!({ "response": "Yes.", "context": text }).to_string().into_bytes();
    let tensor = json!({ "name": "response", "datatype": "BYTES", "shape": [1], "data": ["Yes."] });
    let infer = json!({ "inputs": [tensor] }).to_string().into_bytes();
    for (path, body) in [("/v1/detect", &turn), ("/detect", &turn), ("/v2/models/tiny-bert/infer", &infer)] {
        let plain = send(&server, path, "identity", body).expect(200);
        for (encoding, packed) in [
            ("gzip", gzip(body)),
            ("X-GZIP", gzip(body)),
            ("deflate", zlib(body)),
            ("deflate", raw_deflate(body)),
            ("gzip, deflate", zlib(&gzip(body))),
            ("identity, gzip,", gzip(body)),
        ] {
            let answer = send(&server, path, encoding, &packed).expect(200);
            if path != "/detect" {
                assert_eq!(answer.json(), plain.json(), "{path} {encoding}");
            }
        }
    }
}

#[test]
fn binary_tensors_may_be_packed() {
    let server = Started::new(settings(vec![faked(&Arc::new(Plan::default()))]));
    let parameters = json!({ "binary_data_size": 8 });
    let input = json!({ "name": "response", "datatype": "BYTES", "shape": [1], "parameters": parameters });
    let head = json!({ "inputs": [input], "parameters": { "binary_data_output": true } }).to_string();
    let length = head.len().to_string();
    let body = gzip(&[head.as_bytes(), b"\x04\0\0\0Yes."].concat());
    let headers = [("content-encoding", "gzip"), ("inference-header-content-length", &length)];
    let answer = server.client().send("POST", "/v2/models/tiny-bert/infer", &headers, &body).unwrap().expect(200);
    let head: usize = answer.header("inference-header-content-length").parse().unwrap();
    // Four logits, four probabilities, one share.
    assert_eq!(answer.body.len(), head + 4 * (4 + 4 + 1));
}

#[test]
fn what_cannot_be_unpacked_is_refused() {
    let mut settings = settings(vec![faked(&Arc::new(Plan::default()))]);
    settings.limits.body_bytes_max = 256 << 10;
    let server = Started::new(settings);
    let turn = b"{\"response\": \"Yes.\"}";
    for (encoding, words) in [("br", "`br`"), ("gzip, zstd", "`zstd`"), ("gzip,gzip,gzip,gzip", "4 layers")] {
        let refused = send(&server, "/v1/detect", encoding, turn).expect(415);
        assert!(refused.detail().contains(words), "{}", refused.detail());
        assert_eq!(refused.header("accept-encoding"), "gzip, deflate, identity");
    }
    let packed = gzip(turn);
    for (encoding, body) in [
        ("gzip", &turn[..]),
        ("deflate", turn),
        ("gzip", &packed[..packed.len() - 3]),
        ("gzip", b""),
        ("deflate", &packed),
        ("gzip, gzip", &packed),
    ] {
        let refused = send(&server, "/v1/detect", encoding, body).expect(400);
        assert!(refused.detail().contains("is not valid"), "{}", refused.detail());
    }
    let bomb = bomb(128 << 20);
    let layers = gzip(&bomb);
    let start = Instant::now();
    for (encoding, body) in [("gzip", &bomb), ("gzip, gzip", &layers)] {
        let refused = send(&server, "/v1/detect", encoding, body).expect(413);
        assert!(refused.detail().contains("unpacked"), "{}", refused.detail());
    }
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // To the byte.
    let fill = |bytes: usize| gzip(format!("{{\"response\": \"Yes.\"{}}}", " ".repeat(bytes - 20)).as_bytes());
    send(&server, "/v1/detect", "gzip", &fill(256 << 10)).expect(200);
    send(&server, "/v1/detect", "gzip", &fill((256 << 10) + 1)).expect(413);
}

#[test]
fn answers_are_packed_for_who_asks() {
    let server = Started::new(settings(vec![faked(&Arc::new(Plan::default()))]));
    let client = server.client();
    let ask = |accepted: &str| client.send("GET", "/openapi.json", &[("accept-encoding", accepted)], b"").unwrap();
    let plain = ask("identity").expect(200);
    assert_eq!(plain.header("content-encoding"), "");
    let mut out = Vec::new();
    let packed = ask("gzip, deflate").expect(200);
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "accept-encoding"));
    assert!(packed.body.len() < plain.body.len() / 4);
    GzDecoder::new(&packed.body[..]).read_to_end(&mut out).unwrap();
    assert_eq!(out, plain.body);
    out.clear();
    let packed = ask("deflate").expect(200);
    assert_eq!(packed.header("content-encoding"), "deflate");
    ZlibDecoder::new(&packed.body[..]).read_to_end(&mut out).unwrap();
    assert_eq!(out, plain.body);
    // A short answer stays as it is.
    let short = client.send("GET", "/v2/health/live", &[("accept-encoding", "gzip")], b"").unwrap();
    assert_eq!(short.header("content-encoding"), "");
}
