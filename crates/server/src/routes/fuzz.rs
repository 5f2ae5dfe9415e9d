//! The parsers of request bodies, for a fuzzer: they must return for all bytes.

use super::bounds::Bounds;
use super::input::{AliasItem, Items, parse_json};
use super::outputs::Column;
use super::tensors::InferRequest;
use super::tensors_json::write_answer;
use crate::encoding::Coding;

const BOUNDS: Bounds = Bounds { rows_max: 64, tokens_max: 512, labels: 4, keeps_padding: false };
const UNPACKED_BYTES_MAX: usize = 1 << 16;

/// Reads bytes as a gRPC inference request. Returns the status of the refusal, if any.
pub fn parse_message(bytes: &[u8]) -> Option<u16> {
    let read = super::grpc::parse(bytes::Bytes::copy_from_slice(bytes), BOUNDS);
    read.err().map(|problem| problem.status.as_u16())
}

/// Decompresses bytes with every method.
pub fn unpack(bytes: &[u8]) {
    for coding in [Coding::Gzip, Coding::Deflate] {
        if let Ok(unpacked) = coding.unpack(bytes, UNPACKED_BYTES_MAX) {
            assert!(unpacked.len() <= UNPACKED_BYTES_MAX);
        }
    }
}

/// Reads bytes as the body of `/v1/detect` and of `/detect`. Returns the status of the refusal, if any.
pub fn parse_turns(body: &[u8]) -> (Option<u16>, Option<u16>) {
    let own = Items::parse(body, 64).err().map(|problem| problem.status.as_u16());
    let alias = parse_json::<AliasItem>(body).err().map(|problem| problem.status.as_u16());
    (own, alias)
}

/// Reads bytes as the body of an inference request; the first two give the end of the head, if any. Returns the status of the
/// refusal, if any.
pub fn parse_tensors(bytes: &[u8]) -> Option<u16> {
    let (head_bytes, body) = match bytes {
        [0, rest @ ..] => (None, rest),
        [a, b, rest @ ..] => (Some(usize::from(u16::from_le_bytes([*a, *b]))), rest),
        short => (None, short),
    };
    match InferRequest::parse(body, head_bytes, BOUNDS) {
        Ok(request) => {
            let columns = vec![Column::Numbers { rows: 1, values: vec![0.5; 4] }; request.outputs.len()];
            let answer = write_answer(("model", "1"), request.id.as_deref(), &request.outputs, &columns);
            assert!(answer.is_ok_and(|answer| answer.head_bytes.is_none_or(|head| head <= answer.bytes.len())));
            None
        }
        Err(problem) => Some(problem.status.as_u16()),
    }
}
