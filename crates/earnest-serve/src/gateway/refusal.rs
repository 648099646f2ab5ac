//! Everything the gateway says no with, in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`, so that
//! every SDK raises the error its users know. The only file that chooses an HTTP status.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::openai::fault::Fault;
use crate::openai::request::BadRequest;

/// Why a request is not answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No key, or none that is known.
    Key(String),
    /// The key may not do that.
    Forbidden(String),
    /// The request says something that cannot be; the parameter, if it is one.
    Bad(String, Option<String>),
    /// What a provider found wrong with the request: its reason, in OpenAI's shape.
    Told(StatusCode, Box<Fault>),
    /// The body is coded as nothing that is understood.
    Coding(String),
    /// No such model, receipt or page.
    Missing(String, &'static str),
    /// This method is not for this path.
    Method,
    /// The body is longer than this many bytes.
    TooLarge(usize),
    /// The body did not come in time.
    TooSlow,
    /// The same `Idempotency-Key` with another body, or still running.
    Conflict(String),
    /// What is signed for, deposited or allowed to the key does not reach.
    Quota(String),
    /// Too much at once; seconds to wait.
    Busy(String, u64),
    /// No provider could answer; seconds to wait.
    NoProvider(String, u64),
    /// The provider's answer cannot be used.
    Upstream(String),
    /// The provider took too long.
    Timeout(String),
    /// The gateway itself.
    Internal(String),
}

impl From<BadRequest> for Refusal {
    fn from(BadRequest { why, field }: BadRequest) -> Self {
        Refusal::Bad(why, field)
    }
}

impl Refusal {
    fn parts(&self) -> (StatusCode, &str, Option<&str>, Option<&str>, &str) {
        use StatusCode as S;
        const BAD: &str = "invalid_request_error";
        match self {
            Refusal::Told(status, fault) => {
                let why = fault
                    .message
                    .as_deref()
                    .unwrap_or("the provider refused the request and did not say why");
                // Another server's moderation is no matter of permission here.
                let status = if *status == S::FORBIDDEN { S::BAD_REQUEST } else { *status };
                (
                    status,
                    fault.kind.as_deref().unwrap_or(BAD),
                    fault.param.as_deref(),
                    fault.code.as_deref(),
                    why,
                )
            }
            Refusal::Coding(why) => {
                (S::UNSUPPORTED_MEDIA_TYPE, BAD, None, Some("unsupported_content_encoding"), why)
            }
            Refusal::Key(why) => (S::UNAUTHORIZED, BAD, None, Some("invalid_api_key"), why),
            Refusal::Forbidden(why) => (S::FORBIDDEN, "permission_error", None, Some("not_allowed"), why),
            Refusal::Bad(why, param) => (S::BAD_REQUEST, BAD, param.as_deref(), None, why),
            Refusal::Missing(why, code) => (S::NOT_FOUND, BAD, None, Some(code), why),
            Refusal::Method => {
                (S::METHOD_NOT_ALLOWED, BAD, None, Some("method_not_allowed"), "this path has other methods")
            }
            Refusal::TooLarge(_) => (S::PAYLOAD_TOO_LARGE, BAD, None, Some("request_too_large"), ""),
            Refusal::TooSlow => {
                (S::REQUEST_TIMEOUT, BAD, None, Some("request_timeout"), "the body did not come in time")
            }
            Refusal::Conflict(why) => (S::CONFLICT, BAD, None, Some("idempotency_conflict"), why),
            Refusal::Quota(why) => {
                (S::TOO_MANY_REQUESTS, "insufficient_quota", None, Some("insufficient_quota"), why)
            }
            Refusal::Busy(why, _) => {
                (S::TOO_MANY_REQUESTS, "rate_limit_error", None, Some("rate_limit_exceeded"), why)
            }
            Refusal::NoProvider(why, _) => {
                (S::SERVICE_UNAVAILABLE, "server_error", None, Some("no_provider"), why)
            }
            Refusal::Upstream(why) => {
                (S::BAD_GATEWAY, "server_error", None, Some("bad_provider_answer"), why)
            }
            Refusal::Timeout(why) => {
                (S::GATEWAY_TIMEOUT, "server_error", None, Some("provider_timeout"), why)
            }
            Refusal::Internal(why) => (S::INTERNAL_SERVER_ERROR, "server_error", None, None, why),
        }
    }

    /// The status it is answered with.
    pub fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// In words.
    pub fn why(&self) -> &str {
        self.parts().4
    }

    /// The body, for where it cannot be a response: in the middle of a stream.
    pub fn body(&self) -> String {
        let (_, kind, param, code, why) = self.parts();
        let message = match self {
            Refusal::TooLarge(most) => format!("the body is longer than {most} bytes"),
            _ => why.to_owned(),
        };
        json!({"error": {"message": message, "type": kind, "param": param, "code": code}}).to_string()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let json = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let mut response = (self.status(), json, self.body()).into_response();
        let headers = response.headers_mut();
        match self {
            Refusal::Busy(_, wait) | Refusal::NoProvider(_, wait) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
            }
            // SDKs would try these again, and nothing would have changed.
            Refusal::Quota(_) | Refusal::Conflict(_) | Refusal::TooSlow | Refusal::Internal(_) => {
                headers.insert("x-should-retry", HeaderValue::from_static("false"));
            }
            Refusal::Key(_) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }
}
