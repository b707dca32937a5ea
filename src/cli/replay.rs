//! `portcullis replay`: the requests of an access log, judged by other policies.
//!
//! It streams: what is kept is a count and one request id for each group of lines. What a line cannot tell is counted apart
//! and never guessed, so what is listed would really be otherwise.

mod judge;

use std::collections::BTreeMap;
use std::io::Write;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use self::judge::{Apart, Change, Judged, judge};
use super::args::{Format, ReplayArgs};
use super::explain::Files;
use super::log_record::retold::Judges;
use super::log_record::{Lines, Record};
use super::report::load_or_stop;
use super::verdict::{plain, write_words};
use super::{Done, Exit};
use crate::config::load::Config;
use crate::policy::difference::Kind;
use crate::policy::route::UpstreamIndex;

/// Runs the verb.
///
/// # Errors
/// Bad files, or a log that cannot be read.
pub fn run(args: &ReplayArgs, out: &mut dyn Write) -> Done {
    let files = Files::read(&args.config.config)?;
    let was: Option<Config> = args.was.as_deref().map(load_or_stop).transpose()?;
    let was = was.as_ref().map(|config| &*config.snapshot);
    let judges = Judges { snapshot: files.snapshot(), accounts: files.accounts(), was };
    let upstream = |index: UpstreamIndex| files.upstream(index).map(str::to_owned);
    let mut lines = Lines::open(&args.log)?;
    let progress = progress(lines.length);
    let mut tally = Tally::default();
    while let Some(line) = lines.next()? {
        match Record::read(line) {
            None => tally.skipped += 1,
            Some(record) => tally.note(&record, judge(&record, judges, &upstream)),
        }
        if tally.lines().is_multiple_of(LINES_A_STEP) {
            progress.set_position(lines.position);
        }
    }
    progress.finish_and_clear();
    match args.format {
        Format::Json => writeln!(out, "{:#}", tally.json(files.snapshot().revision()))?,
        Format::Text => tally.write(files.snapshot().revision(), out)?,
    }
    Ok(Exit::Ok)
}

const LINES_A_STEP: u64 = 1000;

/// Shown on a terminal only.
fn progress(length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    let template = if length.is_some() { "{bar:40} {bytes} of {total_bytes}, {eta} left" } else { "{spinner} {bytes}" };
    // A template that cannot be read would show the default one.
    bar.with_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Lines of one group.
#[derive(Default)]
struct Group {
    count: u64,
    /// The id of the first.
    sample: String,
}

impl Group {
    fn note(&mut self, record: &Record) {
        if self.count == 0 {
            self.sample.clone_from(&record.request_id);
        }
        self.count += 1;
    }
}

/// What came of all lines so far.
#[derive(Default)]
struct Tally {
    same: u64,
    changed: u64,
    apart: u64,
    skipped: u64,
    changes: BTreeMap<Change, Group>,
    reasons: BTreeMap<Apart, Group>,
    /// Lines of further groups, where there are too many.
    others: u64,
}

/// The labels of a log of ours are of closed sets; what else is read for one must not fill the memory.
const MOST_GROUPS: usize = 10_000;

impl Tally {
    const fn lines(&self) -> u64 {
        self.same + self.changed + self.apart + self.skipped
    }

    fn note(&mut self, record: &Record, judged: Judged) {
        match judged {
            Judged::Same => self.same += 1,
            Judged::Apart(apart) => {
                self.apart += 1;
                self.others += u64::from(!put(&mut self.reasons, apart, record));
            }
            Judged::Changed(changes) => {
                self.changed += 1;
                for change in changes {
                    self.others += u64::from(!put(&mut self.changes, change, record));
                }
            }
        }
    }

    fn count(&self, kind: Kind) -> u64 {
        self.changes.iter().filter(|(change, _)| change.kind == kind).map(|(_, group)| group.count).sum()
    }

    fn json(&self, revision: &str) -> Value {
        let changes: Vec<Value> = self
            .changes
            .iter()
            .map(|(change, group)| {
                let Change { kind, realm, route, rule, role, relation, live, candidate } = change;
                json!({ "kind": kind.name(), "realm": realm, "route": route, "rule": rule, "role": role,
                    "relation": relation, "live": live, "candidate": candidate, "count": group.count,
                    "request_id": group.sample })
            })
            .collect();
        let apart: Vec<Value> = self
            .reasons
            .iter()
            .map(|(apart, group)| json!({ "why": apart.words(), "count": group.count, "request_id": group.sample }))
            .collect();
        let counts: serde_json::Map<String, Value> =
            Kind::ALL.iter().map(|kind| (kind.name().to_owned(), json!(self.count(*kind)))).collect();
        json!({ "revision": revision, "lines": self.lines(), "same": self.same, "changed": self.changed,
            "not_judged": self.apart, "no_access_lines": self.skipped, "in_further_groups": self.others,
            "counts": counts, "changes": changes, "apart": apart })
    }

    fn write(&self, revision: &str, out: &mut dyn Write) -> std::io::Result<()> {
        let mut headed: Option<(Kind, &str, &str)> = None;
        for (change, group) in &self.changes {
            let Change { kind, realm, route, rule, role, relation, live, candidate } = change;
            if headed != Some((*kind, realm, route)) {
                let gap = if headed.is_some() { "\n" } else { "" };
                let rule = if rule.is_empty() { String::new() } else { format!("  ({rule})") };
                writeln!(out, "{gap}{}  {} {}{rule}", heading(*kind), plain(realm), plain(route))?;
                headed = Some((*kind, realm, route));
            }
            let words = format!("{} → {}", plain(live), plain(candidate));
            let [role, relation, sample] = [role, relation, &group.sample].map(|text| plain(text));
            writeln!(out, "  {role:<14} {relation:<8} {words}  {} ×, like {sample}", group.count)?;
        }
        if !self.reasons.is_empty() {
            let gap = if headed.is_some() { "\n" } else { "" };
            writeln!(out, "{gap}NOT JUDGED")?;
        }
        for (apart, group) in &self.reasons {
            writeln!(out, "  {}  {} ×, like {}", plain(&apart.words()), group.count, plain(&group.sample))?;
        }
        let gap = if self.lines() > self.same + self.skipped { "\n" } else { "" };
        let [widened, narrowed, rerouted, otherwise] = Kind::ALL.map(|kind| self.count(kind));
        let words = format!(
            "{widened} widened, {narrowed} narrowed, {rerouted} rerouted, {otherwise} refused otherwise; {} as they were, {} \
             not judged, {} no access lines (revision {revision})",
            self.same, self.apart, self.skipped
        );
        write_words(gap, 0, &words, out)?;
        if self.others > 0 {
            writeln!(out, "{} lines are of further groups, too many to list", self.others)?;
        }
        Ok(())
    }
}

/// Its name for people.
fn heading(kind: Kind) -> String {
    kind.name().replace('_', " ").to_uppercase()
}

/// Adds a line to its group, unless that were one too many.
fn put<K: Ord>(groups: &mut BTreeMap<K, Group>, key: K, record: &Record) -> bool {
    if groups.len() >= MOST_GROUPS && !groups.contains_key(&key) {
        return false;
    }
    groups.entry(key).or_default().note(record);
    true
}
