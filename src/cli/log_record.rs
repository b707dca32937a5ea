//! A line of the access log, read back: who asked for what, and what came of it.
//!
//! Called by `why` and `replay`. A line holds neither headers nor the query, so not every rule can be judged by it again.

use std::net::IpAddr;

use serde::Deserialize;

/// What of a line a judgement needs. Whatever else stands in it is not read.
#[derive(Clone, Debug, Deserialize)]
#[allow(missing_docs, reason = "the fields of `AccessLine`, by their own names")]
#[allow(dead_code, reason = "the verbs that read it are being built")]
pub(super) struct Record {
    pub time: String,
    pub request_id: String,
    pub client: IpAddr,
    pub realm: Option<String>,
    pub route: Option<String>,
    pub method: String,
    pub path: String,
    pub status: u16,
    pub outcome: String,
    pub reason: Option<String>,
    pub cause: Option<String>,
    pub role: Option<String>,
    pub account: Option<String>,
    pub credential: Option<String>,
    pub scheme: Option<String>,
    pub lineage: Option<String>,
    pub target: Option<String>,
    pub relation: String,
    pub scope: Option<String>,
    pub app_type: Option<String>,
    pub quota: Option<String>,
    pub upstream: Option<String>,
    pub revision: String,
}
