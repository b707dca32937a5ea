//! `portcullis lockout …`: who has failed too often at a running gateway, listed and forgotten.
//!
//! The gateway does it, through its admin listener; here it is only asked, and its answer shown.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::args::{ClearArgs, Format, LockoutVerb};
use super::remote::{PATIENCE, Remote};
use super::{Done, Exit};
use crate::directory::edit::format_time;

/// A row of `GET /lockouts`.
#[derive(Deserialize)]
struct Row {
    key: String,
    failures: u64,
    /// Milliseconds since the epoch; 0 for one that is not locked.
    until: u64,
}

/// The answer of `DELETE /lockouts`.
#[derive(Deserialize)]
struct Outcome {
    cleared: u64,
}

/// Runs the verb.
///
/// # Errors
/// A gateway that cannot be reached or refuses, or an output that cannot be written.
pub fn run(verb: &LockoutVerb, out: &mut dyn Write) -> Done {
    match verb {
        LockoutVerb::List { format, remote } => {
            let (locks, body): (Vec<Row>, _) = Remote::new(remote, PATIENCE)?.read("/lockouts", None)?.ok()?;
            match format {
                Format::Json => writeln!(out, "{body:#}")?,
                Format::Text => list(&locks, out)?,
            }
        }
        LockoutVerb::Clear { what: ClearArgs { key, all: _ }, format, remote } => {
            let query = key.as_deref().map(|key| ("key", key));
            let remote = Remote::new(remote, PATIENCE)?;
            let answer = remote.change(Method::DELETE, "/lockouts", query, &json!({}))?;
            let (Outcome { cleared }, body) = answer.ok()?;
            match (format, key) {
                (Format::Json, _) => writeln!(out, "{body:#}")?,
                (Format::Text, None) => writeln!(out, "forgotten: {cleared} keys")?,
                (Format::Text, Some(key)) if cleared == 1 => writeln!(out, "forgotten: {key}")?,
                (Format::Text, Some(key)) => writeln!(out, "the gateway knows of no failures of {key}")?,
            }
        }
    }
    Ok(Exit::Ok)
}

fn list(rows: &[Row], out: &mut dyn Write) -> std::io::Result<()> {
    if rows.is_empty() {
        return writeln!(out, "nobody has failed lately");
    }
    writeln!(out, "{:>8}  {:<22} key", "failures", "locked until")?;
    for Row { key, failures, until } in rows {
        // To the next whole second: before it, the key is locked.
        let seconds = i64::try_from(until.div_ceil(1000)).ok().filter(|seconds| *seconds > 0);
        let until = seconds.and_then(format_time).map_or_else(|| "-".to_owned(), |time| time.to_string());
        writeln!(out, "{failures:>8}  {until:<22} {key}")?;
    }
    Ok(())
}
