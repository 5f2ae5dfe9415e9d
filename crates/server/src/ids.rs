//! Ids of requests, and their traces (W3C Trace Context).

use axum::http::{HeaderMap, HeaderValue};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum length of a client's own request id.
const REQUEST_ID_BYTES_MAX: usize = 128;

static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().build_hasher().finish());
static COUNT: AtomicU64 = AtomicU64::new(0);

/// A unique number that looks random; not a secret.
fn unique() -> u64 {
    // SplitMix64 (Steele, Lea and Flood, 2014) is a bijection of the counter, so no number repeats.
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut z = SEED.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The client's `X-Request-Id` if it is valid, otherwise a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get("x-request-id").filter(|value| {
        let bytes = value.as_bytes();
        (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
    });
    given.cloned().unwrap_or_else(|| ascii(&hex::<16>(u128::from(unique()).to_be_bytes(), 16)))
}

/// A new id for an answer, with what it begins with: `chatcmpl-…`.
pub(crate) fn answer_id(start: &str) -> String {
    format!("{start}{:016x}{:016x}", unique(), unique())
}

/// The trace of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Id of the whole trace.
    pub(crate) trace_id: u128,
    /// Id of this request's span.
    pub(crate) span_id: u64,
    /// Id of the sender's span, if given.
    pub(crate) parent_id: Option<u64>,
    flags: u8,
}

impl Trace {
    /// Continues the client's `traceparent`, or begins a trace, which is sampled if this server sends traces.
    pub(crate) fn of(headers: &HeaderMap, keeps: bool) -> Trace {
        let span_id = unique().max(1);
        match headers.get("traceparent").and_then(|value| parse_traceparent(value.as_bytes())) {
            Some((trace_id, parent_id, flags)) => Trace { trace_id, span_id, parent_id: Some(parent_id), flags },
            None => {
                let trace_id = u128::from(unique()) << 64 | u128::from(unique().max(1));
                Trace { trace_id, span_id, parent_id: None, flags: u8::from(keeps) }
            }
        }
    }

    /// Whether the trace is sampled.
    pub(crate) fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// `traceparent` of this request, for the answer and for outgoing calls.
    pub(crate) fn header(&self) -> HeaderValue {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&hex::<32>(self.trace_id.to_be_bytes(), 32));
        text[36..52].copy_from_slice(&hex::<16>(u128::from(self.span_id).to_be_bytes(), 16));
        text[53..55].copy_from_slice(&hex::<2>(u128::from(self.flags).to_be_bytes(), 2));
        ascii(&text)
    }
}

/// Trace id, parent id and flags; `None` for an invalid header, after which the standard starts a new trace.
fn parse_traceparent(value: &[u8]) -> Option<(u128, u64, u8)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let well_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    // Later versions may append parts, version 00 may not.
    if !well_formed || version == "ff" || version == "00" && parts.next().is_some() {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|&id| id != 0)?;
    let parent = u64::from_str_radix(parent, 16).ok().filter(|&id| id != 0)?;
    Some((trace, parent, u8::from_str_radix(flags, 16).ok()?))
}

/// The last `digits` hex digits of a number.
fn hex<const N: usize>(bytes: [u8; 16], digits: usize) -> [u8; N] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [b'0'; N];
    let skipped = 32 - digits;
    for (place, digit) in out.iter_mut().enumerate() {
        let nibble = skipped + place;
        let byte = bytes[nibble / 2];
        *digit = DIGITS[usize::from(if nibble.is_multiple_of(2) { byte >> 4 } else { byte & 15 })];
    }
    out
}

fn ascii(text: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(text).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn request_ids_are_kept_if_fit_and_made_if_not() {
        assert_eq!(request_id(&headers("x-request-id", "a-7")), "a-7");
        for unfit in ["", "a b", &"x".repeat(129)] {
            let made = request_id(&headers("x-request-id", unfit));
            assert_eq!(made.len(), 16, "{unfit}");
        }
        assert_ne!(request_id(&HeaderMap::new()), request_id(&HeaderMap::new()));
    }

    #[test]
    fn a_trace_goes_on_with_its_own_span() {
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = Trace::of(&headers("traceparent", given), false);
        assert!(trace.is_sampled());
        assert_eq!(trace.parent_id, Some(0xb7ad_6b71_6920_3331));
        let header = trace.header();
        let header = header.to_str().unwrap();
        assert!(header.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && header.ends_with("-01"), "{header}");
        assert_eq!(Trace::of(&headers("traceparent", header), false).parent_id, Some(trace.span_id));
    }

    #[test]
    fn a_broken_traceparent_begins_a_trace() {
        let fine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(parse_traceparent(fine.as_bytes()).is_some());
        assert!(parse_traceparent(fine.replacen("00-", "42-", 1).replace("-01", "-01-more").as_bytes()).is_some());
        for broken in [
            "",
            "00",
            &fine.replacen("00-", "ff-", 1),
            &fine.replace("0af7", "0AF7"),
            &format!("{fine}-x"),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
        ] {
            assert_eq!(parse_traceparent(broken.as_bytes()), None, "{broken}");
        }
    }
}
