//! `portcullis reasons`: the registry, as a table.

use std::io::Write;

use serde::Serialize;

use super::args::{ReasonsArgs, ReasonsFormat};
use super::{Done, Exit};
use crate::problem::registry::default_entry;
use crate::reason::Reason;

#[derive(Serialize)]
struct Row<'a> {
    reason: &'static str,
    status: u16,
    result: &'a str,
    msg: &'a str,
    desc: &'a str,
    retry_after: Option<u32>,
}

/// Runs the verb.
///
/// # Errors
/// When the output cannot be written.
pub fn run(args: &ReasonsArgs, out: &mut dyn Write) -> Done {
    let entries: Vec<_> = Reason::ALL.iter().map(|reason| (*reason, default_entry(*reason))).collect();
    match args.format {
        ReasonsFormat::Json => {
            let rows: Vec<Row<'_>> = entries
                .iter()
                .map(|(reason, entry)| Row {
                    reason: reason.name(),
                    status: entry.status,
                    result: &entry.result,
                    msg: &entry.msg,
                    desc: &entry.desc,
                    retry_after: entry.retry_after,
                })
                .collect();
            serde_json::to_writer_pretty(&mut *out, &rows).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        ReasonsFormat::Markdown | ReasonsFormat::Text => {
            writeln!(out, "{:<22} {:>4}  {:<6}  msg", "reason", "http", "result")?;
            for (reason, entry) in &entries {
                writeln!(out, "{:<22} {:>4}  {:<6}  {}", reason.name(), entry.status, entry.result, entry.msg)?;
                writeln!(out, "{:38}{}", "", entry.desc)?;
            }
        }
    }
    Ok(Exit::Ok)
}
