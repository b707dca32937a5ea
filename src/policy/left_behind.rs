//! Which of a client's header fields no upstream ever gets.
//!
//! `proxy::forward` leaves them behind; `config` refuses a rule that reads one, since the upstream would never see what the
//! gateway judged by. It knows names only, no values.

/// Fields that are only about the connection they came on; `transfer-encoding` is the carrier's own.
const HOP_BY_HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
];

/// What clients may not tell upstreams: their place is ours, or the proxies' before us.
const RESERVED: &[&str] = &[
    "cf-connecting-ip",
    "forwarded",
    "proxy",
    "true-client-ip",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
];

/// Whether a client's field, by its lower-case name, stays behind.
///
/// Names with `_` all do: some upstreams read them as `-`, and then they are a second spelling.
#[must_use]
pub fn is_dropped(name: &str, forward_authorization: bool) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => {
            name.starts_with("x-auth-")
                || name.starts_with("x-forwarded-")
                || name.starts_with("x-envoy-")
                || RESERVED.contains(&name)
                || name.contains('_')
        }
        Some(b'a') if name == "authorization" => !forward_authorization,
        _ => RESERVED.contains(&name) || HOP_BY_HOP.contains(&name) || name.contains('_'),
    }
}
