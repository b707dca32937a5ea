//! What an upstream is told of a permitted request, beyond the request itself.
//!
//! `proxy::forward` sends it and `explain` shows it; both from here, so that they cannot differ.

use super::ladder::Permit;
use super::route::Realm;

/// All identity headers that there are.
pub const IDENTITY_HEADERS: [&str; 8] = [
    "X-Auth-Realm",
    "X-Auth-Account",
    "X-Auth-Role",
    "X-Auth-Lineage",
    "X-Auth-Scheme",
    "X-Auth-Credential",
    "X-Auth-Scope",
    "X-Auth-Target",
];

/// How a request came, as far as its upstream is told of it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// `X-Request-Id`
    pub request_id: &'a str,
    /// `X-Forwarded-For`: the verified chain and the peer.
    pub chain: &'a str,
    /// `X-Forwarded-Proto`: `https` or `http`.
    pub protocol: &'a str,
    /// `X-Forwarded-Host`: the Host that the client named.
    pub host: &'a str,
}

/// Calls `tell` with everything that an upstream is told: who calls, and how the request came.
pub fn told_headers<'p>(
    permit: &'p Permit,
    realm: &'p Realm,
    arrival: Arrival<'p>,
    mut tell: impl FnMut(&'static str, &'p str),
) {
    identity_headers(permit, realm, &mut tell);
    tell("X-Request-Id", arrival.request_id);
    tell("X-Forwarded-For", arrival.chain);
    tell("X-Forwarded-Proto", arrival.protocol);
    tell("X-Forwarded-Host", arrival.host);
}

/// Calls `tell` with each identity header; with none on a public route.
pub fn identity_headers<'p>(permit: &'p Permit, realm: &'p Realm, mut tell: impl FnMut(&'static str, &'p str)) {
    let Some(principal) = permit.principal() else { return };
    let lineage = &principal.account.lineage;
    tell("X-Auth-Realm", &realm.name);
    tell("X-Auth-Account", lineage.id());
    tell("X-Auth-Role", lineage.role());
    tell("X-Auth-Lineage", lineage.as_str());
    tell("X-Auth-Scheme", principal.scheme.name());
    tell("X-Auth-Credential", &principal.credential);
    if let Some(scope) = permit.scope() {
        tell("X-Auth-Scope", scope.name());
    }
    if let Some(target) = permit.target() {
        tell("X-Auth-Target", target);
    }
}
