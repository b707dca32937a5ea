//! `portcullis reasons`: the registry, as a table for people, programs or documents.
//!
//! The table of README.md is this output; a test here says when it has to be renewed.

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
        ReasonsFormat::Markdown => {
            writeln!(out, "| reason | HTTP | result | msg | what to do | Retry-After |")?;
            writeln!(out, "|---|---|---|---|---|---|")?;
            for (reason, entry) in &entries {
                let (msg, desc) = (cell(&entry.msg), cell(&entry.desc));
                let wait = entry.retry_after.map(|seconds| seconds.to_string()).unwrap_or_default();
                writeln!(out, "| `{reason}` | {} | {} | {msg} | {desc} | {wait} |", entry.status, entry.result)?;
            }
        }
        ReasonsFormat::Text => {
            writeln!(out, "{:<22} {:>4}  {:<6}  msg", "reason", "http", "result")?;
            for (reason, entry) in &entries {
                writeln!(out, "{:<22} {:>4}  {:<6}  {}", reason.name(), entry.status, entry.result, entry.msg)?;
                writeln!(out, "{:38}{}", "", entry.desc)?;
            }
        }
    }
    Ok(Exit::Ok)
}

/// A text in a cell, where a pipe would end it and `<…>` would be taken for a tag.
fn cell(text: &str) -> String {
    // Inside a code span only the pipe means something.
    let parts = text.split('`').enumerate().map(|(place, part)| {
        let part = part.replace('|', "\\|");
        if place % 2 == 0 { part.replace('<', "&lt;").replace('>', "&gt;") } else { part }
    });
    parts.collect::<Vec<_>>().join("`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: ReasonsFormat) -> String {
        let mut out = Vec::new();
        assert_eq!(run(&ReasonsArgs { format }, &mut out).unwrap(), Exit::Ok);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_of_the_readme_is_the_registry() {
        let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
        let (_, behind) = readme.split_once("<!-- portcullis reasons --format markdown -->\n").unwrap();
        let (table, _) = behind.split_once("<!-- end of the reasons -->").unwrap();
        assert!(
            table == printed(ReasonsFormat::Markdown),
            "the table of reasons in README.md: renew it with `make schema`"
        );
    }

    #[test]
    fn every_reason_has_a_row_of_six_cells() {
        let table = printed(ReasonsFormat::Markdown);
        let rows: Vec<&str> = table.lines().skip(2).collect();
        assert_eq!(rows.len(), Reason::ALL.len());
        for (row, reason) in rows.iter().zip(Reason::ALL) {
            assert!(row.starts_with(&format!("| `{reason}` | ")), "{row}");
            assert_eq!(row.replace("\\|", "").matches('|').count(), 7, "{row}");
        }
    }

    #[test]
    fn a_cell_keeps_its_text_to_itself() {
        assert_eq!(cell("a|b <c> `d|<e>`"), "a\\|b &lt;c&gt; `d\\|<e>`");
    }
}
