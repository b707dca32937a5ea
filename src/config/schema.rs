//! The JSON Schemas of the files, from the types that parse them, so that editors complete keys and linters refuse what
//! `check` would.
//!
//! Called by `cli::schema`, and by `directory` for its own file. The readers take a file apart table by table, so only here
//! each file is one type; tests hold it to the keys that the readers know. A schema cannot see across tables: names that must
//! exist, quotas that nobody uses and the like stay `check`'s.

#[cfg(test)]
pub(crate) mod judge;
mod polish;
pub mod texts;
mod values;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use self::texts::Named;
use super::policy_file::{RawFixture, RawLogin, RawQuota, RawRealm, RawRoute, RawTest};
use super::raw::{
    RawDirectory, RawLimits, RawLockout, RawOtlp, RawPolicies, RawReason, RawServer, RawServerTls, RawStore, RawToken,
    RawUpstream,
};
use crate::problem::registry::default_entry;
use crate::reason::Reason;

/// Settings of a Portcullis gateway: `gateway.toml`.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its shape is used; the reader takes the sections one by one")]
struct GatewayFile {
    /// Listeners, access log, shutdown.
    server: Option<ServerTable>,
    /// Tokens that a login hands out.
    token: Option<RawToken>,
    /// What gateways share: sessions, revocations, lock-outs, quotas.
    store: Option<RawStore>,
    /// Where accounts and credentials come from.
    directory: Option<RawDirectory>,
    /// When guessing is stopped.
    lockout: Option<RawLockout>,
    /// The services behind the gateway, by the names that policies use.
    upstreams: Option<Named<RawUpstream>>,
    /// Which policy files are in effect.
    policies: RawPolicies,
    /// What a refusal says, by reason.
    reasons: Option<Reasons>,
    /// NOT YET: traces to an OpenTelemetry collector.
    otlp: Option<RawOtlp>,
}

/// `[server]` with its sub-tables.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its shape is used; the reader takes the sub-tables out first")]
struct ServerTable {
    #[serde(flatten)]
    keys: RawServer,
    /// NOT YET: TLS towards clients.
    tls: Option<RawServerTls>,
    /// Protection against slow, huge and flooding clients.
    limits: Option<RawLimits>,
}

/// A policy of a Portcullis gateway: who may call what of one API, on whose data, how often, and which service answers.
#[derive(JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "only its shape is used; the reader takes the tables one by one")]
struct PolicyFile {
    /// The API that this file is about.
    realm: RawRealm,
    /// Login and logout, answered by the gateway itself.
    login: Option<RawLogin>,
    /// Allowances, by the names that `quotas` of realm, login and routes use.
    quota: Option<Named<RawQuota>>,
    /// What may be called; whatever is not written is refused.
    route: Option<Vec<RawRoute>>,
    /// The accounts that the tests use.
    fixture: Option<RawFixture>,
    /// What `portcullis test` runs; live traffic never sees them.
    test: Option<Vec<RawTest>>,
}

/// `[reasons.*]`: a table for each reason of the registry.
struct Reasons;

impl JsonSchema for Reasons {
    fn schema_name() -> Cow<'static, str> {
        "Reasons".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut properties = BTreeMap::new();
        for reason in Reason::ALL {
            let entry = default_entry(*reason);
            let mut schema = generator.subschema_for::<RawReason>();
            let told = format!("Default: {}, \"{}\" \"{}\" {}", entry.status, entry.result, entry.msg, entry.desc);
            schema.insert("description".to_owned(), told.into());
            properties.insert(reason.name(), schema);
        }
        json_schema!({ "type": "object", "properties": properties, "additionalProperties": false })
    }
}

/// The schema of `gateway.toml`.
#[must_use]
pub fn gateway() -> Value {
    of::<GatewayFile>("gateway")
}

/// The schema of a policy file.
#[must_use]
pub fn policy() -> Value {
    of::<PolicyFile>("policy")
}

/// The schema of a whole file: draft 7, which is what editors of TOML read best.
#[must_use]
pub fn of<T: JsonSchema>(name: &str) -> Value {
    let mut settings = SchemaSettings::draft07();
    // First, since what follows moves things that belong together apart.
    settings.transforms.insert(0, Box::new(polish::polish));
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.insert("$id".to_owned(), format!("urn:portcullis:schema:{name}").into());
    schema.insert("title".to_owned(), format!("portcullis {name} file").into());
    schema.into()
}
