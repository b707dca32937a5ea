//! `portcullis explain`: one request, every check, the reply or what the upstream is told.
//!
//! By the files it judges itself, with the same ladder as live traffic ([`Files`]); with `--live` a running gateway does. It
//! sends the request nowhere.

mod files;

use std::io::Write;

use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

pub(super) use self::files::placed;
pub use self::files::{Files, Verdict};
use super::args::{ExplainArgs, Format, JudgedArgs, RemoteArgs};
use super::remote::{PATIENCE, Remote};
use super::verdict::{Fields, Wanted, write_text};
use super::{Done, Exit, Stop};

/// Runs the verb.
///
/// # Errors
/// Bad files, a caller that cannot be made out, a gateway that cannot be asked, or an output that cannot be written.
pub fn run(args: &ExplainArgs, out: &mut dyn Write) -> Done {
    let mut headers = Fields::default();
    for header in &args.headers {
        let (name, value) = header
            .split_once(':')
            .ok_or_else(|| Stop::usage(format!("`{header}` is no header; write -H 'Name: value'")))?;
        headers.add(name.trim(), value.trim());
    }
    let wanted = Wanted {
        caller: args.caller.clone(),
        method: args.method.clone(),
        path: args.path.clone(),
        headers,
        client: Some(args.client),
        scheme: args.scheme.clone(),
    };
    let verdict = match &args.judged.live {
        Some(_) if args.lineage.is_some() => {
            return Err(Stop::usage(
                "--lineage is for files: a running gateway knows where its accounts stand, and judges by that",
            ));
        }
        Some(url) => ask(&args.judged, url, &wanted)?,
        None => {
            let files = Files::read(&args.judged.config.config)?;
            files.explain(&wanted, args.lineage.as_deref())?
        }
    };
    match args.judged.format {
        Format::Json => writeln!(out, "{:#}", verdict.report)?,
        Format::Text => {
            for note in &verdict.notes {
                writeln!(anstream::stderr(), "note: {note}")?;
            }
            write_text(&verdict.report, out)?;
        }
    }
    Ok(if verdict.permitted { Exit::Ok } else { Exit::Denied })
}

/// What an explanation has to hold, or it is nobody's.
#[derive(Deserialize)]
struct Explained {
    outcome: Decided,
    #[serde(rename = "rungs")]
    _rungs: Vec<Value>,
}

#[derive(Deserialize)]
struct Decided {
    decision: String,
}

/// Whom no caller is meant by.
fn nobody(caller: &str) -> Stop {
    Stop::usage(format!("`{caller}` is nobody; write --as ROLE:ACCOUNT, credential:ID or anonymous"))
}

/// Lets a running gateway judge.
///
/// # Errors
/// It cannot be reached, or does not know who is to call.
pub(super) fn ask(judged: &JudgedArgs, url: &str, wanted: &Wanted) -> Result<Verdict, Stop> {
    let remote = RemoteArgs {
        config: judged.config.clone(),
        admin: Some(url.to_owned()),
        admin_token_file: judged.admin_token_file.clone(),
    };
    wanted.who().ok_or_else(|| nobody(&wanted.caller))?;
    let body = serde_json::to_value(wanted).map_err(Stop::failed)?;
    let answer = Remote::new(&remote, PATIENCE)?.change(Method::POST, "/explain", None, &body)?;
    // An account that it does not know is a mistake of whoever asks.
    let is_unknown = answer.status == 404;
    let (explained, report): (Explained, Value) = answer
        .ok()
        .map_err(|stop| if is_unknown && stop.exit == Exit::Failed { Stop::usage(stop.message) } else { stop })?;
    Ok(Verdict { permitted: explained.outcome.decision == "permit", report, notes: Vec::new() })
}
