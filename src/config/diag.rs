//! Faults and warnings of configuration files: what is wrong, where, and what would put it right.
//!
//! Every reader of a file takes a [`Faults`] and goes on after a fault, so that one run shows all of
//! them. How they look on a terminal is `cli::report`'s business.

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A configuration file that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The path, as the operator would type it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// Line and column of a byte, both from 1; the column counts characters.
    #[must_use]
    pub fn position(&self, offset: usize) -> (usize, usize) {
        let offset = self.border(offset);
        let before = &self.text[..offset];
        let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        (line, column)
    }

    /// The start of the character that the byte is part of.
    fn border(&self, offset: usize) -> usize {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        offset
    }
}

/// Where the lines of a file begin: who asks for many places of a long file does not count from its start each time.
#[derive(Debug)]
pub struct Lines(Vec<usize>);

impl Lines {
    /// Of a file.
    #[must_use]
    pub fn of(source: &Source) -> Self {
        let ends = source.text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(ends.map(|(end, _)| end + 1)).collect())
    }

    /// The line of a byte, from 1.
    #[must_use]
    pub fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|start| *start <= offset)
    }

    /// Where the line of a byte begins.
    #[must_use]
    pub fn start(&self, offset: usize) -> usize {
        self.0.get(self.line(offset) - 1).copied().unwrap_or(0)
    }

    /// What [`Source::position`] says.
    #[must_use]
    pub fn position(&self, source: &Source, offset: usize) -> (usize, usize) {
        let offset = source.border(offset);
        let column = source.text[self.start(offset)..offset].chars().count() + 1;
        (self.line(offset), column)
    }
}

/// Whether a gateway may start with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It may not.
    Fault,
    /// It may, but the operator should know.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Fault or warning.
    pub severity: Severity,
    /// The file; `None` when the file itself could not be read.
    pub source: Option<Arc<Source>>,
    /// The bytes that are wrong.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What would put it right.
    pub hint: Option<String>,
}

/// `file:line:column: fault: message (hint)`, the form of logs.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = &self.source {
            let (line, column) = source.position(self.span.start);
            write!(f, "{}:{line}:{column}: ", source.name)?;
        }
        let kind = match self.severity {
            Severity::Fault => "fault",
            Severity::Warning => "warning",
        };
        write!(f, "{kind}: {}", self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// All faults and warnings of one run, in the order found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Notes a fault.
    pub fn fault(
        &mut self,
        source: &Arc<Source>,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Hint>,
    ) {
        self.note(Severity::Fault, Some(source), span, message.into(), hint.into());
    }

    /// Notes a warning.
    pub fn warn(
        &mut self,
        source: &Arc<Source>,
        span: Range<usize>,
        message: impl Into<String>,
        hint: impl Into<Hint>,
    ) {
        self.note(Severity::Warning, Some(source), span, message.into(), hint.into());
    }

    /// Notes a fault that lies in no file that could be read.
    pub fn without_place(&mut self, message: impl Into<String>, hint: impl Into<Hint>) {
        self.note(Severity::Fault, None, 0..0, message.into(), hint.into());
    }

    fn note(
        &mut self,
        severity: Severity,
        source: Option<&Arc<Source>>,
        span: Range<usize>,
        message: String,
        hint: Hint,
    ) {
        let hint = hint.0.map(clipped);
        self.0.push(Fault { severity, source: source.cloned(), span, message: clipped(message), hint });
    }

    /// Takes another reader's findings over.
    pub fn append(&mut self, mut other: Faults) {
        self.0.append(&mut other.0);
    }

    /// Takes another reader's findings over but for those that are here already: a file may be read for two ends.
    pub fn append_new(&mut self, other: Faults) {
        let place = |fault: &Fault| {
            let file = fault.source.as_ref().map(|source| source.name.clone());
            (file, fault.span.start, fault.span.end, fault.message.clone())
        };
        let known: HashSet<_> = self.0.iter().map(place).collect();
        self.0.extend(other.0.into_iter().filter(|fault| !known.contains(&place(fault))));
    }

    /// Brings them into the order of an editor: what lies in no file first, then file by file in the order given, each
    /// from its top to its end. What stands in one place stays in the order found.
    pub fn sort(&mut self, files: &[String]) {
        self.0.sort_by_key(|fault| {
            let source = fault.source.as_ref();
            source.map(|source| {
                let file = files.iter().position(|name| *name == source.name).unwrap_or(files.len());
                (file, fault.span.start)
            })
        });
    }

    /// Whether anything forbids the start.
    #[must_use]
    pub fn any_fault(&self) -> bool {
        self.count(Severity::Fault) > 0
    }

    /// How many there are of one severity.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.0.iter().filter(|fault| fault.severity == severity).count()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

/// A finding repeats what is wrong, which may be as long as the file.
fn clipped(text: String) -> String {
    const LONGEST: usize = 600;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A remedy; an empty text is none.
pub struct Hint(Option<String>);

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.to_owned()))
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self((!text.is_empty()).then_some(text))
    }
}

/// "did you mean `x`?" when one of the known words is close, else the list of them, or of the closest of many.
#[must_use]
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let distance = |candidate: &str| strsim::damerau_levenshtein(word, candidate);
    let known: Vec<&str> = known.into_iter().take(MOST_COMPARED).collect();
    let mut by_distance: Vec<(usize, &str)> = known.iter().map(|known| (distance(known), *known)).collect();
    by_distance.sort_unstable();
    let Some((nearest, candidate)) = by_distance.first().copied() else { return String::new() };
    let length = word.chars().count().max(candidate.chars().count());
    // Of three letters one may be wrong, and not all of them.
    if nearest <= (length / 3).max(1) && nearest < length {
        return format!("did you mean `{candidate}`?");
    }
    let list =
        |names: &mut dyn Iterator<Item = &str>| names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if known.len() <= MOST_LISTED {
        format!("known: {}", list(&mut known.iter().copied()))
    } else {
        format!("closest: {}", list(&mut by_distance.iter().map(|(_, name)| *name).take(MOST_LISTED / 3)))
    }
}

/// Names in a remedy.
const MOST_LISTED: usize = 12;

/// Of a directory with a million accounts not all are compared with each misspelt one.
const MOST_COMPARED: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source { name: "f".into(), text: "a\nüb = 1\n".into() };
        assert_eq!(source.position(0), (1, 1));
        assert_eq!(source.position(source.text.find('b').unwrap()), (2, 2));
        assert_eq!(source.position(3), (2, 1), "inside a character counts as its start");
        assert_eq!(source.position(999), (3, 1));
    }

    #[test]
    fn lines_say_what_counting_from_the_start_says() {
        let source = Source { name: "f".into(), text: "a\n\nüb = 1\r\n\tc\n".into() };
        let lines = Lines::of(&source);
        for offset in 0..source.text.len() + 3 {
            assert_eq!(lines.position(&source, offset), source.position(offset), "{offset}");
        }
    }

    #[test]
    fn a_suggestion_is_close_or_a_list() {
        assert_eq!(suggest("reseler", ["customer", "reseller"]), "did you mean `reseller`?");
        assert_eq!(suggest("x", ["customer", "reseller"]), "known: `customer`, `reseller`");
        assert_eq!(suggest("b", ["a"]), "known: `a`", "nothing of it is right");
        assert_eq!(suggest("x", []), "");
        let many: Vec<String> = (0..100).map(|number| format!("route-{number}")).collect();
        let told = suggest("nothing-like-it", many.iter().map(String::as_str));
        assert!(told.starts_with("closest: `") && told.matches('`').count() == 8, "{told}");
    }

    #[test]
    fn findings_are_sorted_by_file_and_place_and_told_once() {
        let [first, second] = ["one", "two"].map(|name| Arc::new(Source { name: name.into(), text: "abc".into() }));
        let mut faults = Faults::default();
        faults.warn(&second, 1..2, "d", "");
        faults.fault(&second, 0..1, "c", "");
        faults.fault(&first, 2..3, "b", "");
        faults.without_place("a", "");
        let mut again = Faults::default();
        again.fault(&first, 2..3, "b", "");
        again.fault(&first, 2..3, "another", "");
        faults.append_new(again);
        faults.sort(&["one".to_owned(), "two".to_owned()]);
        let messages: Vec<&str> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(messages, ["a", "b", "another", "c", "d"]);
    }
}
