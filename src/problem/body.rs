//! The APIs' JSON body of a refusal.
//!
//! All but the request's id is the same for each refusal of a kind: `registry` keeps that part ready, `envelope` adds the id,
//! and renders anew only what a hint changes.

use serde::Serialize;

use super::registry::Entry;
use crate::reason::Reason;
use crate::telemetry::access_line::append_text;

#[derive(Serialize)]
struct Envelope<'a> {
    result: &'a str,
    msg: &'a str,
    desc: &'a str,
    data: Detail<'a>,
}

/// The id stands last, so that a body can be cut before it.
#[derive(Serialize)]
struct Detail<'a> {
    reason: &'static str,
    request_id: &'a str,
}

/// What stands behind the opening of an envelope whose id is empty.
const NO_ID: &[u8] = b"\"\"}}";

/// The body up to the request's id.
pub(super) fn opening(reason: Reason, entry: &Entry, desc: &str) -> Box<[u8]> {
    let data = Detail { reason: reason.name(), request_id: "" };
    let envelope = Envelope { result: &entry.result, msg: &entry.msg, desc, data };
    // Strings always serialise.
    let whole = serde_json::to_vec(&envelope).unwrap_or_default();
    whole.strip_suffix(NO_ID).unwrap_or_default().into()
}

/// The whole body.
pub(super) fn body(opening: &[u8], request_id: &str) -> Vec<u8> {
    let mut body = Vec::with_capacity(opening.len() + request_id.len() + NO_ID.len());
    body.extend_from_slice(opening);
    append_text(request_id, &mut body);
    body.extend_from_slice(b"}}");
    body
}
