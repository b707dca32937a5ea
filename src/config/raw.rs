//! The keys of `gateway.toml`, as they are written.
//!
//! Every key of the contract stands here with its meaning, unit and default, whether the gateway can
//! act on it yet or not. `settings` turns these into what the gateway runs with.

use super::spanned::Spanned;
use schemars::JsonSchema;
use serde::Deserialize;

use super::schema::texts::{Address, DirectoryUrl, Id, LogLevel, Network};
use super::value::{ByteRate, Period, SecretSource, ServerAddress, Size, TextSource};

/// `[server]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawServer {
    /// Addresses for clients, plain HTTP. Default `["127.0.0.1:8080"]`.
    #[schemars(with = "Option<Vec<Address>>", length(min = 1))]
    pub listen: Option<Vec<Spanned<String>>>,
    /// Address of the admin listener. Default `"127.0.0.1:8081"`.
    #[schemars(with = "Option<Address>")]
    pub admin: Option<Spanned<String>>,
    /// Bearer token of the admin listener; mandatory when it is not on loopback.
    pub admin_token: Option<Spanned<SecretSource>>,
    /// Worker threads; 0 is one per core. Default 0.
    #[schemars(range(max = 1024))]
    pub threads: Option<Spanned<u16>>,
    /// Networks whose `X-Forwarded-For` is believed. Default none.
    #[schemars(with = "Vec<Network>")]
    pub trusted_proxies: Vec<Spanned<String>>,
    /// Each connection starts with a PROXY protocol header. Default false.
    pub proxy_protocol: bool,
    /// How long running requests may finish after SIGTERM. Default `"20s"`.
    pub drain: Option<Period>,
    /// How long readiness is off before the listeners close. Default `"0s"`.
    pub pre_drain: Option<Period>,
    /// Directory of the pid file and the upgrade socket. Default `"/run/portcullis"`.
    pub runtime_dir: Option<String>,
    /// `"stdout"` or a path. Default `"stdout"`.
    pub access_log: Option<Spanned<String>>,
    /// `error`, `warn`, `info`, `debug` or `trace`. Default `"info"`.
    #[schemars(with = "Option<LogLevel>")]
    pub log: Option<Spanned<String>>,
}

/// `[server.tls]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "parsed from the start; TLS towards clients is not built yet")]
pub(super) struct RawServerTls {
    /// Addresses for clients, TLS.
    #[schemars(with = "Vec<Address>")]
    pub listen: Vec<Spanned<String>>,
    /// PEM chain, the server's own certificate first.
    pub certificate: Spanned<String>,
    /// PEM private key.
    pub key: Spanned<String>,
    /// PEM of the authority that clients must have a certificate of.
    pub client_ca: Option<Spanned<String>>,
}

/// `[server.limits]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[allow(dead_code, reason = "some limits are parsed before they are built")]
pub(super) struct RawLimits {
    /// Connections open at once. Default 20000.
    pub connections: Option<u32>,
    /// Of these, from one client network. Default 1000.
    pub per_network: Option<u32>,
    /// For a whole request head. Default `"10s"`.
    pub header_timeout: Option<Spanned<Period>>,
    /// Longest gap between two reads of a body. Default `"30s"`.
    pub body_timeout: Option<Spanned<Period>>,
    /// For one request. Default `"120s"`.
    pub total_timeout: Option<Spanned<Period>>,
    /// Of a connection between two requests. Default `"60s"`.
    pub idle_timeout: Option<Spanned<Period>>,
    /// Request line and header section together. Default `"32KiB"`.
    pub head_size: Option<Spanned<Size>>,
    /// Field lines of a header section. Default 100.
    #[schemars(range(min = 1, max = 250))]
    pub head_lines: Option<Spanned<u16>>,
    /// Path and query. Default `"8KiB"`.
    pub target_size: Option<Spanned<Size>>,
    /// Request body; a route may set its own. Default `"10MiB"`.
    pub body_size: Option<Spanned<Size>>,
    /// Slowest body that is waited for. Default `"1KiB/s"`.
    pub min_rate: Option<ByteRate>,
    /// Of a WebSocket opened with Basic. Default `"1h"`.
    pub upgrade_lifetime: Option<Period>,
    /// Of a WebSocket on which nothing moves. Default `"5m"`.
    pub upgrade_idle: Option<Period>,
}

/// `[token]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawToken {
    /// `iss` of the tokens. Default `"portcullis"`.
    pub issuer: Option<Spanned<String>>,
    /// Life of a token. Default `"20m"`.
    pub ttl: Option<Spanned<Period>>,
    /// Signing keys of at least 32 bytes: the first signs, all verify.
    #[schemars(length(min = 1))]
    pub keys: Option<Spanned<Vec<Spanned<RawKey>>>>,
    /// Verified tokens that a node keeps. Default 262144.
    #[schemars(range(min = 1))]
    pub cache: Option<Spanned<u32>>,
    /// How long a known token is honoured while the store is away; `"0s"` is not at all. Default `"20m"`.
    pub stale: Option<Spanned<Period>>,
    /// Sessions of one account; the oldest ends. Default 100.
    #[schemars(range(min = 1))]
    pub sessions_per_account: Option<Spanned<u32>>,
}

/// One of `token.keys`, or of `directory.peppers`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawKey {
    /// What records name it by: the `kid` of tokens, the pepper of a digest.
    #[schemars(with = "Id")]
    pub id: Spanned<String>,
    /// Its bytes.
    pub secret: Spanned<SecretSource>,
}

/// `[store]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawStore {
    /// Default `"memory:"`. One with a password may come from where secrets come from.
    pub url: Option<Spanned<TextSource>>,
    /// The longest a request waits for the store. Default `"50ms"`.
    pub budget: Option<Spanned<Period>>,
    /// Of every key. Default `"portcullis:"`.
    pub prefix: Option<Spanned<String>>,
    /// Replicas that must have a login or revocation. Default 0.
    pub replicas: Option<Spanned<u32>>,
    /// Authority and client certificate for `rediss:`.
    pub tls: Option<Spanned<RawStoreTls>>,
}

/// `store.tls`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStoreTls {
    /// PEM of the authority.
    pub ca: Option<Spanned<String>>,
    /// PEM of the client certificate.
    pub certificate: Option<Spanned<String>>,
    /// PEM of its key.
    pub key: Option<Spanned<String>>,
}

/// `[directory]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawDirectory {
    /// Default `"file:policies/accounts.toml"`.
    #[schemars(with = "Option<DirectoryUrl>")]
    pub url: Option<Spanned<String>>,
    /// The longest a request waits for the directory. Default `"200ms"`.
    pub budget: Option<Spanned<Period>>,
    /// How old a cached record may be where no change feed reaches us. Default `"30s"`.
    pub cache: Option<Spanned<Period>>,
    /// Records cached. Default 100000.
    #[schemars(range(min = 1))]
    pub cache_entries: Option<Spanned<u32>>,
    /// How long an unknown record is remembered as such. Default `"5s"`.
    pub negative: Option<Spanned<Period>>,
    /// Keys of `hmac-sha256:` digests, at least 32 bytes each.
    pub peppers: Vec<Spanned<RawKey>>,
    /// Bearer token for `https:`.
    pub token: Option<Spanned<SecretSource>>,
    /// PEM of our client certificate for `https:`.
    pub client_certificate: Option<Spanned<String>>,
    /// PEM of its key.
    pub client_key: Option<Spanned<String>>,
    /// PEM of the authority for `https:`.
    pub ca: Option<Spanned<String>>,
}

/// `[lockout]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawLockout {
    /// Failures of one identifier from one client network. Default 5.
    #[schemars(range(min = 1))]
    pub attempts: Option<Spanned<u32>>,
    /// Failures of one client network. Default 100.
    #[schemars(range(min = 1))]
    pub network_attempts: Option<Spanned<u32>>,
    /// Failures older than this are forgotten. Default `"15m"`.
    pub within: Option<Spanned<Period>>,
}

/// `[upstreams.NAME]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "some keys are parsed before they are built")]
pub(super) struct RawUpstream {
    /// Where it runs: `"host:port"`, or with a weight.
    #[schemars(length(min = 1))]
    pub servers: Spanned<Vec<Spanned<ServerAddress>>>,
    /// How a server is chosen. Default `"round_robin"`.
    pub balance: Option<RawBalance>,
    /// `"1.1"` or `"2"`. Default `"1.1"`.
    pub http: Option<RawHttp>,
    /// TLS towards the servers.
    pub tls: Option<RawUpstreamTls>,
    /// Active health checks.
    pub health: Option<RawHealth>,
    /// When a failing server is left out.
    pub eject: Option<RawEject>,
    /// Time limits.
    pub timeouts: Option<RawTimeouts>,
    /// After a failed connect, or of an idempotent request on a stale pooled connection. Default 1.
    #[schemars(range(max = 5))]
    pub retries: Option<Spanned<u8>>,
    /// Retries as a share of requests. Default 0.2.
    pub retry_budget: Option<f64>,
    /// When no request is sent at all. Default: never.
    pub breaker: Option<RawBreaker>,
}

/// `upstreams.NAME.balance`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawBalance {
    /// In turn, by weight.
    RoundRobin,
    /// The server with the fewest running requests.
    LeastRequests,
    /// An account stays with one server.
    AccountHash,
}

/// `upstreams.NAME.http`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(inline)]
pub(super) enum RawHttp {
    /// HTTP/1.1
    #[serde(rename = "1.1")]
    One,
    /// HTTP/2
    #[serde(rename = "2")]
    Two,
}

/// `upstreams.NAME.tls`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "parsed from the start; TLS towards upstreams is not built yet")]
pub(super) struct RawUpstreamTls {
    /// The name its certificate must have.
    pub server_name: Spanned<String>,
    /// PEM of the authority.
    pub ca: Option<String>,
    /// PEM of our certificate.
    pub client_certificate: Option<String>,
    /// PEM of its key.
    pub client_key: Option<String>,
}

/// `upstreams.NAME.health`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "parsed from the start; health checks are not built yet")]
pub(super) struct RawHealth {
    /// What is asked for.
    pub path: String,
    /// How often. Default `"5s"`.
    pub interval: Option<Period>,
    /// Bad answers in a row. Default 3.
    pub unhealthy_after: Option<u8>,
    /// Good answers in a row. Default 2.
    pub healthy_after: Option<u8>,
}

/// `upstreams.NAME.eject`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "parsed from the start; ejection is not built yet")]
pub(super) struct RawEject {
    /// Failures in a row.
    pub failures: u32,
    /// How long the server is left out.
    #[serde(rename = "for")]
    pub period: Period,
}

/// `upstreams.NAME.breaker`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawBreaker {
    /// So many requests that got no reply at all open it.
    #[schemars(range(min = 1, max = 10_000))]
    pub failures: Spanned<u32>,
    /// In which time.
    pub within: Spanned<Period>,
    /// How long it stays open; then one request tries.
    pub open_for: Spanned<Period>,
}

/// `timeouts` of an upstream or route
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTimeouts {
    /// Until a connection stands. Default `"1s"`.
    pub connect: Option<Spanned<Period>>,
    /// Longest gap between two reads. Default `"30s"`.
    pub read: Option<Spanned<Period>>,
    /// Longest gap between two writes. Default `"30s"`.
    pub write: Option<Spanned<Period>>,
    /// Of an unused connection. Default `"50s"`.
    pub idle: Option<Spanned<Period>>,
}

/// `[policies]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPolicies {
    /// The policy files in effect.
    #[schemars(length(min = 1))]
    pub include: Spanned<Vec<Spanned<String>>>,
    /// A second set, judged in shadow.
    #[serde(default)]
    pub candidate: Vec<Spanned<String>>,
    /// Share of its disagreements that is logged, 0 to 1. Default 0.01.
    #[schemars(range(min = 0, max = 1))]
    pub sample: Option<Spanned<f64>>,
}

/// `[reasons.NAME]`
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawReason {
    /// HTTP status, 400 to 599.
    #[schemars(range(min = 400, max = 599))]
    pub status: Option<Spanned<u16>>,
    /// `result` in the body.
    pub result: Option<String>,
    /// `msg` in the body.
    pub msg: Option<String>,
    /// `desc` in the body.
    pub desc: Option<String>,
}

/// `[otlp]`
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "parsed from the start; traces are not built yet")]
pub(super) struct RawOtlp {
    /// Address of the collector.
    pub endpoint: String,
    /// Share of requests that is traced. Default 0.01.
    pub sample: Option<f64>,
}
