//! `portcullis reload`: a running gateway reads its files again.
//!
//! It reads its own files, wherever it runs; what is here may be another copy of them. Its findings are shown as `check`
//! shows them, without the source lines.

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::args::{Format, ReloadArgs};
use super::remote::{PATIENCE, Remote};
use super::{Done, Exit, Stop};

/// The answer of a gateway whose files are in effect.
#[derive(Deserialize)]
struct InEffect {
    revision: String,
    changed: bool,
    quotas_started_anew: Vec<StartedAnew>,
}

/// A quota that the reload changed.
#[derive(Deserialize)]
struct StartedAnew {
    quota: String,
    was: String,
    now: String,
}

/// The answer of one that did not.
#[derive(Deserialize)]
struct Refused {
    faults: Vec<Value>,
}

/// Runs the verb.
///
/// # Errors
/// A gateway that cannot be reached or refuses its files, or an output that cannot be written.
pub fn run(args: &ReloadArgs, out: &mut dyn Write) -> Done {
    let remote = Remote::new(&args.remote, PATIENCE)?;
    let answer = remote.change(Method::POST, "/reload", None, &json!({}))?;
    if answer.status != REFUSED {
        let (InEffect { revision, changed, quotas_started_anew }, body) = answer.ok()?;
        match args.format {
            Format::Json => writeln!(out, "{body:#}")?,
            Format::Text => {
                let news = if changed { "in effect" } else { "nothing changed" };
                writeln!(out, "{news}: revision {revision}")?;
                for StartedAnew { quota, was, now } in &quotas_started_anew {
                    writeln!(out, "quota {quota} starts anew: {was} → {now}")?;
                }
            }
        }
        return Ok(Exit::Ok);
    }
    let Refused { faults } = answer.has()?;
    if args.format == Format::Json {
        writeln!(out, "{:#}", answer.body)?;
        return Ok(Exit::BadFiles);
    }
    for finding in &faults {
        writeln!(anstream::stderr(), "{}", line(finding))?;
    }
    let message = "not reloaded: the gateway goes on with what it had".to_owned();
    Err(Stop { message, exit: Exit::BadFiles })
}

/// `file:line:column: fault: message (hint)`, as logs have it.
fn line(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str();
    let place = match (text("file"), finding["line"].as_u64(), finding["column"].as_u64()) {
        (Some(file), Some(line), Some(column)) => format!("{file}:{line}:{column}: "),
        _ => String::new(),
    };
    let hint = text("hint").map(|hint| format!(" ({hint})")).unwrap_or_default();
    format!("{place}{}: {}{hint}", text("severity").unwrap_or("fault"), text("message").unwrap_or("no message"))
}

/// The status of files that were not taken over.
const REFUSED: u16 = 422;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_with_its_place() {
        let finding = json!({ "severity": "fault", "file": "g.toml", "line": 2, "column": 7, "message": "bad",
            "hint": "do" });
        assert_eq!(line(&finding), "g.toml:2:7: fault: bad (do)");
        let placeless = json!({ "severity": "fault", "file": null, "line": null, "column": null, "message": "bad",
            "hint": null });
        assert_eq!(line(&placeless), "fault: bad");
    }
}
