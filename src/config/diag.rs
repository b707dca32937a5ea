//! Faults and warnings of configuration files: what is wrong, where, and what would put it right.
//!
//! Every reader of a file takes a [`Faults`] and goes on after a fault, so that one run shows all of
//! them. How they look on a terminal is `cli::report`'s business.

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
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |text| text.chars().count()) + 1;
        (line, column)
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
        self.0.push(Fault { severity, source: source.cloned(), span, message, hint: hint.0 });
    }

    /// Takes another reader's findings over.
    pub fn append(&mut self, mut other: Faults) {
        self.0.append(&mut other.0);
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

/// "did you mean `x`?" when one of the known words is close, else the list of them.
#[must_use]
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let closest = known.iter().map(|candidate| (strsim::damerau_levenshtein(word, candidate), *candidate)).min();
    match closest {
        Some((distance, candidate)) if distance <= 2.max(word.len() / 3) => format!("did you mean `{candidate}`?"),
        Some(_) => format!("known: {}", known.iter().map(|k| format!("`{k}`")).collect::<Vec<_>>().join(", ")),
        None => String::new(),
    }
}

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
    fn a_suggestion_is_close_or_a_list() {
        assert_eq!(suggest("reseler", ["customer", "reseller"]), "did you mean `reseller`?");
        assert_eq!(suggest("x", ["customer", "reseller"]), "known: `customer`, `reseller`");
        assert_eq!(suggest("x", []), "");
    }
}
