//! API keys and rate limits.

use crate::problem::Problem;
use crate::{Access, ServeError};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use sha2::{Digest, Sha256};
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;

/// Shorter keys can be guessed.
const KEY_BYTES_LEAST: usize = 8;
const BEARER: &[u8] = b"bearer";

/// The keys, as hashes, so that the time of a comparison does not depend on the sent key.
pub(crate) struct Guard {
    keys: Vec<Key>,
    admin: Option<[u8; 32]>,
    clock: DefaultClock,
}

struct Key {
    hash: [u8; 32],
    rate: Option<DefaultDirectRateLimiter>,
}

/// The key that a route requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// None.
    Open,
    /// An API key, if keys are set; 401 without one.
    Key,
    /// The same, but with 403, as in GriceBench's own server.
    KeyOr403,
    /// The administrator's key.
    Admin,
}

impl Guard {
    /// # Errors
    /// [`ServeError::Setting`] for a key that is too short.
    pub(crate) fn new(access: &Access) -> Result<Guard, ServeError> {
        if access.keys.iter().chain(&access.admin_key).any(|key| key.len() < KEY_BYTES_LEAST) {
            let cause = format!("an API key needs at least {KEY_BYTES_LEAST} characters");
            return Err(ServeError::Setting { what: "API keys".to_owned(), cause });
        }
        let quota = NonZeroU32::new(access.rate_per_minute).map(|rate| {
            let burst = NonZeroU32::new(access.rate_burst).unwrap_or(rate);
            Quota::per_minute(rate).allow_burst(burst)
        });
        let key = |key: &String| Key { hash: hash(key.as_bytes()), rate: quota.map(RateLimiter::direct) };
        Ok(Guard {
            keys: access.keys.iter().map(key).collect(),
            admin: access.admin_key.as_ref().map(|key| hash(key.as_bytes())),
            clock: DefaultClock::default(),
        })
    }

    /// Whether a request with these headers is allowed.
    ///
    /// # Errors
    /// 401 or 403 without a valid key, 429 if the key has reached its rate limit, 404 for an admin route that is off.
    pub(crate) fn admit(&self, entry: Entry, headers: &HeaderMap) -> Result<(), Problem> {
        match entry {
            Entry::Open => Ok(()),
            Entry::Key | Entry::KeyOr403 if self.keys.is_empty() => Ok(()),
            Entry::Key => self.admit_key(headers, StatusCode::UNAUTHORIZED),
            Entry::KeyOr403 => self.admit_key(headers, StatusCode::FORBIDDEN),
            Entry::Admin => match &self.admin {
                None => Err(Problem::new(StatusCode::NOT_FOUND, "not-found", "admin routes are off; set an admin key")),
                Some(admin) => match given_key(headers) {
                    Some(given) if bool::from(hash(given).ct_eq(admin)) => Ok(()),
                    _ => Err(denied(StatusCode::UNAUTHORIZED)),
                },
            },
        }
    }

    fn admit_key(&self, headers: &HeaderMap, refusal: StatusCode) -> Result<(), Problem> {
        let given = hash(given_key(headers).ok_or_else(|| denied(refusal))?);
        let mut found = None;
        // Always compare all keys: the time must not show which one matched.
        for (place, key) in self.keys.iter().enumerate() {
            if bool::from(key.hash.ct_eq(&given)) {
                found = Some(place);
            }
        }
        let key = found.map(|place| &self.keys[place]).ok_or_else(|| denied(refusal))?;
        match key.rate.as_ref().map(|rate| rate.check()) {
            Some(Err(until)) => {
                let detail = "this key has reached its rate limit";
                let problem = Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate-limited", detail);
                Err(Problem { retry_after: Some(until.wait_time_from(self.clock.now())), ..problem })
            }
            _ => Ok(()),
        }
    }
}

/// The first key in a request; headers without a key count as absent.
fn given_key(headers: &HeaderMap) -> Option<&[u8]> {
    let filled = |key: &&[u8]| !key.is_empty();
    let own = headers.get_all("x-api-key").iter().map(|value| value.as_bytes().trim_ascii()).find(filled);
    own.or_else(|| headers.get_all(AUTHORIZATION).iter().filter_map(|value| bearer(value.as_bytes())).find(filled))
}

/// The token after `Bearer` (RFC 6750), in any case, with any number of spaces and tabs.
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.trim_ascii_start().split_at_checked(BEARER.len())?;
    let is_apart = rest.first().is_some_and(u8::is_ascii_whitespace);
    (is_apart && scheme.eq_ignore_ascii_case(BEARER)).then(|| rest.trim_ascii())
}

fn denied(status: StatusCode) -> Problem {
    Problem::new(status, "denied", "a valid API key is needed, in X-API-Key or as Authorization: Bearer")
}

fn hash(key: &[u8]) -> [u8; 32] {
    Sha256::digest(key).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn guard(rate_per_minute: u32, rate_burst: u32) -> Guard {
        let keys = vec!["first-key-1".to_owned(), "second-key".to_owned()];
        let admin_key = Some("the-admin-key".to_owned());
        Guard::new(&Access { keys, admin_key, rate_per_minute, rate_burst, cors_origins: Vec::new() }).unwrap()
    }

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[track_caller]
    fn check(guard: &Guard, entry: Entry, headers: &HeaderMap, expected: Option<u16>) {
        assert_eq!(guard.admit(entry, headers).err().map(|problem| problem.status.as_u16()), expected);
    }

    #[test]
    fn keys_open_what_they_are_for() {
        let guard = guard(0, 0);
        for headers in [with("x-api-key", "first-key-1"), with("authorization", "Bearer second-key")] {
            check(&guard, Entry::Key, &headers, None);
            check(&guard, Entry::KeyOr403, &headers, None);
            check(&guard, Entry::Admin, &headers, Some(401));
        }
        for headers in [HeaderMap::new(), with("x-api-key", "first-key"), with("authorization", "Basic second-key")] {
            check(&guard, Entry::Open, &headers, None);
            check(&guard, Entry::Key, &headers, Some(401));
            check(&guard, Entry::KeyOr403, &headers, Some(403));
        }
        check(&guard, Entry::Admin, &with("x-api-key", "the-admin-key"), None);
        check(&guard, Entry::Key, &with("x-api-key", "the-admin-key"), Some(401));
    }

    #[test]
    fn keys_are_found_however_the_headers_are_spelled() {
        let guard = guard(0, 0);
        let of = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
        };
        let bearer = "Bearer second-key";
        for fine in [
            &[("authorization", "bearer second-key")][..],
            &[("authorization", "BEARER   second-key  ")],
            &[("authorization", " Bearer\t \tsecond-key\t")],
            &[("authorization", bearer), ("authorization", "")],
            &[("authorization", ""), ("authorization", bearer)],
            &[("authorization", "Bearer "), ("authorization", bearer)],
            &[("authorization", "Basic YTpi"), ("authorization", bearer)],
            &[("x-api-key", ""), ("authorization", bearer)],
            &[("x-api-key", "  "), ("x-api-key", " second-key ")],
        ] {
            check(&guard, Entry::Key, &of(fine), None);
        }
        for wrong in [
            &[("authorization", "Bearersecond-key")][..],
            &[("authorization", "Bearer")],
            &[("authorization", "Bearer ")],
            &[("authorization", "second-key")],
            &[("authorization", "Bearer second-key x")],
            &[("x-api-key", "")],
            &[("x-api-key", "Bearer second-key")],
        ] {
            check(&guard, Entry::Key, &of(wrong), Some(401));
        }
    }

    #[test]
    fn without_keys_everyone_may_send_requests_except_to_admin_routes() {
        let guard = Guard::new(&Access::default()).unwrap();
        check(&guard, Entry::Key, &HeaderMap::new(), None);
        check(&guard, Entry::Admin, &with("x-api-key", "anything-at-all"), Some(404));
        assert!(Guard::new(&Access { keys: vec!["short".to_owned()], ..Access::default() }).is_err());
    }

    #[test]
    fn each_key_has_a_rate_of_its_own() {
        let guard = guard(1, 3);
        let first = with("x-api-key", "first-key-1");
        (0..3).for_each(|_| check(&guard, Entry::Key, &first, None));
        let problem = guard.admit(Entry::Key, &first).unwrap_err();
        assert_eq!(problem.status, StatusCode::TOO_MANY_REQUESTS);
        let retry = problem.retry_after.unwrap().as_secs();
        assert!((50..=60).contains(&retry), "{retry}");
        check(&guard, Entry::Key, &with("x-api-key", "second-key"), None);
    }
}
