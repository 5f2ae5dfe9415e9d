//! Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`.

use crate::problem::{Problem, ProblemTold};
use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

/// Whether a route's errors have this form.
pub(crate) fn is_route(route: &str) -> bool {
    matches!(route, "/v1/chat/completions" | "/v1/completions" | "/v1/embeddings" | "/v1/models/{model}")
}

/// A refusal in this form; other answers stay as they are.
pub(crate) fn refusal(answer: Response<Body>) -> Response<Body> {
    let Some(told) = answer.extensions().get::<ProblemTold>() else { return answer };
    let body = body(answer.status(), told.code, &told.detail).to_string();
    let (mut head, _) = answer.into_parts();
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Response::from_parts(head, Body::from(body))
}

/// The same for an error in the middle of a stream.
pub(super) fn of(problem: &Problem) -> Value {
    body(problem.status, problem.code, &problem.detail)
}

fn body(status: StatusCode, code: &str, detail: &str) -> Value {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    // As clients of that interface know them.
    let code = match code {
        "no-such-model" => "model_not_found",
        "denied" => "invalid_api_key",
        "rate-limited" => "rate_limit_exceeded",
        other => other,
    };
    json!({ "error": { "message": detail, "type": kind, "param": param_of(detail), "code": code } })
}

/// The field that an error begins with.
fn param_of(detail: &str) -> Option<&str> {
    let (name, _) = detail.strip_prefix('`')?.split_once('`')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '[' | ']');
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_at_fault_is_a_parameter() {
        assert_eq!(param_of("`messages[1].role` is `tool`; it must be another"), Some("messages[1].role"));
        assert_eq!(param_of("the model `a` is another"), None);
        assert_eq!(param_of("`unended"), None);
        let error = body(StatusCode::NOT_FOUND, "no-such-model", "no model is called `x`");
        assert_eq!(error["error"]["code"], "model_not_found");
        assert_eq!(
            (&error["error"]["param"], &error["error"]["type"]),
            (&Value::Null, &json!("invalid_request_error"))
        );
    }
}
