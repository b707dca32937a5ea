//! `portcullis token …`: sessions of a running gateway, listed and ended.
//!
//! The gateway does it, through its admin listener; here it is only asked, and its answer shown.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{Format, RevokeArgs, TokenVerb};
use super::remote::{PATIENCE, Remote};
use super::{Done, Exit};
use crate::directory::edit::format_time;

/// A row of `GET /sessions`.
#[derive(Deserialize)]
struct Row {
    jti: String,
    /// Milliseconds since the epoch.
    started: u64,
    /// Seconds since the epoch.
    expires: u64,
}

/// The answer of `POST /revocations`.
#[derive(Deserialize)]
struct Outcome {
    revoked: bool,
}

/// Runs the verb.
///
/// # Errors
/// A gateway that cannot be reached or refuses, or an output that cannot be written.
pub fn run(verb: &TokenVerb, out: &mut dyn Write) -> Done {
    match verb {
        TokenVerb::List { account, format, remote } => {
            let remote = Remote::new(remote, PATIENCE)?;
            let (sessions, body): (Vec<Row>, _) = remote.read("/sessions", Some(("account", account)))?.ok()?;
            match format {
                Format::Json => writeln!(out, "{body:#}")?,
                Format::Text => list(account, &sessions, out)?,
            }
        }
        TokenVerb::Revoke { what, format, remote } => {
            let remote = Remote::new(remote, PATIENCE)?;
            let (body, words) = wanted(what);
            let (Outcome { revoked }, body) = remote.change(Method::POST, "/revocations", None, &body)?.ok()?;
            match format {
                Format::Json => writeln!(out, "{body:#}")?,
                Format::Text if revoked => writeln!(out, "ended: {words}")?,
                Format::Text => writeln!(out, "nothing to end: {words} is not there, or over already")?,
            }
        }
    }
    Ok(Exit::Ok)
}

fn wanted(what: &RevokeArgs) -> (Value, String) {
    match (&what.jti, &what.account, &what.subtree) {
        (Some(jti), ..) => (json!({ "jti": jti }), format!("session {jti}")),
        (None, Some(account), _) => (json!({ "account": account }), format!("all sessions of {account}")),
        (None, None, account) => {
            let account = account.as_deref().unwrap_or_default();
            (json!({ "subtree": account }), format!("all sessions of {account} and of every account below it"))
        }
    }
}

fn list(account: &str, rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "{account} has no session");
    }
    let time = |seconds: u64| {
        let time = i64::try_from(seconds).ok().and_then(format_time);
        time.map_or_else(|| "-".to_owned(), |time| time.to_string())
    };
    writeln!(out, "{:<34} {:<22} expires", "session", "started")?;
    for Row { jti, started, expires } in rows {
        writeln!(out, "{jti:<34} {:<22} {}", time(started / 1000), time(*expires))?;
    }
    Ok(())
}
