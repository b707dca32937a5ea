//! TOML tables, read one by one so that a fault in one hides nothing in the next.
//!
//! A file is parsed to spanned tables; each `[[route]]`, `[quota.x]` or section is then deserialised on
//! its own. serde stops at the first error of a table, so the key that caused it is taken out and the
//! rest is read again, until all faults of the table are found.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::diag::{Faults, Lines, Source, suggest};
use super::wording;

/// One table of a file.
#[derive(Clone)]
pub struct Block<'i> {
    source: Arc<Source>,
    lines: Arc<Lines>,
    table: DeTable<'i>,
    span: Range<usize>,
}

/// So many tell that a file is no TOML.
const MOST_SYNTAX_ERRORS: usize = 20;

impl<'i> Block<'i> {
    /// Parses a whole file.
    pub fn parse(source: &'i Arc<Source>, faults: &mut Faults) -> Option<Self> {
        let (root, errors) = DeTable::parse_recoverable(&source.text);
        // Of what follows from one mistake, each open bracket tells again; and a file of another format is wrong all over.
        let mut places: BTreeMap<usize, &toml::de::Error> = BTreeMap::new();
        for error in &errors {
            places.entry(error.span().unwrap_or(0..0).start).or_insert(error);
        }
        for error in places.values().take(MOST_SYNTAX_ERRORS) {
            let span = error.span().unwrap_or(0..0);
            let twice = error.message() == "duplicate key";
            let hint = if twice { "it stands further up already" } else { "" };
            faults.fault(source, span, format!("not TOML: {}", error.message()), hint);
        }
        errors.is_empty().then(|| Self {
            source: Arc::clone(source),
            lines: Arc::new(Lines::of(source)),
            span: 0..root.span().end.min(1),
            table: root.into_inner(),
        })
    }

    /// The file it stands in.
    #[must_use]
    pub const fn source(&self) -> &Arc<Source> {
        &self.source
    }

    /// Where its header stands.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// The line of its header, from 1.
    #[must_use]
    pub fn line(&self) -> u32 {
        u32::try_from(self.lines.line(self.span.start)).unwrap_or(u32::MAX)
    }

    /// Whether it has the key.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where a key stands.
    #[must_use]
    pub fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.table.get_key_value(key).map(|(key, _)| key.span())
    }

    /// Takes a sub-table out: `[server.limits]` of `[server]`.
    pub fn take_table(&mut self, key: &str, faults: &mut Faults) -> Option<Block<'i>> {
        let (_, value) = self.table.remove_entry(key)?;
        self.as_table(value, &format!("[{key}]"), faults)
    }

    /// Takes the tables of `[[key]]` out, in the order of the file.
    pub fn take_tables(&mut self, key: &str, faults: &mut Faults) -> Vec<Block<'i>> {
        let Some((_, value)) = self.table.remove_entry(key) else { return Vec::new() };
        let span = value.span();
        #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else TOML has, it is no list")]
        match value.into_inner() {
            DeValue::Array(items) => {
                items.into_iter().filter_map(|item| self.as_table(item, &format!("[[{key}]]"), faults)).collect()
            }
            _ => {
                faults.fault(
                    &self.source,
                    span,
                    format!("`{key}` has to be a list of tables"),
                    format!("write [[{key}]]"),
                );
                Vec::new()
            }
        }
    }

    /// Takes the named tables of `[key.NAME]` out, by the place of their headers.
    pub fn take_named(&mut self, key: &str, faults: &mut Faults) -> Vec<(super::spanned::Spanned<String>, Block<'i>)> {
        let Some(mut group) = self.take_table(key, faults) else { return Vec::new() };
        let mut named = Vec::new();
        for (name, value) in std::mem::take(&mut group.table) {
            let label = format!("[{key}.{}]", name.get_ref());
            let name = super::spanned::Spanned::new(name.span(), name.into_inner().into_owned());
            if let Some(block) = self.as_table(value, &label, faults) {
                named.push((name, block));
            }
        }
        named.sort_by_key(|(name, _)| name.span().start);
        named
    }

    fn as_table(&self, value: Spanned<DeValue<'i>>, label: &str, faults: &mut Faults) -> Option<Block<'i>> {
        let span = value.span();
        #[allow(clippy::wildcard_enum_match_arm, reason = "whatever else TOML has, it is no table")]
        match value.into_inner() {
            DeValue::Table(table) => {
                let (source, lines) = (Arc::clone(&self.source), Arc::clone(&self.lines));
                Some(Block { source, lines, table, span })
            }
            _ => {
                faults.fault(&self.source, span, format!("{label} has to be a table"), "write { key = value, … }");
                None
            }
        }
    }

    /// Warns of keys that are read but do nothing yet.
    pub fn warn_without_effect(&self, section: &str, keys: &[&str], faults: &mut Faults) {
        for key in keys {
            if let Some(span) = self.key_span(key) {
                let path = if section.is_empty() { (*key).to_owned() } else { format!("{section}.{key}") };
                faults.warn(&self.source, span, format!("`{path}` has no effect yet"), "");
            }
        }
    }

    /// Notes every key that is left as unknown.
    pub fn refuse_rest(self, known: &[&str], faults: &mut Faults) {
        for (key, _) in &self.table {
            let hint = suggest(key.get_ref(), known.iter().copied());
            faults.fault(&self.source, key.span(), format!("unknown key `{}`", key.get_ref()), hint);
        }
    }

    /// Reads the table as `T`. `None`, with every fault noted, when it cannot be.
    pub fn read<T: DeserializeOwned>(self, faults: &mut Faults) -> Option<T> {
        self.read_what_can_be(faults).and_then(|(value, whole)| whole.then_some(value))
    }

    /// Reads a table whose every key may be left out: one with a fault counts as left out, so that the
    /// other values are judged in the same run.
    pub fn read_partly<T: DeserializeOwned + Default>(self, faults: &mut Faults) -> T {
        self.read_what_can_be(faults).map(|(value, _)| value).unwrap_or_default()
    }

    fn read_what_can_be<T: DeserializeOwned>(mut self, faults: &mut Faults) -> Option<(T, bool)> {
        let mut removed: Vec<String> = Vec::new();
        loop {
            let spanned = Spanned::new(self.span.clone(), self.table.clone());
            let error = match T::deserialize(Deserializer::from(spanned)) {
                Ok(value) => return Some((value, removed.is_empty())),
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| self.span.clone());
            let culprit =
                self.table.iter().find(|(key, value)| holds(&key.span(), &span) || holds(&value.span(), &span));
            let culprit = culprit.map(|(key, _)| key.get_ref().clone().into_owned());
            let missing = wording::missing(error.message());
            if missing.is_some_and(|field| removed.iter().any(|key| key == field)) {
                return None;
            }
            let (message, hint) = wording::of(error.message());
            faults.fault(&self.source, span, message, hint);
            match culprit {
                Some(key) => {
                    self.table.remove(key.as_str());
                    removed.push(key);
                }
                None => return None,
            }
        }
    }
}

const fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        name: Spanned<String>,
        count: Option<u8>,
    }

    fn faults_of(text: &str) -> Vec<String> {
        let source = Arc::new(Source { name: "f".into(), text: text.into() });
        let mut faults = Faults::default();
        if let Some(mut root) = Block::parse(&source, &mut faults) {
            for block in root.take_tables("t", &mut faults) {
                block.read::<Sample>(&mut faults);
            }
            root.refuse_rest(&["t"], &mut faults);
        }
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_fault_of_every_table_is_found_in_one_run() {
        let text = "[[t]]\nnam = 'a'\ncount = 'x'\n[[t]]\ncount = 300\nname = 5\n[[t]]\nname = 'ok'\n[u]\n";
        let faults = faults_of(text);
        assert_eq!(faults.len(), 6, "{faults:#?}");
        assert!(faults.iter().any(|f| f == "f:2:1: fault: unknown key `nam` (did you mean `name`?)"), "{faults:#?}");
        assert!(
            faults.iter().any(|f| f.starts_with("f:3:9: fault: a whole number from 0 to 255 is expected, not a text")),
            "{faults:#?}"
        );
        assert!(faults.iter().any(|f| f == "f:1:1: fault: `name` is missing"), "{faults:#?}");
        assert!(faults.iter().any(|f| f.starts_with("f:5:9: fault: `300` is not 0 to 255")), "{faults:#?}");
        assert!(faults.iter().any(|f| f.starts_with("f:6:8: fault: a text is expected, not a number")), "{faults:#?}");
        assert!(faults.iter().any(|f| f.starts_with("f:9:2: fault: unknown key `u`")), "{faults:#?}");
    }

    #[test]
    fn text_that_is_no_toml_names_its_place() {
        let faults = faults_of("[[t]]\nname = \n");
        assert!(faults[0].starts_with("f:2:"), "{faults:#?}");
    }
}
