//! A refusal in its wire form: status, headers and the APIs' JSON body, as plain data.
//!
//! Whoever holds the connection writes it; nothing here knows one.

use bytes::Bytes;
use http::HeaderValue;
use serde::Serialize;

use super::body::{body, opening};
use super::registry::Registry;
use crate::policy::credential::Scheme;
use crate::policy::decision::Hint;
use crate::reason::Reason;

/// A refusal or failure on its way to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What it is.
    pub reason: Reason,
    /// What would help.
    pub hint: Hint,
    /// `WWW-Authenticate`, wherever the status is 401.
    pub challenge: Challenge,
}

/// Which credentials a 401 asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The realm's name; empty where no realm owns the path.
    pub realm: Box<str>,
    /// What was presented.
    pub presented: Option<Scheme>,
}

/// A whole reply of the gateway's own, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Names and values; `Content-Length` is left to the writer.
    pub headers: Vec<(&'static str, HeaderValue)>,
    /// JSON.
    pub body: Bytes,
}

impl Problem {
    /// A problem without hint or challenge.
    #[must_use]
    pub fn plain(reason: Reason) -> Self {
        Self { reason, hint: Hint::None, challenge: Challenge::default() }
    }

    /// Its wire form.
    #[must_use]
    pub fn reply(&self, registry: &Registry, request_id: &str) -> Reply {
        let entry = registry.entry(self.reason);
        let body = match self.desc(&entry.desc) {
            Some(desc) => body(&opening(self.reason, entry, &desc), request_id),
            None => body(registry.opening(self.reason), request_id),
        };
        let mut reply = reply(entry.status, body, request_id);
        if entry.status == 401 {
            self.challenge.write(&mut reply.headers);
        }
        if let Hint::Allow(methods) = &self.hint {
            push(&mut reply.headers, "Allow", methods.to_string());
        }
        let hinted = if let Hint::RetryAfter(seconds) = self.hint { Some(seconds.max(1)) } else { None };
        if let Some(seconds) = hinted.or(entry.retry_after) {
            reply.headers.push(("Retry-After", seconds.into()));
        }
        reply
    }

    /// `desc`, where the hint makes another of it than the registry has.
    fn desc(&self, registered: &str) -> Option<String> {
        match &self.hint {
            Hint::Header(name) => Some(format!("Add the header {}.", header_case(name))),
            Hint::AppTypes(types) => Some(format!("{registered} This call takes: {}.", types.join(", "))),
            Hint::None | Hint::Allow(_) | Hint::RetryAfter(_) => None,
        }
    }
}

/// A JSON reply that nobody may keep a copy of.
#[must_use]
pub fn json_reply(status: u16, body: &impl Serialize, request_id: &str) -> Reply {
    // Strings and numbers always serialise; an empty body would still carry the status.
    reply(status, serde_json::to_vec(body).unwrap_or_default(), request_id)
}

fn reply(status: u16, body: Vec<u8>, request_id: &str) -> Reply {
    // Room for what a refusal adds, and for the fields of its quota.
    let mut headers = Vec::with_capacity(8);
    headers.extend(json_headers());
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.push(("X-Request-Id", id));
    }
    Reply { status, headers, body: body.into() }
}

/// The fields of JSON that nobody may keep a copy of.
#[must_use]
pub const fn json_headers() -> [(&'static str, HeaderValue); 2] {
    [
        ("Content-Type", HeaderValue::from_static("application/json")),
        ("Cache-Control", HeaderValue::from_static("no-store")),
    ]
}

/// Adds a field; one that is no text of a header is left out.
fn push(headers: &mut Vec<(&'static str, HeaderValue)>, name: &'static str, value: String) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.push((name, value));
    }
}

impl Challenge {
    /// `Basic` is asked for only when it was presented: browsers answer it with a dialog of their own.
    fn write(&self, headers: &mut Vec<(&'static str, HeaderValue)>) {
        let name = if self.realm.is_empty() { "portcullis" } else { &self.realm };
        push(headers, "WWW-Authenticate", format!("Token realm=\"{name}\""));
        if self.presented == Some(Scheme::Basic) {
            push(headers, "WWW-Authenticate", format!("Basic realm=\"{name}\", charset=\"UTF-8\""));
        }
    }
}

/// `x-api-id` → `X-Api-Id`.
fn header_case(name: &str) -> String {
    let mut start = true;
    let shown = name.chars().map(|letter| {
        let shown = if start { letter.to_ascii_uppercase() } else { letter };
        start = letter == '-';
        shown
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::method::{Method, MethodSet};

    fn header<'a>(reply: &'a Reply, name: &str) -> Vec<&'a str> {
        reply.headers.iter().filter(|(known, _)| *known == name).map(|(_, value)| value.to_str().unwrap()).collect()
    }

    #[test]
    fn the_body_is_the_apis_own_envelope() {
        let reply = Problem::plain(Reason::TokenExpired).reply(&Registry::default(), "r-1");
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        let expected = serde_json::json!({"result": "403", "msg": "Token has expired.",
            "desc": "Log in again to get a new token.", "data": {"reason": "token_expired", "request_id": "r-1"}});
        assert_eq!(body, expected);
        assert_eq!((reply.status, header(&reply, "X-Request-Id")), (403, vec!["r-1"]));
        assert!(header(&reply, "WWW-Authenticate").is_empty());
    }

    #[test]
    fn a_challenge_names_basic_only_when_it_was_presented() {
        let challenge = |presented| {
            let challenge = Challenge { realm: "ucaas".into(), presented };
            let problem = Problem { reason: Reason::HeaderInvalid, hint: Hint::None, challenge };
            header(&problem.reply(&Registry::default(), "r"), "WWW-Authenticate").join("; ")
        };
        assert_eq!(challenge(None), "Token realm=\"ucaas\"");
        assert_eq!(challenge(Some(Scheme::Token)), "Token realm=\"ucaas\"");
        assert!(challenge(Some(Scheme::Basic)).ends_with("Basic realm=\"ucaas\", charset=\"UTF-8\""));
    }

    #[test]
    fn hints_reach_the_client_and_retries_have_a_time() {
        let mut allowed = MethodSet::NONE;
        allowed.insert(Method::Get);
        let problem = |reason, hint| Problem { reason, hint, challenge: Challenge::default() };
        let reply = problem(Reason::MethodNotAllowed, Hint::Allow(allowed)).reply(&Registry::default(), "r");
        assert_eq!(header(&reply, "Allow"), ["GET"]);
        let reply = problem(Reason::HeaderMissing, Hint::Header("x-api-id".into())).reply(&Registry::default(), "r");
        assert!(String::from_utf8_lossy(&reply.body).contains("Add the header X-Api-Id."));
        let reply = Problem::plain(Reason::StoreUnavailable).reply(&Registry::default(), "r");
        assert_eq!(header(&reply, "Retry-After"), ["1"]);
    }
}
