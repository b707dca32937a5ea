//! Faults as people read them: file, line, column, the source line, the remedy.
//!
//! Called by every verb that reads files, and by `main` before a gateway starts.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use serde::Serialize;

use super::verdict::steers;
use super::{Exit, Stop};
use crate::config::diag::{Fault, Faults, Lines, Severity, Source};
use crate::config::load::{Config, Disk, Loading, load};
use crate::config::watched::{Noted, Watched};
use crate::directory::file::{self, Followed};
use crate::directory::records::{Records, Vocabulary};

/// Everything that a gateway would start with.
pub struct Loaded {
    /// Settings and policies.
    pub config: Config,
    /// Accounts and credentials of a `file:` directory; none of another.
    pub records: Records,
    /// The file that they came from.
    pub followed: Option<Followed>,
    /// The warnings.
    pub warnings: Faults,
}

/// Reads settings, policies and the accounts of a `file:` directory; the findings come in any case.
///
/// # Errors
/// All findings, when one is a fault.
pub fn read_all(path: &Path) -> Result<Loaded, Faults> {
    read_watched(path).0
}

/// The same, and the files that it depends on, as they were before they were read. The accounts file is one of them only
/// with a fault: otherwise it is followed for itself.
pub fn read_watched(path: &Path) -> (Result<Loaded, Faults>, Vec<Watched>) {
    let disk = Disk { secrets: true };
    let noted = Noted::new(&disk);
    let Loading { config, accounts, mut files, mut faults } = load(path, &noted);
    let mut watched = noted.into_seen();
    let known = config.as_ref().map(vocabulary).unwrap_or_default();
    let (mut records, mut followed) = (Some(Records::default()), None);
    if let Some((path, place)) = accounts {
        let reading = file::read(&path, Some(&place), &known);
        faults.append(reading.faults);
        files.push(path.display().to_string());
        faults.sort(&files);
        records = reading.records;
        followed = Some(Followed { path, version: reading.version, known });
    }
    match (config, records) {
        (Some(config), Some(records)) if !faults.any_fault() => {
            (Ok(Loaded { config, records, followed, warnings: faults }), watched)
        }
        _ => {
            watched.extend(followed.map(|Followed { path, version, .. }| Watched { path, version }));
            (Err(faults), watched)
        }
    }
}

/// The roles, realms and peppers that accounts and credentials may speak of.
#[must_use]
pub fn vocabulary(config: &Config) -> Vocabulary {
    let realms = config.snapshot.realms();
    let mut roles: Vec<Box<str>> = Vec::new();
    for role in realms.iter().flat_map(|realm| &realm.roles) {
        if !roles.contains(role) {
            roles.push(role.clone());
        }
    }
    let peppers = config.settings.directory.peppers.iter().map(|(id, _)| id.as_str().into()).collect();
    Vocabulary { roles, realms: realms.iter().map(|realm| realm.name.clone()).collect(), peppers: Some(peppers) }
}

/// Settings and policies for a verb that starts no gateway, their faults printed. Secrets are not needed.
///
/// # Errors
/// Exit code 65, the faults being on standard error.
pub fn load_or_stop(path: &Path) -> Result<Config, Stop> {
    let Loading { config, faults, .. } = load(path, &Disk { secrets: false });
    config.ok_or_else(|| stop(&faults))
}

/// Prints findings to standard error and gives the exit code of a bad file.
#[must_use]
pub fn stop(faults: &Faults) -> Stop {
    let mut errors = anstream::stderr();
    let message = match write_text(faults, &mut errors) {
        Ok(()) => summary(faults),
        Err(error) => error.to_string(),
    };
    Stop { message, exit: Exit::BadFiles }
}

/// "1 fault", "2 faults"
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// "2 faults, 1 warning"
#[must_use]
pub fn summary(faults: &Faults) -> String {
    let (bad, warned) = (faults.count(Severity::Fault), faults.count(Severity::Warning));
    format!("{}, {}", count(bad, "fault"), count(warned, "warning"))
}

/// Writes findings like a compiler does.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_text(faults: &Faults, out: &mut dyn Write) -> std::io::Result<()> {
    let renderer = Renderer::styled();
    let mut places = Places::default();
    for fault in faults.iter() {
        let rendered = render(fault, &mut places, &renderer);
        // The renderer leaves these in the line of the file, and some terminals obey them.
        writeln!(out, "{}\n", rendered.replace(|letter| ('\u{80}'..='\u{9f}').contains(&letter), "\u{fffd}"))?;
    }
    Ok(())
}

/// What the renderer takes as it is, without what steers a terminal.
fn tamed(text: &str) -> String {
    text.replace(|letter| letter != '\n' && steers(letter), "\u{fffd}")
}

/// The lines of each file that something was found in.
#[derive(Default)]
struct Places(HashMap<*const Source, Lines>);

impl Places {
    fn of(&mut self, source: &Arc<Source>) -> &Lines {
        self.0.entry(Arc::as_ptr(source)).or_insert_with(|| Lines::of(source))
    }
}

fn render(fault: &Fault, places: &mut Places, renderer: &Renderer) -> String {
    let level = match fault.severity {
        Severity::Fault => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(fault.message.as_str());
    let [name, hint] = [fault.source.as_ref().map(|source| source.name.as_str()), fault.hint.as_deref()]
        .map(|text| text.map(tamed).unwrap_or_default());
    let group = match &fault.source {
        Some(source) => {
            let (lines, span) = (places.of(source), visible(&source.text, &fault.span));
            let start = lines.start(span.start);
            // The line alone: the rest of a long file would be read through for each of its findings.
            let line = source.text[start..].split('\n').next().unwrap_or_default();
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.len() > LONGEST_LINE {
                let (number, column) = lines.position(source, span.start);
                let origin = Origin::path(name.as_str()).line(number).char_column(column);
                return renderer.render(&[hinted(title.element(origin), &hint)]);
            }
            let span = (span.start - start).min(line.len())..(span.end - start).min(line.len());
            let snippet = Snippet::source(masked(line, &span)).line_start(lines.line(start)).path(name.as_str());
            title.element(snippet.annotation(AnnotationKind::Primary.span(span)))
        }
        None => Group::with_title(title),
    };
    renderer.render(&[hinted(group, &hint)])
}

/// A longer line is not shown.
const LONGEST_LINE: usize = 4096;

fn hinted<'a>(group: Group<'a>, hint: &'a str) -> Group<'a> {
    if hint.is_empty() { group } else { group.element(Level::HELP.message(hint)) }
}

/// The text with the quoted values blanked in the line shown, where its keys speak of secrets: what was
/// pasted there by mistake would otherwise stand in a terminal's or a service manager's log.
fn masked(text: &str, span: &std::ops::Range<usize>) -> String {
    const TELLTALE: [&str; 6] = ["secret", "password", "token", "pepper", "key", "url"];
    const HARMLESS: [&str; 3] = ["env", "file", "id"];
    let start = text[..span.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[span.start..].find('\n').map_or(text.len(), |length| span.start + length);
    let line = &text[start..end];
    let lower = line.to_ascii_lowercase();
    if !TELLTALE.iter().any(|word| lower.contains(word)) {
        return text.to_owned();
    }
    let (mut shown, mut quote, mut key) = (String::with_capacity(line.len()), None, String::new());
    let mut fresh = true;
    for letter in line.chars() {
        if quote == Some(letter) {
            quote = None;
        } else if quote.is_some() {
            // As many bytes as before, so that places stay what they are.
            let hidden =
                if HARMLESS.contains(&key.as_str()) { letter.to_string() } else { "*".repeat(letter.len_utf8()) };
            shown.push_str(&hidden);
            continue;
        } else if letter == '"' || letter == '\'' {
            quote = Some(letter);
        } else if letter.is_ascii_alphanumeric() || letter == '_' {
            if std::mem::take(&mut fresh) {
                key.clear();
            }
            key.push(letter);
        } else {
            fresh = true;
        }
        shown.push(letter);
    }
    format!("{}{shown}{}", &text[..start], &text[end..])
}

/// Only the first line of what is wrong is shown, on character borders.
fn visible(text: &str, span: &std::ops::Range<usize>) -> std::ops::Range<usize> {
    let start = (0..=span.start.min(text.len())).rev().find(|index| text.is_char_boundary(*index)).unwrap_or(0);
    let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    let end = span.end.clamp(start, line_end);
    let end = (end..=text.len()).find(|index| text.is_char_boundary(*index)).unwrap_or(text.len());
    start..end
}

/// A finding for programs. Lines and columns count from 1, columns by character; the end is the first place behind.
#[derive(Serialize)]
pub struct Row<'a> {
    severity: &'static str,
    file: Option<&'a str>,
    line: Option<usize>,
    column: Option<usize>,
    end_line: Option<usize>,
    end_column: Option<usize>,
    message: &'a str,
    hint: Option<&'a str>,
}

/// Findings for programs: editors, CI, whoever asks a running gateway to reload.
#[must_use]
pub fn rows(faults: &Faults) -> Vec<Row<'_>> {
    let mut places = Places::default();
    let rows = faults.iter().map(|fault| {
        let mut position = |offset| fault.source.as_ref().map(|source| places.of(source).position(source, offset));
        let (place, end) = (position(fault.span.start), position(fault.span.end));
        Row {
            severity: match fault.severity {
                Severity::Fault => "fault",
                Severity::Warning => "warning",
            },
            file: fault.source.as_ref().map(|source| source.name.as_str()),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            end_line: end.map(|(line, _)| line),
            end_column: end.map(|(_, column)| column),
            message: &fault.message,
            hint: fault.hint.as_deref(),
        }
    });
    rows.collect()
}

/// Writes findings as a JSON array.
///
/// # Errors
/// When `out` cannot be written to.
pub fn write_json(faults: &Faults, out: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &rows(faults))?;
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_file_steers_a_terminal() {
        let hostile = "\u{1b}]0;x\u{7}\u{9b}2J\u{202e}";
        let source = Arc::new(Source { name: format!("f{hostile}"), text: format!("a = 1 # {hostile}\n") });
        let mut faults = Faults::default();
        faults.fault(&source, 0..1, format!("no `{hostile}`"), format!("drop `{hostile}`"));
        let mut out = Vec::new();
        write_text(&faults, &mut out).unwrap();
        let shown = anstream::adapter::strip_str(std::str::from_utf8(&out).unwrap()).to_string();
        let steers = |letter: char| letter != '\n' && (letter.is_control() || letter == '\u{202e}');
        assert!(shown.contains("no `") && !shown.contains(steers), "{shown:?}");
        let kept = String::from_utf8(out).unwrap();
        assert!(!kept.contains("\u{1b}]0") && !kept.contains(['\u{7}', '\u{9b}', '\u{202e}']), "{kept:?}");
    }

    #[test]
    fn a_line_that_may_hold_a_secret_is_shown_without_its_values() {
        let text =
            "a = 1\nkeys = [{ id = \"x\", secret = \"hünter2\", s = { env = \"VARIABLE\" } }]\nname = \"shown\"\n";
        let place = text.find("secret").unwrap();
        let shown = masked(text, &(place..place + 6));
        assert_eq!(shown.len(), text.len());
        assert!(
            !shown.contains("nter2") && shown.contains("name = \"shown\"") && shown.contains("secret = \"*"),
            "{shown}"
        );
        let place = text.find("name").unwrap();
        assert_eq!(masked(text, &(place..place + 4)), text);
    }
}
