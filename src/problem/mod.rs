//! What the client sees of a refusal or failure.
//!
//! `registry` is the one table of status, result, msg and desc; `envelope` makes the wire form; `quota_fields` says what is
//! left of a quota, on answers of any kind. Nothing outside this module knows a status code for a refusal.

mod body;
pub mod envelope;
pub mod quota_fields;
pub mod registry;
