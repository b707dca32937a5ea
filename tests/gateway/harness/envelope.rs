//! Contract section 6 as one assertion: everything that a denial must be, checked on every denial a test meets.

use crate::harness::response::Response;

impl Response {
    /// Asserts a whole denial: status, `result`, reason, message, headers.
    #[track_caller]
    pub(crate) fn assert_denied(&self, status: u16, result: &str, reason: &str) {
        self.assert_denied_one_of(status, result, &[reason]);
    }

    /// The same where the contract leaves the reason open between a few.
    #[track_caller]
    pub(crate) fn assert_denied_one_of(&self, status: u16, result: &str, reasons: &[&str]) {
        assert_eq!(self.status, status, "want {reasons:?}, got {self}");
        self.assert_denial_headers();
        let body = self.json();
        let mut keys: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["data", "desc", "msg", "result"], "{self}");
        assert_eq!(body["result"].as_str(), Some(result), "result is a string: {self}");
        let reason = self.reason();
        assert!(reasons.contains(&reason.as_str()), "want {reasons:?}, got {self}");
        assert_eq!(body["msg"].as_str(), Some(message(&reason)), "{self}");
        assert!(!body["desc"].as_str().expect("desc is a string").trim().is_empty(), "desc is empty: {self}");
        assert_eq!(body["data"]["request_id"].as_str(), Some(self.request_id().as_str()), "{self}");
    }

    /// What the head of any denial carries, HEAD's included.
    #[track_caller]
    pub(crate) fn assert_denial_headers(&self) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self}");
        assert!(!self.request_id().is_empty(), "{self}");
        let challenges = self.challenges();
        assert_eq!(
            challenges.contains("Token realm=\""),
            self.status == 401,
            "a 401 and only a 401 has a Token challenge: {self}"
        );
        if [429, 503].contains(&self.status) {
            let wait: u64 = self
                .header("retry-after")
                .and_then(|text| text.parse().ok())
                .unwrap_or_else(|| panic!("Retry-After: {self}"));
            assert!(wait > 0, "Retry-After is never 0: {self}");
        }
        if self.status == 405 {
            assert!(!self.all("allow").is_empty(), "405 without Allow: {self}");
        }
    }

    /// Asserts the challenges of a 401: Token always, Basic only when Basic was presented.
    #[track_caller]
    pub(crate) fn assert_challenges(&self, realm: &str, basic: bool) {
        let challenges = self.challenges();
        assert!(challenges.contains(&format!("Token realm=\"{realm}\"")), "{self}");
        let expected = format!("Basic realm=\"{realm}\", charset=\"UTF-8\"");
        assert_eq!(challenges.contains(&expected), basic, "Basic challenge: {self}");
        assert_eq!(challenges.contains("Basic"), basic, "Basic challenge: {self}");
    }

    fn challenges(&self) -> String {
        self.all("www-authenticate").join(", ")
    }
}

/// The `msg` of the contract's table; where it has none, the phrase of the status code's RFC.
fn message(reason: &str) -> &'static str {
    match reason {
        "request_malformed" | "login_failed" | "account_suspended" | "role_forbidden" | "scope_forbidden" => {
            "The request is invalid."
        }
        "header_missing" => "Header is missing. Add a valid header.",
        "header_invalid" | "credential_invalid" | "credential_expired" => "Invalid header used.",
        "token_expired" => "Token has expired.",
        "token_invalid" | "token_revoked" => "Token is not valid.",
        "route_not_found" => "Not Found.",
        "method_not_allowed" => "Method Not Allowed",
        "validation_failed" => "Unprocessable entity, validation failed.",
        "app_type_missing" => "App type must be specified.",
        "app_type_not_string" => "App type must be a string.",
        "app_type_unknown" => "Only valid app-type should be passed.",
        "request_timeout" => "Request Timeout",
        "body_too_large" => "Content Too Large",
        "uri_too_long" => "URI Too Long",
        "headers_too_large" => "Request Header Fields Too Large",
        "quota_exceeded" | "locked_out" => "Too Many Requests",
        "internal" => "Internal Server Error.",
        "upstream_unreachable" | "upstream_invalid" => "Bad Gateway",
        "store_unavailable" | "directory_unavailable" | "upstream_unavailable" | "route_disabled" | "overloaded" => {
            "Service Unavailable"
        }
        "upstream_timeout" => "Gateway Timeout",
        _ => panic!("{reason} is not in the contract's registry"),
    }
}
