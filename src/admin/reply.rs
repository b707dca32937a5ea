//! What the admin listener sends: JSON for everything but the two texts that probes and scrapers read.
//!
//! Used by its other files. A refusal is a value until it becomes a response here, so that each is worded once.

use http::{Response, StatusCode, header};
use serde::Serialize;
use serde_json::{Value, json};

use super::door;

/// Why an operator's request is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("there is nothing at this path")]
    NoSuchPath,
    #[error("this path takes {0}")]
    Method(&'static str),
    #[error("send the admin token as `Authorization: Bearer …`")]
    Token,
    #[error("the Host header is not this listener's; call it by its own address")]
    Host,
    #[error("send `Content-Type: application/json`")]
    ContentType,
    #[error("the body is longer than 64 KiB")]
    TooLong,
    #[error("the body did not come in time")]
    TooSlow,
    #[error("{0}")]
    Malformed(String),
    #[error("the directory has no account `{0}`")]
    UnknownAccount(String),
    #[error("{0}; try again")]
    Away(&'static str),
    #[error("the files were not taken over")]
    Reload(Value),
    #[error("{0}")]
    Internal(&'static str),
}

impl Refusal {
    pub(super) fn into_response(self) -> Response<Vec<u8>> {
        let status = match &self {
            Self::NoSuchPath | Self::UnknownAccount(_) => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::ContentType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Away(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Reload(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut body = json!({ "error": self.to_string() });
        let header = match self {
            Self::NoSuchPath => {
                body["paths"] = json!(door::paths());
                None
            }
            Self::Reload(faults) => {
                body = json!({ "faults": faults });
                None
            }
            Self::Method(allow) => Some((header::ALLOW, allow)),
            Self::Token => Some((header::WWW_AUTHENTICATE, "Bearer")),
            Self::Away(_) => Some((header::RETRY_AFTER, "1")),
            Self::Host
            | Self::ContentType
            | Self::TooLong
            | Self::TooSlow
            | Self::Malformed(_)
            | Self::UnknownAccount(_)
            | Self::Internal(_) => None,
        };
        let mut response = sent(status, &body);
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, header::HeaderValue::from_static(value));
        }
        response
    }
}

/// 200 with a JSON body.
pub(super) fn json_ok(body: &impl Serialize) -> Response<Vec<u8>> {
    sent(StatusCode::OK, body)
}

/// Any status with a JSON body.
pub(super) fn sent(status: StatusCode, body: &impl Serialize) -> Response<Vec<u8>> {
    let mut bytes = serde_json::to_vec(body).unwrap_or_default();
    bytes.push(b'\n');
    response(status, "application/json", bytes)
}

/// 200 with a text.
pub(super) fn text(body: &str) -> Response<Vec<u8>> {
    response(StatusCode::OK, "text/plain; charset=utf-8", body.as_bytes().to_vec())
}

pub(super) fn response(status: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    let built = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_LENGTH, body.len())
        .body(body);
    // All of it is constant or a number, so it always builds.
    built.unwrap_or_default()
}
