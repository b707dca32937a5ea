//! `portcullis why`: a decision of an access log, explained.
//!
//! It finds the line of a request, shows what the line says, and explains the request by the files, or by a running gateway.
//! What the line does not tell is taken for granted and said. Where the two disagree, it says so and why that may be.

use std::io::Write;

use memchr::memmem::Finder;
use serde_json::{Value, json};

use super::args::{Format, WhyArgs};
use super::explain::{Files, Verdict, ask};
use super::log_record::retold::{Gap, Judges, Retold, retell};
use super::log_record::{Ended, Lines, Record};
use super::verdict::{Fields, Wanted, plain, write_text, write_words};
use super::{Done, Exit, Stop};
use crate::policy::credential::Scheme;
use crate::policy::rehearsal::Call;
use crate::reason::Reason;

/// Runs the verb.
///
/// # Errors
/// Bad files, a log that cannot be read or does not have the request, or a gateway that cannot be asked.
pub fn run(args: &WhyArgs, out: &mut dyn Write) -> Done {
    let found = find(args)?;
    if found.lines.is_empty() {
        let id = plain(&args.request_id);
        let skipped =
            if found.skipped > 0 { format!(" ({} are no access lines)", found.skipped) } else { String::new() };
        return Err(Stop::failed(format!(
            "none of {} lines{skipped} is of request {id}; older lines may stand in a rotated log (zcat access.log.1.gz | \
             portcullis why {id} --log -), and a client's own id is taken over from trusted proxies only",
            found.read
        )));
    }
    let files = Files::read(&args.judged.config.config)?;
    let mut exit = Exit::Ok;
    for (place, (line, record)) in found.lines.iter().enumerate() {
        let answer = answer(args, &files, record)?;
        if !answer.permitted {
            exit = Exit::Denied;
        }
        match args.judged.format {
            Format::Json => writeln!(out, "{:#}", answer.json(line))?,
            Format::Text => {
                if place > 0 {
                    writeln!(out)?;
                }
                answer.write(record, out)?;
            }
        }
    }
    Ok(exit)
}

/// What a log has of one request; more than one line where a trusted proxy gave an id twice.
struct Found {
    lines: Vec<(Value, Record)>,
    read: u64,
    skipped: u64,
}

/// The most lines that are kept: an id that stands on more of them names nothing.
const MOST_LINES: usize = 20;

fn find(args: &WhyArgs) -> Result<Found, Stop> {
    let id = args.request_id.as_bytes();
    let (mut found, finder) = (Found { lines: Vec::new(), read: 0, skipped: 0 }, Finder::new(id));
    let mut lines = Lines::open(&args.log)?;
    while let Some(line) = lines.next()? {
        found.read += 1;
        let line = line.trim_ascii();
        if !(line.starts_with(b"{") && line.ends_with(b"}")) {
            found.skipped += 1;
            continue;
        }
        // Reading JSON takes far longer than looking for the id.
        if finder.find(line).is_none() || found.lines.len() == MOST_LINES {
            continue;
        }
        match (serde_json::from_slice(line), Record::read(line)) {
            (Ok(whole), Some(record)) if record.request_id == args.request_id => found.lines.push((whole, record)),
            (Ok(_), Some(_)) => {}
            _ => found.skipped += 1,
        }
    }
    Ok(found)
}

/// One line, explained.
struct Answer {
    permitted: bool,
    /// `None` for a request that could not be read: there is nothing to judge.
    report: Option<Value>,
    /// Whether line and explanation agree; `None` where there is nothing to compare.
    agrees: Option<bool>,
    notes: Vec<String>,
    /// What the client was told, where only the reason is known.
    reply: Option<String>,
}

fn answer(args: &WhyArgs, files: &Files, record: &Record) -> Result<Answer, Stop> {
    if record.ended() == Ended::Unreadable {
        return Ok(unread(files, record));
    }
    let judges = Judges { snapshot: files.snapshot(), accounts: files.accounts(), was: None };
    let Retold { call, tree, gaps } = retell(record, judges);
    let mut notes: Vec<String> = gaps.iter().map(taken).collect();
    let verdict = match &args.judged.live {
        Some(url) => {
            notes.extend(untold(record));
            ask_live(args, url, &wanted(record, &call), record, &mut notes)?
        }
        None => {
            if record.reason == Some(Reason::QuotaExceeded) {
                notes.push(
                    "the quota is taken as refusing, as the line says; a line does not tell for how long".to_owned(),
                );
            }
            let (permitted, report) = files.judge(&call, &tree, record.quota.as_deref());
            Verdict { permitted, report, notes: Vec::new() }
        }
    };
    let agrees = agrees(record, &verdict);
    let revision = verdict.report["revision"].as_str().unwrap_or("-");
    if revision != record.revision {
        let now = if args.judged.live.is_some() { "the gateway has" } else { "the files are of" };
        notes.push(format!("{now} revision {revision}, the line is of revision {}", record.revision));
    }
    if !agrees {
        notes.push(differs(record, &gaps, revision));
    }
    Ok(Answer { permitted: verdict.permitted, report: Some(verdict.report), agrees: Some(agrees), notes, reply: None })
}

/// A request that no rule can judge is explained by the reason alone.
fn unread(files: &Files, record: &Record) -> Answer {
    let reply = record.reason.map(|reason| String::from_utf8_lossy(&files.reply(reason).body).into_owned());
    let notes = vec![
        "the request could not be read, so no rule of a policy was asked; the cause says what is wrong".to_owned(),
    ];
    Answer { permitted: false, report: None, agrees: None, notes, reply }
}

/// What is taken for granted where a line is silent.
fn taken(gap: &Gap) -> String {
    match gap {
        Gap::Header(name) => format!("a line holds no headers: {name} is taken as sent"),
        Gap::Target(name) => format!("a line holds neither query nor headers: {name} is taken as absent"),
        Gap::Caller => "the line does not tell who called: judged as nobody".to_owned(),
        Gap::Place => "the line does not tell where the account lies that the request names".to_owned(),
        Gap::Body => "the line does not tell how long the body was: taken as too long".to_owned(),
    }
}

/// What a running gateway cannot be told of a line.
fn untold(record: &Record) -> Option<String> {
    let what = match record.ended() {
        Ended::ByIdentity if record.account.is_none() => "what was presented",
        Ended::ByMoment => "how things stood then",
        Ended::Passed | Ended::ByPolicy | Ended::ByIdentity | Ended::Unreadable | Ended::Left => return None,
    };
    Some(format!("a running gateway judges by what it knows now, and cannot be told {what}"))
}

/// Asks a running gateway, which knows of an API id what else it may do; of a session's id it is told nothing. An API id that it
/// cannot be asked about any more leaves the account.
fn ask_live(
    args: &WhyArgs,
    url: &str,
    wanted: &Wanted,
    record: &Record,
    notes: &mut Vec<String>,
) -> Result<Verdict, Stop> {
    let id = record.credential.as_deref().filter(|_| record.scheme.as_deref() == Some(Scheme::Basic.name()));
    let Some(id) = id else { return ask(&args.judged, url, wanted) };
    let by_credential = Wanted { caller: format!("credential:{id}"), scheme: None, ..wanted.clone() };
    match ask(&args.judged, url, &by_credential) {
        Err(stop) if stop.exit == Exit::Usage => {
            let verdict = ask(&args.judged, url, wanted)?;
            notes.push(format!("judged by the account, as if with a good credential, since {}", stop.message));
            Ok(verdict)
        }
        outcome => outcome,
    }
}

/// The request as a running gateway is asked about it.
fn wanted(record: &Record, call: &Call) -> Wanted {
    let caller = match (&record.role, &record.account) {
        (Some(role), Some(account)) => format!("{role}:{account}"),
        _ => "anonymous".to_owned(),
    };
    let mut headers = Fields::default();
    for (name, value) in &call.headers {
        headers.add(name, value);
    }
    let scheme = call.scheme.map(|scheme| scheme.name().to_owned());
    let (method, path, client) = (call.method.clone(), call.target.clone(), Some(call.client));
    Wanted { caller, method, path, headers, client, scheme }
}

/// Whether the explanation comes to what the line says. What failed behind the checks had passed them.
fn agrees(record: &Record, verdict: &Verdict) -> bool {
    if record.ended() == Ended::Passed {
        return verdict.permitted;
    }
    let reason = verdict.report["outcome"]["reason"].as_str();
    record.reason.is_some_and(|known| reason == Some(known.name()))
}

fn differs(record: &Record, gaps: &[Gap], revision: &str) -> String {
    let mut why = Vec::new();
    if record.revision != revision {
        why.push("the rules may have changed since".to_owned());
    }
    why.extend(gaps.iter().map(|gap| format!("the line does not tell {gap}")));
    if record.ended() == Ended::ByMoment || record.ended() == Ended::ByIdentity {
        why.push("what the line was refused for is no rule of the policies".to_owned());
    }
    if why.is_empty() {
        why.push("accounts or credentials may have changed since".to_owned());
    }
    format!("THIS IS NOT WHAT THE LINE SAYS: {}", why.join("; "))
}

impl Answer {
    fn json(&self, line: &Value) -> Value {
        json!({ "line": line, "explanation": self.report, "agrees": self.agrees, "notes": self.notes })
    }

    fn write(&self, record: &Record, out: &mut dyn Write) -> std::io::Result<()> {
        write_line(record, out)?;
        for note in &self.notes {
            write_words("  note     ", 11, &plain(note), out)?;
        }
        writeln!(out)?;
        if let Some(reply) = &self.reply {
            write_words("  ", 2, &plain(reply), out)?;
        }
        self.report.as_ref().map_or(Ok(()), |report| write_text(report, out))
    }
}

/// What the line itself says.
fn write_line(record: &Record, out: &mut dyn Write) -> std::io::Result<()> {
    let or_dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), plain);
    let [time, id, method, path] =
        [&record.time, &record.request_id, &record.method, &record.path].map(|text| plain(text));
    writeln!(out, "request {id} at {time}")?;
    write_words("  asked    ", 11, &format!("{method} {path} from {}", record.client), out)?;
    let caller = match (&record.role, &record.lineage) {
        (Some(role), Some(lineage)) => {
            format!("{} {} by {} {}", plain(role), plain(lineage), or_dash(&record.scheme), or_dash(&record.credential))
        }
        _ => "nobody that the line names".to_owned(),
    };
    write_words("  caller   ", 11, &caller, out)?;
    let place = match (&record.realm, &record.route) {
        (None, _) => "no realm".to_owned(),
        (Some(realm), None) => format!("realm {}, no route", plain(realm)),
        (Some(realm), Some(route)) => format!("{} {}", plain(realm), plain(route)),
    };
    let target = record.target.as_ref().map(|target| format!(", target {}", plain(target))).unwrap_or_default();
    let scope = record.scope.as_ref().map(|scope| format!(", scope {}", plain(scope))).unwrap_or_default();
    write_words("  place    ", 11, &format!("{place}{target} ({}){scope}", plain(&record.relation)), out)?;
    let reason = record.reason.map(|reason| format!(" {reason}")).unwrap_or_default();
    let cause = record.cause.as_ref().map(|cause| format!(": {}", plain(cause))).unwrap_or_default();
    let quota = record.quota.as_ref().map(|quota| format!(" (quota {})", plain(quota))).unwrap_or_default();
    let came = format!("{} {}{reason}{cause}{quota}", plain(&record.outcome), record.status);
    write_words("  outcome  ", 11, &came, out)?;
    write_words("  by       ", 11, &format!("revision {}", plain(&record.revision)), out)
}
