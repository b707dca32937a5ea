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
