//! The one list of metrics: name, help, labels. All labels come from closed sets.

/// One metric.
pub struct Name {
    /// Without a prefix it would clash with others' metrics.
    pub name: &'static str,
    /// What it counts or measures, with the unit.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
}

macro_rules! names {
    ($($constant:ident = $name:literal, [$($label:literal),*], $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: Name =
                Name { name: concat!("portcullis_", $name), help: $help, labels: &[$($label),*] };
        )+
        /// All of them.
        pub const ALL: &[&Name] = &[$(&$constant,)+];
    };
}

names! {
    REQUESTS = "requests_total", ["realm", "route", "role", "outcome"], "Requests by outcome: permitted, denied, failed, client_gone.";
    DENIALS = "denials_total", ["realm", "reason"], "Replies that the gateway made itself, by reason.";
    REQUEST_DURATION = "request_duration_seconds", ["realm", "route"], "From the request head to the end of the reply.";
    GATEWAY_DURATION = "gateway_duration_seconds", ["realm"], "Time spent in the gateway, without the upstream's.";
    IN_FLIGHT = "requests_in_flight", [], "Requests being worked on.";
    CONNECTIONS = "connections", [], "Open client connections.";
    LOGINS = "logins_total", ["realm", "outcome"], "Logins: granted, or the reason of the refusal.";
    TOKENS_REVOKED = "tokens_revoked_total", ["by"], "Sessions ended before their time.";
    TOKEN_VERIFICATIONS = "token_verifications_total", ["kid"], "Token signatures that proved good, by key.";
    TOKEN_CACHE = "token_cache_total", ["result"], "Verified tokens looked for in the node's cache: hit, miss, revalidated, stale (honoured while the store is away).";
    TOKEN_CACHE_ENTRIES = "token_cache_entries", [], "Verified tokens kept.";
    LOCKOUTS = "lockouts_total", ["kind"], "Locks that were set: pair, network, email.";
    FEED_UP = "feed_up", [], "1 while invalidations are heard; without them every known token is revalidated on use.";
    SESSIONS_MISSING = "sessions_missing_total", [], "Genuine, unexpired tokens without a session: logged out, evicted, or the store was emptied.";
    STORE_UP = "store_up", [], "1 when the store answered last.";
    STORE_DURATION = "store_duration_seconds", ["op"], "Waiting for the store.";
    STORE_ERRORS = "store_errors_total", ["op", "kind"], "Calls that the store did not answer.";
    DIRECTORY_UP = "directory_up", [], "1 when the directory answered, or its file could be read, last time.";
    DIRECTORY_DURATION = "directory_duration_seconds", ["op"], "Waiting for the directory; what its cache answers is not counted.";
    DIRECTORY_ERRORS = "directory_errors_total", ["op", "kind"], "Look-ups that the directory did not answer.";
    DIRECTORY_CACHE = "directory_cache_total", ["result"], "Look-ups in the directory's cache: hit, miss, stale (used while the directory is away).";
    QUOTA_DECISIONS = "quota_decisions_total", ["quota", "decision"], "What quotas said, by realm/quota: admitted, refused; admitted_on_share, refused_on_share (of this gateway's own share, while the store is away).";
    UPSTREAM_REQUESTS = "upstream_requests_total", ["upstream", "status_class"], "Requests sent to an upstream: 1xx to 5xx, or error.";
    UPSTREAM_DURATION = "upstream_duration_seconds", ["upstream"], "From the choice of a server to the upstream's reply head.";
    UPSTREAM_RETRIES = "upstream_retries_total", ["upstream"], "Tries after the first.";
    POLICY_INFO = "policy_info", ["revision"], "1 for the policy revision in effect.";
    POLICY_STALE = "policy_stale", [], "1 while the files say something else than what is in effect, and were refused.";
    POLICY_RELOADS = "policy_reloads_total", ["result"], "Reloads, asked for or after a change of a file: applied, unchanged (the files say what is in effect), faults (in the files), cold (a key that needs a restart), failed.";
    SHADOW_DISAGREEMENTS = "shadow_disagreements_total", ["realm", "live", "candidate"], "Requests that the candidate policies would have decided otherwise, by both verdicts: permit, rerouted, rescoped, a reason, or undecided (it asked what was not found out).";
    ACCESS_LINES_DROPPED = "access_lines_dropped_total", [], "Access lines lost because the log could not be written fast enough.";
    PANICS = "panics_total", [], "Panics caught; each is a defect to report.";
    BUILD_INFO = "build_info", ["version", "commit"], "1, with the version and commit of this binary.";
}
