//! The closed list of reasons for a reply that the gateway makes itself.
//!
//! Everything is keyed by it: the wire form (`problem`), the metrics, the access log, policy tests.
//! It deliberately knows no status code and no text: those stand once, in `problem::registry`.

use std::fmt;
use std::str::FromStr;

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)+) => {
        /// Why a request was refused or could not be served.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the declaration; `reason as usize` is its index.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// The name used on the wire, in logs, metrics and policy files.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Reason::$variant => $name,)+
                }
            }
        }
    };
}

reasons! {
    /// The request is not one that we forward: bad target, framing, Host, method or judged parameter.
    RequestMalformed = "request_malformed",
    /// A required header, `Authorization` included, is absent or empty.
    HeaderMissing = "header_missing",
    /// A header cannot be read, or names a scheme that the realm does not take.
    HeaderInvalid = "header_invalid",
    /// Unknown API id, wrong API key, or a credential of another realm.
    CredentialInvalid = "credential_invalid",
    /// The right key of a credential outside its validity period.
    CredentialExpired = "credential_expired",
    /// A genuine token past its `exp`.
    TokenExpired = "token_expired",
    /// Not a token of ours.
    TokenInvalid = "token_invalid",
    /// A genuine token whose session ended.
    TokenRevoked = "token_revoked",
    /// Unknown e-mail, wrong password, or a tenant that is not the user's.
    LoginFailed = "login_failed",
    /// The account, or one above it, is suspended.
    AccountSuspended = "account_suspended",
    /// The route does not allow the caller's role, or not from that network.
    RoleForbidden = "role_forbidden",
    /// The target account lies outside what the role may reach.
    ScopeForbidden = "scope_forbidden",
    /// No route has this path.
    RouteNotFound = "route_not_found",
    /// The path has routes, but none for this method.
    MethodNotAllowed = "method_not_allowed",
    /// The login body is not what it has to be.
    ValidationFailed = "validation_failed",
    /// `X-App-Type` is required and absent or empty.
    AppTypeMissing = "app_type_missing",
    /// `X-App-Type` is repeated or no token of RFC 9110.
    AppTypeNotString = "app_type_not_string",
    /// `X-App-Type` is none of the route's.
    AppTypeUnknown = "app_type_unknown",
    /// The client took too long to send its request.
    RequestTimeout = "request_timeout",
    /// The body is longer than the route allows.
    BodyTooLarge = "body_too_large",
    /// The request target is too long.
    UriTooLong = "uri_too_long",
    /// The header section is too long or has too many lines.
    HeadersTooLarge = "headers_too_large",
    /// A quota is used up.
    QuotaExceeded = "quota_exceeded",
    /// Too many failed attempts from this network.
    LockedOut = "locked_out",
    /// A fault of the gateway.
    Internal = "internal",
    /// The upstream cannot be connected to: refused, DNS, TLS.
    UpstreamUnreachable = "upstream_unreachable",
    /// The upstream broke off or did not speak HTTP.
    UpstreamInvalid = "upstream_invalid",
    /// The session store cannot answer.
    StoreUnavailable = "store_unavailable",
    /// The account directory cannot answer.
    DirectoryUnavailable = "directory_unavailable",
    /// No healthy upstream server.
    UpstreamUnavailable = "upstream_unavailable",
    /// The route is switched off in the policy.
    RouteDisabled = "route_disabled",
    /// The gateway has no room: connections or password checks.
    Overloaded = "overloaded",
    /// The upstream did not answer in time.
    UpstreamTimeout = "upstream_timeout",
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no reason of the registry.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no reason")]
pub struct UnknownReason(pub String);

impl FromStr for Reason {
    type Err = UnknownReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Reason::ALL.iter().copied().find(|reason| reason.name() == text).ok_or_else(|| UnknownReason(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_found_by_its_name_and_index() {
        assert_eq!(Reason::ALL.len(), 33);
        for (index, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
            assert_eq!(reason.name().parse(), Ok(*reason));
        }
        assert!("role-forbidden".parse::<Reason>().is_err());
    }
}
