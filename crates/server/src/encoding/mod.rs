//! Compression: decompresses request bodies within a limit, and compresses answers for clients that accept it.
//!
//! `deflate` means a zlib stream (RFC 9110); raw deflate streams (RFC 1951) are accepted too.

use crate::app::App;
use crate::lanes::SMALL_BYTES;
use crate::problem::Problem;
use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, VARY};
use axum::http::{HeaderMap, HeaderValue, Response};
use flate2::bufread::MultiGzDecoder;
use flate2::write::{GzEncoder, ZlibEncoder};
use flate2::{Compression, Decompress, FlushDecompress, Status};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use std::io::{Read, Write};
use std::time::Instant;

/// More layers than any client needs.
const CODINGS_MAX: usize = 3;
/// A small answer gains nothing.
const PACKED_BYTES_LEAST: u64 = 1 << 10;
/// A large one would delay other requests.
const PACKED_BYTES_MAX: u64 = 1 << 20;

/// A compression method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    Deflate,
}

/// Why bytes cannot be decompressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unpacked {
    /// The result is larger than allowed.
    TooMany,
    /// The bytes are not a valid stream.
    Broken(String),
}

impl Coding {
    /// The method with this name in a header.
    pub(crate) fn named(name: &str) -> Option<Coding> {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Coding::Gzip),
            () if is("deflate") => Some(Coding::Deflate),
            () => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }

    /// Decompresses to at most `bytes_max` bytes; never needs more memory than that and a window.
    pub(crate) fn unpack(self, packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Unpacked> {
        match self {
            Coding::Gzip => unpack_gzip(packed, bytes_max),
            Coding::Deflate => inflate(packed, is_zlib(packed), bytes_max),
        }
    }

    /// Compresses an answer, with speed over size.
    pub(crate) fn pack(self, bytes: &[u8]) -> Vec<u8> {
        let out = Vec::with_capacity(bytes.len() / 2);
        let packed = match self {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(out, Compression::fast());
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(out, Compression::fast());
                encoder.write_all(bytes).and_then(|()| encoder.finish())
            }
        };
        // Writing to a vector cannot fail.
        packed.unwrap_or_default()
    }
}

fn unpack_gzip(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, Unpacked> {
    let mut whole = Vec::new();
    let mut stream = MultiGzDecoder::new(packed).take(bytes_max as u64 + 1);
    stream.read_to_end(&mut whole).map_err(|error| Unpacked::Broken(error.to_string()))?;
    if whole.len() > bytes_max { Err(Unpacked::TooMany) } else { Ok(whole) }
}

/// Recognises the header of a zlib stream: its method, its window, and a checksum that random data passes one time in 31. A raw stream of an
/// encoder does not begin with that method, which would be a stored block with non-zero padding.
fn is_zlib(packed: &[u8]) -> bool {
    matches!(packed, [method, flags, ..] if method & 15 == 8 && method >> 4 <= 7
        && (u16::from(*method) << 8 | u16::from(*flags)).is_multiple_of(31))
}

fn inflate(packed: &[u8], has_header: bool, bytes_max: usize) -> Result<Vec<u8>, Unpacked> {
    let mut stream = Decompress::new(has_header);
    let mut whole = Vec::new();
    let mut piece = vec![0; (16 << 10).min(bytes_max + 1)];
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let rest = &packed[read as usize..];
        let status = stream.decompress(rest, &mut piece, FlushDecompress::None);
        let status = status.map_err(|error| Unpacked::Broken(error.to_string()))?;
        whole.extend_from_slice(&piece[..(stream.total_out() - written) as usize]);
        if whole.len() > bytes_max {
            return Err(Unpacked::TooMany);
        }
        let stands_still = stream.total_in() == read && stream.total_out() == written;
        match status {
            Status::StreamEnd if (stream.total_in() as usize) < packed.len() => {
                let left = packed.len() - stream.total_in() as usize;
                return Err(Unpacked::Broken(format!("{left} bytes follow its end")));
            }
            Status::StreamEnd => return Ok(whole),
            _ if stands_still => return Err(Unpacked::Broken("it ends too early".to_owned())),
            _ => {}
        }
    }
}

/// The compression methods in `Content-Encoding`, in order.
///
/// # Errors
/// 415 with the unknown method.
fn codings_of(headers: &HeaderMap) -> Result<Vec<Coding>, Problem> {
    let mut codings = Vec::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        let told = value.to_str().map_err(|_| Problem::unknown_encoding("Content-Encoding is not text"))?;
        for name in told.split(',').map(str::trim) {
            match Coding::named(name) {
                Some(coding) => codings.push(coding),
                None if name.is_empty() || name.eq_ignore_ascii_case("identity") => {}
                None => {
                    let name: String = name.escape_default().take(40).collect();
                    return Err(Problem::unknown_encoding(format!("Content-Encoding `{name}` is not supported")));
                }
            }
        }
    }
    if codings.len() > CODINGS_MAX {
        let detail = format!("Content-Encoding names {} layers; at most {CODINGS_MAX} are supported", codings.len());
        return Err(Problem::unknown_encoding(detail));
    }
    Ok(codings)
}

/// Decompresses the layers, the last one first. Each layer has a limit, so the cost of a body has one too.
fn unpack_all(codings: &[Coding], packed: &Bytes, bytes_max: usize) -> Result<Bytes, Problem> {
    let mut bytes = packed.clone();
    for coding in codings.iter().rev() {
        bytes = match coding.unpack(&bytes, bytes_max) {
            Ok(unpacked) => unpacked.into(),
            Err(Unpacked::TooMany) => {
                return Err(Problem::too_large(format!("unpacked, the body is larger than {bytes_max} bytes")));
            }
            Err(Unpacked::Broken(cause)) => {
                let name = coding.name();
                return Err(Problem::malformed(format!("the body is not valid {name}: {cause}")));
            }
        };
    }
    Ok(bytes)
}

/// The codings of a request's body, before the body is read.
///
/// # Errors
/// 415 with the unknown method.
pub(crate) fn expect_known(headers: &HeaderMap) -> Result<(), Problem> {
    codings_of(headers).map(|_| ())
}

/// The decompressed body.
///
/// # Errors
/// 415 for an unknown method, 400 for broken data, 413 for a result that is too large.
pub(crate) async fn unpack_body(
    app: &App,
    headers: &HeaderMap,
    packed: Bytes,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    unpack(app, codings_of(headers)?, packed, deadline).await
}

/// Decompresses on a thread where this does not delay other requests.
///
/// # Errors
/// As [`unpack_body`].
pub(crate) async fn unpack(
    app: &App,
    codings: Vec<Coding>,
    packed: Bytes,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    if codings.is_empty() {
        return Ok(packed);
    }
    let bytes_max = app.settings.limits.body_bytes_max;
    if packed.len() <= SMALL_BYTES {
        // Nearly all bodies stay small.
        let bound = bytes_max.min(4 * SMALL_BYTES);
        match unpack_all(&codings, &packed, bound) {
            Err(problem) if problem.code == "too-large" && bound < bytes_max => {}
            done => return done,
        }
    }
    let (unpacked, _) = app.lanes.run(bytes_max, deadline, move || unpack_all(&codings, &packed, bytes_max)).await?;
    unpacked
}

/// The compression method that the client prefers, if any.
pub(crate) fn wanted(headers: &HeaderMap) -> Option<Coding> {
    let mut best: Option<(f32, Coding)> = None;
    for value in headers.get_all(ACCEPT_ENCODING) {
        for choice in value.to_str().unwrap_or_default().split(',') {
            let (name, parameters) = choice.split_once(';').unwrap_or((choice, ""));
            let weight = parameters.split(';').find_map(|parameter| {
                let (name, value) = parameter.split_once('=')?;
                name.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f32>().unwrap_or(0.0))
            });
            let weight = weight.unwrap_or(1.0);
            let Some(coding) = Coding::named(name.trim()).filter(|_| weight > 0.0) else { continue };
            // With equal weights gzip, otherwise the first.
            let is_better = best.is_none_or(|(other, known)| {
                weight > other || weight == other && coding == Coding::Gzip && known != Coding::Gzip
            });
            if is_better {
                best = Some((weight, coding));
            }
        }
    }
    best.map(|(_, coding)| coding)
}

/// Compresses an answer if its size makes that worthwhile.
pub(crate) async fn pack_answer(coding: Coding, response: Response<Body>) -> Response<Body> {
    let size = response.body().size_hint().exact();
    let is_fit = size.is_some_and(|size| (PACKED_BYTES_LEAST..=PACKED_BYTES_MAX).contains(&size));
    if !is_fit || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // The whole answer is in memory already.
    let Ok(whole) = body.collect().await else { return Response::from_parts(head, Body::empty()) };
    let packed = coding.pack(&whole.to_bytes());
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(head, Body::from(packed))
}

#[cfg(test)]
mod tests;
