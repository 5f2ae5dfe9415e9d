//! Headers that pages of other origins may send and read.

use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName,
    RETRY_AFTER, WWW_AUTHENTICATE,
};
use axum::http::{HeaderValue, Method};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

const fn named(name: &'static str) -> HeaderName {
    HeaderName::from_static(name)
}

/// All request headers in `docs/serving.md`.
const ACCEPTED: [HeaderName; 10] = [
    CONTENT_TYPE,
    CONTENT_ENCODING,
    AUTHORIZATION,
    CACHE_CONTROL,
    named("x-api-key"),
    named("x-request-id"),
    named("x-deadline-ms"),
    named("traceparent"),
    named("tracestate"),
    named("inference-header-content-length"),
];

/// All response headers in `docs/serving.md`.
const EXPOSED: [HeaderName; 11] = [
    ACCEPT_ENCODING,
    ALLOW,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    RETRY_AFTER,
    WWW_AUTHENTICATE,
    named("x-request-id"),
    named("traceparent"),
    named("x-grice-cache"),
    named("server-timing"),
    named("inference-header-content-length"),
];

/// Allows pages of these origins; `None` without origins.
pub(crate) fn layer(origins: &[String]) -> Option<CorsLayer> {
    let allowed = match origins {
        [] => return None,
        [any] if any == "*" => AllowOrigin::any(),
        // Invalid header values were refused at the start.
        some => AllowOrigin::list(some.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST])
            .allow_headers(ACCEPTED)
            .expose_headers(EXPOSED)
            .max_age(Duration::from_secs(3600)),
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::Value;

    /// Names of headers in the OpenAPI description, in parameters and in answers.
    fn described(value: &Value, sent: &mut Vec<String>, answered: &mut Vec<String>) {
        if value["in"] == "header" {
            sent.push(value["name"].as_str().unwrap().to_ascii_lowercase());
        }
        for (name, inner) in value.as_object().into_iter().flatten() {
            if name == "headers" {
                answered.extend(inner.as_object().unwrap().keys().map(|name| name.to_ascii_lowercase()));
            }
            described(inner, sent, answered);
        }
        value.as_array().into_iter().flatten().for_each(|inner| described(inner, sent, answered));
    }

    #[test]
    fn pages_may_use_every_header_that_is_documented() {
        let (mut sent, mut answered) = (Vec::new(), Vec::new());
        let mut api: Value = serde_json::from_str(super::super::info::OPENAPI).unwrap();
        // These are names of descriptions, not of headers.
        api["components"].as_object_mut().unwrap().remove("headers");
        described(&api, &mut sent, &mut answered);
        let docs = include_str!("../../../../docs/serving.md");
        let table = docs.split("### Headers").nth(1).unwrap().split("\n###").next().unwrap();
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let name = cells[1].split(['`', ':']).nth(1).unwrap().to_ascii_lowercase();
            if !cells[2].is_empty() {
                sent.push(name.clone());
            }
            if !cells[3].is_empty() {
                answered.push(name);
            }
        }
        assert!(sent.len() > 8 && answered.len() > 8, "{sent:?} {answered:?}");
        // Browsers set it themselves; pages cannot.
        sent.retain(|name| name != "accept-encoding");
        for name in sent {
            assert!(ACCEPTED.iter().any(|known| known.as_str() == name), "no page may send {name}");
        }
        for name in answered {
            assert!(EXPOSED.iter().any(|known| known.as_str() == name), "no page may see {name}");
        }
    }
}
