//! The one table: what each reason says to the client.
//!
//! `match` without `_`: a new reason does not compile until it has its row. Operators may override
//! fields per reason in `[reasons.*]`.

use std::borrow::Cow;

use super::body::opening;
use crate::reason::Reason;

/// The wire form of one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// HTTP status.
    pub status: u16,
    /// `result`: the APIs' own code, a string.
    pub result: Cow<'static, str>,
    /// `msg`: the APIs' own text, or the phrase of RFC 9110.
    pub msg: Cow<'static, str>,
    /// `desc`: what the client can do about it.
    pub desc: Cow<'static, str>,
    /// `Retry-After` in seconds; `None` where waiting does not help.
    pub retry_after: Option<u32>,
}

fn row(status: u16, result: &'static str, msg: &'static str, desc: &'static str) -> Entry {
    Entry {
        status,
        result: Cow::Borrowed(result),
        msg: Cow::Borrowed(msg),
        desc: Cow::Borrowed(desc),
        retry_after: None,
    }
}

fn later(entry: Entry, seconds: u32) -> Entry {
    Entry { retry_after: Some(seconds), ..entry }
}

const HEADER: &str = "Invalid header used.";
const TOKEN: &str = "Token is not valid.";
const REQUEST: &str = "The request is invalid.";
const MISSING: &str = "Header is missing. Add a valid header.";

/// The default wire form of a reason: contract section 6.
#[must_use]
#[allow(clippy::too_many_lines, reason = "one table, a row a reason")]
pub fn default_entry(reason: Reason) -> Entry {
    match reason {
        Reason::RequestMalformed => {
            row(400, "1002", REQUEST, "The request line, a header or a parameter cannot be read in one way only.")
        }
        Reason::HeaderMissing => row(400, "400", MISSING, "A header that this call requires is missing."),
        Reason::HeaderInvalid => {
            row(401, "401", HEADER, "Send Authorization as `Basic base64(API ID:API KEY)` or `Token <token>`.")
        }
        Reason::CredentialInvalid => {
            row(401, "401", HEADER, "API ID and API KEY do not match, or are not for this API.")
        }
        Reason::CredentialExpired => {
            row(401, "401", HEADER, "The API KEY is outside its validity period; use a current one.")
        }
        Reason::TokenExpired => row(403, "403", "Token has expired.", "Log in again to get a new token."),
        Reason::TokenInvalid => row(401, "1001", TOKEN, "This is not a token of this API; log in to get one."),
        Reason::TokenRevoked => row(401, "1001", TOKEN, "The session has ended; log in again to get a new token."),
        Reason::LoginFailed => row(401, "1002", REQUEST, "E-mail, password and X-Api-Id do not belong together."),
        Reason::AccountSuspended => row(403, "1002", REQUEST, "The account is suspended; ask whoever manages it."),
        Reason::RoleForbidden => row(403, "1002", REQUEST, "Your role may not make this call."),
        Reason::ScopeForbidden => row(403, "1002", REQUEST, "The account named is not one that you may reach."),
        Reason::RouteNotFound => row(404, "404", "Not Found.", "There is no such call; check path and version."),
        Reason::MethodNotAllowed => {
            row(405, "405", "Method Not Allowed", "The path exists, but not with this method; see Allow.")
        }
        Reason::ValidationFailed => row(
            406,
            "406",
            "Unprocessable entity, validation failed.",
            "Send a JSON object with the strings `email` and `password`, each once, as application/json.",
        ),
        Reason::AppTypeMissing => row(406, "1401", "App type must be specified.", "Add the header X-App-Type."),
        Reason::AppTypeNotString => {
            row(406, "1402", "App type must be a string.", "Send X-App-Type once, with one word as its value.")
        }
        Reason::AppTypeUnknown => {
            row(406, "1403", "Only valid app-type should be passed.", "X-App-Type is not one that this call takes.")
        }
        Reason::RequestTimeout => {
            row(408, "408", "Request Timeout", "The request did not arrive in time; send it again.")
        }
        Reason::BodyTooLarge => row(413, "413", "Content Too Large", "The body is longer than this call takes."),
        Reason::UriTooLong => row(414, "414", "URI Too Long", "Path and query are longer than this gateway takes."),
        Reason::HeadersTooLarge => row(
            431,
            "431",
            "Request Header Fields Too Large",
            "The headers are longer or more than this gateway takes.",
        ),
        Reason::QuotaExceeded => {
            later(row(429, "429", "Too Many Requests", "The quota is used up; wait as long as Retry-After says."), 1)
        }
        Reason::LockedOut => later(
            row(429, "429", "Too Many Requests", "Too many failed attempts; wait as long as Retry-After says."),
            1,
        ),
        Reason::Internal => {
            row(500, "500", "Internal Server Error.", "The gateway failed; send the request id to support.")
        }
        Reason::UpstreamUnreachable => {
            row(502, "502", "Bad Gateway", "The service behind the gateway cannot be reached.")
        }
        Reason::UpstreamInvalid => {
            row(502, "502", "Bad Gateway", "The service behind the gateway broke off its answer.")
        }
        Reason::StoreUnavailable => later(
            row(
                503,
                "503",
                "Service Unavailable",
                "Sessions cannot be reached now. A token that you hold may still be valid; try again.",
            ),
            1,
        ),
        Reason::DirectoryUnavailable => {
            later(row(503, "503", "Service Unavailable", "Accounts cannot be looked up now; try again."), 1)
        }
        Reason::UpstreamUnavailable => later(
            row(503, "503", "Service Unavailable", "The service behind the gateway is not healthy; try again."),
            1,
        ),
        Reason::RouteDisabled => {
            later(row(503, "503", "Service Unavailable", "This call is switched off for now."), 60)
        }
        Reason::Overloaded => later(row(503, "503", "Service Unavailable", "The gateway is busy; try again."), 1),
        Reason::UpstreamTimeout => {
            row(504, "504", "Gateway Timeout", "The service behind the gateway did not answer in time.")
        }
    }
}

/// What an operator puts in place of a default; `None` keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Override {
    /// HTTP status.
    pub status: Option<u16>,
    /// `result`
    pub result: Option<String>,
    /// `msg`
    pub msg: Option<String>,
    /// `desc`
    pub desc: Option<String>,
}

/// The table in effect.
#[derive(Clone, Debug)]
pub struct Registry {
    entries: Vec<Entry>,
    /// Bodies up to the request's id, of the entries as they are.
    openings: Vec<Box<[u8]>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self::with([])
    }
}

impl Registry {
    /// The defaults with an operator's overrides.
    #[must_use]
    pub fn with(overrides: impl IntoIterator<Item = (Reason, Override)>) -> Self {
        let mut entries: Vec<_> = Reason::ALL.iter().map(|reason| default_entry(*reason)).collect();
        for (reason, change) in overrides {
            let Some(entry) = entries.get_mut(reason as usize) else { continue };
            entry.status = change.status.unwrap_or(entry.status);
            for (field, value) in
                [(&mut entry.result, change.result), (&mut entry.msg, change.msg), (&mut entry.desc, change.desc)]
            {
                if let Some(value) = value {
                    *field = value.into();
                }
            }
        }
        let rows = Reason::ALL.iter().zip(&entries);
        let openings = rows.map(|(reason, entry)| opening(*reason, entry, &entry.desc)).collect();
        Self { entries, openings }
    }

    /// The row of a reason.
    #[must_use]
    pub fn entry(&self, reason: Reason) -> &Entry {
        // The table has one row a reason from its making.
        &self.entries[reason as usize]
    }

    /// The body of a reason up to the request's id.
    pub(super) fn opening(&self, reason: Reason) -> &[u8] {
        &self.openings[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_refusal_with_texts() {
        assert!(!Reason::ALL.is_empty());
        for reason in Reason::ALL {
            let entry = default_entry(*reason);
            assert!((400..600).contains(&entry.status), "{reason}");
            assert!(!entry.result.is_empty() && !entry.msg.is_empty() && !entry.desc.is_empty(), "{reason}");
            assert_eq!(entry.status == 503 || entry.status == 429, entry.retry_after.is_some(), "{reason}");
            assert_ne!(entry.retry_after, Some(0), "{reason}");
        }
    }

    #[test]
    fn a_refused_role_does_not_look_like_an_expired_token() {
        let (role, expired) = (default_entry(Reason::RoleForbidden), default_entry(Reason::TokenExpired));
        assert_eq!((role.status, expired.status), (403, 403));
        assert_ne!(role.result, expired.result);
    }

    #[test]
    fn an_override_changes_what_it_names_and_nothing_else() {
        let change = Override { msg: Some("Nein.".into()), ..Override::default() };
        let registry = Registry::with([(Reason::RoleForbidden, change)]);
        assert_eq!(registry.entry(Reason::RoleForbidden).msg, "Nein.");
        assert_eq!(registry.entry(Reason::RoleForbidden).status, 403);
        assert_eq!(registry.entry(Reason::ScopeForbidden), &default_entry(Reason::ScopeForbidden));
    }
}
