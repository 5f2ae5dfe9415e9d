//! The status of calls for gRPC clients.

use crate::problem::{Problem, ProblemTold};
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::fmt::Write;

/// The media type of gRPC.
pub(super) const CONTENT: &str = "application/grpc";
/// The supported compression methods of messages.
pub(super) const ACCEPTED: &str = "identity,deflate,gzip";
/// Clients limit the size of headers and trailers.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Whether a request is a call: `application/grpc`, alone or with the name of an encoding after `+`.
pub(crate) fn is_call(headers: &HeaderMap) -> bool {
    let told = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = told.split(';').next().unwrap_or_default().trim();
    essence.strip_prefix(CONTENT).is_some_and(|rest| rest.is_empty() || rest.starts_with('+'))
}

/// The gRPC status of an HTTP status and its problem's code.
fn code_of(status: StatusCode, code: &str) -> u8 {
    match (status.as_u16(), code) {
        (200, _) => 0,
        // UNIMPLEMENTED: an unknown method, or an unknown compression method.
        (404, "not-found") | (405 | 415 | 501, _) => 12,
        (400 | 422, _) => 3,
        (401, _) => 16,
        (403, _) => 7,
        (404, _) => 5,
        (408 | 504, _) => 4,
        (409, _) => 9,
        (413 | 429, _) => 8,
        (503, _) => 14,
        (500, _) => 13,
        _ => 2,
    }
}

/// The trailers of a successful call.
pub(super) fn fine() -> HeaderMap {
    HeaderMap::from_iter(
        [("grpc-status".parse(), "0")]
            .into_iter()
            .filter_map(|(name, value)| Some((name.ok()?, HeaderValue::from_static(value)))),
    )
}

/// The trailers of a failed call.
pub(super) fn of(problem: &Problem) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    write(&mut trailers, problem.status, problem.code, &problem.detail);
    trailers
}

fn write(headers: &mut HeaderMap, status: StatusCode, code: &str, detail: &str) {
    headers.insert("grpc-status", HeaderValue::from(u16::from(code_of(status, code))));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(detail)) {
        headers.insert("grpc-message", message);
    }
}

/// Converts any refusal for gRPC clients: only a head, with the status in it.
pub(crate) fn refusal(refused: &Response<Body>) -> Response<Body> {
    let told = refused.extensions().get::<ProblemTold>();
    let (code, detail) = told.map_or(("", "this is not a gRPC method"), |told| (told.code, &*told.detail));
    let status = if refused.status().is_success() { StatusCode::NOT_FOUND } else { refused.status() };
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    for (name, value) in refused.headers() {
        if ![CONTENT_TYPE, CONTENT_LENGTH].contains(name) {
            headers.append(name, value.clone());
        }
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(CONTENT));
    headers.insert("grpc-accept-encoding", HeaderValue::from_static(ACCEPTED));
    write(headers, status, code, detail);
    if let Some(seconds) = refused.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
    {
        headers.insert("grpc-retry-pushback-ms", HeaderValue::from(seconds * 1000));
    }
    response
}

/// Keeps visible ASCII, and percent-encodes all other UTF-8 bytes.
fn percent_encoded(text: &str) -> String {
    let end = text.char_indices().nth(MESSAGE_CHARS_MAX).map_or(text.len(), |(end, _)| end);
    let mut out = String::with_capacity(end);
    for byte in text[..end].bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_told_by_their_media_type() {
        let is = |told: &'static str| is_call(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(told))]));
        assert!(is("application/grpc") && is("application/grpc+proto") && is("application/grpc; x=y"));
        assert!(!is("application/grpc-web+proto") && !is("application/json") && !is(""));
        assert!(!is_call(&HeaderMap::new()));
    }

    #[test]
    fn every_refusal_has_a_number() {
        let of = |status: u16, code: &str| code_of(StatusCode::from_u16(status).unwrap(), code);
        let known = [(400, 3), (401, 16), (403, 7), (404, 5), (405, 12), (408, 4), (409, 9), (413, 8), (415, 12)];
        for (status, expected) in
            known.into_iter().chain([(422, 3), (429, 8), (500, 13), (501, 12), (503, 14), (504, 4)])
        {
            assert_eq!(of(status, "x"), expected, "{status}");
        }
        assert_eq!(of(404, "not-found"), 12);
    }

    #[test]
    fn messages_are_what_headers_can_hold() {
        assert_eq!(percent_encoded("50% of `é`\n"), "50%25 of `%C3%A9`%0A");
        assert_eq!(percent_encoded(&"é".repeat(2000)).len(), 6000);
    }
}
