//! `portcullis lockout …`: who has failed too often at a running gateway, listed and forgotten.
//!
//! The gateway does it, through its admin listener; here it is only asked, and its answer shown.

use std::io::Write;

use reqwest::Method;
use serde_json::{Value, json};

use super::args::{ClearArgs, Format, LockoutVerb};
use super::remote::{PATIENCE, Remote};
use super::{Done, Exit};
use crate::directory::edit::format_time;

/// Runs the verb.
///
/// # Errors
/// A gateway that cannot be reached or refuses, or an output that cannot be written.
pub fn run(verb: &LockoutVerb, out: &mut dyn Write) -> Done {
    match verb {
        LockoutVerb::List { format, remote } => {
            let locks = Remote::new(remote, PATIENCE)?.read("/lockouts", None)?.ok()?;
            match format {
                Format::Json => writeln!(out, "{locks:#}")?,
                Format::Text => list(&locks, out)?,
            }
        }
        LockoutVerb::Clear { what: ClearArgs { key, all: _ }, format, remote } => {
            let query = key.as_deref().map(|key| ("key", key));
            let remote = Remote::new(remote, PATIENCE)?;
            let answer = remote.change(Method::DELETE, "/lockouts", query, &json!({}))?.ok()?;
            match (format, key) {
                (Format::Json, _) => writeln!(out, "{answer:#}")?,
                (Format::Text, None) => writeln!(out, "forgotten: {} keys", answer["cleared"])?,
                (Format::Text, Some(key)) if answer["cleared"] == 1 => writeln!(out, "forgotten: {key}")?,
                (Format::Text, Some(key)) => writeln!(out, "the gateway knows of no failures of {key}")?,
            }
        }
    }
    Ok(Exit::Ok)
}

fn list(locks: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let rows = locks.as_array().map(Vec::as_slice).unwrap_or_default();
    if rows.is_empty() {
        return writeln!(out, "nobody has failed lately");
    }
    writeln!(out, "{:>8}  {:<22} key", "failures", "locked until")?;
    for row in rows {
        let until = row["until"].as_u64().filter(|until| *until > 0);
        // To the next whole second: before it, the key is locked.
        let seconds = until.and_then(|until| i64::try_from(until.div_ceil(1000)).ok());
        let until = seconds.and_then(format_time).map_or_else(|| "-".to_owned(), |time| time.to_string());
        writeln!(out, "{:>8}  {until:<22} {}", row["failures"], row["key"].as_str().unwrap_or("-"))?;
    }
    Ok(())
}
