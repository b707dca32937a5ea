//! The operational log: standard error, one line an event, colour on a terminal only.
//!
//! The carrier logs whole requests with their query in places, so its own messages are kept to warnings
//! at most, whatever level the operator asks for.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use super::errors::Errors;

/// Starts the log. A second call, as in tests, keeps the first one.
pub fn start_log(level: &str) {
    let filter = EnvFilter::new(format!("{level},{CARRIER}"));
    let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_target(false);
    // A log that cannot be written must not take the gateway down; the default here is to panic.
    let log = log.log_internal_errors(false);
    if let Err(error) = log.with_writer(|| Errors).try_init() {
        tracing::debug!("the log was started before: {error}");
    }
}

/// What may log no request: these print heads, targets and buffers. The connectors' one error is a pooled connection that
/// is still being watched when it is wanted, for which a new one is made: no operator has to know.
const CARRIER: &str = "pingora=off,pingora_core=error,pingora_core::apps=off,pingora_core::connectors=off,pingora_core::protocols=off,pingora_proxy=off,pingora_http=off,pingora_pool=off,pingora_cache=off,\
    pingora_runtime=error,h2=off,redis=warn";
