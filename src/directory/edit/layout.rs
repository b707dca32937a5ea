//! Where things lie in the text of an accounts file, and how one piece of it is replaced.
//!
//! Called by the operations of [`AccountFile`]. It works on lines and spans; what the pieces mean is not its concern.
//! A comment line belongs to the header it touches from above, else to the block it touches from below, and to nobody
//! when blank lines stand on both sides.

use std::ops::Range;

use toml_edit::{Item, RawString, Table, Value};

use super::error::EditError;
use super::{AccountFile, string};

/// A block about to be appended.
pub(super) struct Block {
    kind: &'static str,
    lines: String,
}

impl Block {
    pub(super) fn new(kind: &'static str) -> Self {
        Self { kind, lines: format!("[[{kind}]]\n") }
    }

    pub(super) fn value(&mut self, key: &str, value: impl Into<Value>) {
        self.lines.push_str(&format!("{key} = {}\n", value.into()));
    }

    /// Writes nothing for `None`.
    pub(super) fn string(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.value(key, value);
        }
    }
}

impl AccountFile {
    /// The blocks under `[[kind]]`, in the file's order.
    pub(super) fn blocks(&self, kind: &'static str) -> impl Iterator<Item = &Table> {
        self.doc.get(kind).and_then(Item::as_array_of_tables).into_iter().flatten()
    }

    /// Adds a block after the last of its kind, or at the end of the file, between blank lines.
    pub(super) fn append(&mut self, block: &Block) -> Result<(), EditError> {
        let text = self.doc.raw();
        let last = self.blocks(block.kind).filter_map(|block| self.extent(block)).last();
        let at = last.map_or(text.len(), |extent| extent.end);
        let (before, after) = text.split_at(at);
        let above = if is_blank(last_line(before)) { "" } else { "\n" };
        let below = if is_blank(first_line(after)) { "" } else { "\n" };
        self.insert_lines(at, &format!("{above}{}{below}", block.lines))
    }

    /// Gives the block `(kind, id)` a value: in place of the one it has, else on a line of its own below the last of the
    /// keys `earlier` that it has.
    pub(super) fn set_value(
        &mut self,
        (kind, id): (&'static str, &str),
        key: &str,
        value: &Value,
        earlier: &[&str],
    ) -> Result<(), EditError> {
        let text = self.doc.raw();
        let found = self.blocks(kind).find(|block| string(block, "id") == Some(id));
        let Some(block) = found else {
            return Err(self.fault(None, &format!("there is no {kind} to write `{key}` into")));
        };
        if let Some(old) = block.get(key).and_then(Item::span) {
            return self.splice(old, &value.to_string());
        }
        let Some((start, end)) = earlier.iter().filter_map(|other| entry(block, other)).next_back() else {
            return Err(self.fault(None, &format!("the {kind} has no line to write `{key}` under")));
        };
        let indent = &text[line_start(text, start)..start];
        let line = format!("{indent}{key} = {value}\n");
        self.insert_lines(line_end(text, end), &line)
    }

    /// Removes a key with its line; a comment behind it stays, on a line of its own.
    pub(super) fn remove_key(&mut self, id: &str, key: &str) -> Result<(), EditError> {
        let text = self.doc.raw();
        let Some((start, end)) = entry(self.tree().account(id)?, key) else {
            return Ok(());
        };
        let line_end = line_end(text, end);
        let behind = &text[end..line_end];
        if is_comment(behind) {
            let comment = end + behind.len() - behind.trim_start().len();
            return self.splice(start..comment, "");
        }
        self.splice(line_start(text, start)..line_end, "")
    }

    /// Removes a block with its comments and one of the two gaps around it, so that revoking what was just added
    /// restores the file.
    pub(super) fn remove(&mut self, block: Range<usize>) -> Result<(), EditError> {
        let (before, after) = (&self.doc.raw()[..block.start], &self.doc.raw()[block.end..]);
        let (above, below) = (last_line(before), first_line(after));
        let gone = if !is_blank(above) {
            block
        } else if after.is_empty() {
            block.start - above.len()..block.end
        } else if is_blank(below) {
            block.start..block.end + below.len()
        } else {
            block
        };
        self.splice(gone, "")
    }

    /// The lines of a block and of the comments that belong to it.
    pub(super) fn extent(&self, block: &Table) -> Option<Range<usize>> {
        let text = self.doc.raw();
        let header = block.span()?;
        let header_line = line_start(text, header.start);
        // What the parser read as space before the header: no value of the block above reaches into it.
        let space = block.decor().prefix().and_then(RawString::span).map_or(header_line, |space| space.start);
        let above = text.get(space..header_line).unwrap_or_default().split_inclusive('\n').rev();
        let comments: usize = above.take_while(|line| is_comment(line)).map(str::len).sum();
        let mut start = header_line - comments;
        // Comments from the file's first line on are about the file.
        if text[..start].trim_start_matches(BYTE_ORDER_MARK).is_empty() {
            start = header_line;
        }

        let last = block.iter().filter_map(|(_, item)| item.span()).map(|span| span.end).max();
        let mut end = line_end(text, last.map_or(header.end, |last| last.max(header.end)));
        let below = text[end..].split_inclusive('\n');
        let comments: usize = below.take_while(|line| is_comment(line)).map(str::len).sum();
        if is_blank(first_line(&text[end + comments..])) {
            end += comments;
        }
        Some(start..end)
    }

    fn insert_lines(&mut self, at: usize, lines: &str) -> Result<(), EditError> {
        let before = &self.doc.raw()[..at];
        let unfinished = !before.is_empty() && !before.ends_with('\n');
        let mut lines = format!("{}{lines}", if unfinished { "\n" } else { "" });
        if self.doc.raw().contains("\r\n") {
            lines = lines.replace('\n', "\r\n");
        }
        self.splice(at..at, &lines)
    }

    /// The one place that changes the text. What could not be read again is not kept.
    fn splice(&mut self, range: Range<usize>, with: &str) -> Result<(), EditError> {
        let mut text = self.doc.raw().to_owned();
        text.replace_range(range, with);
        self.doc = Self::parse(&text)?.doc;
        Ok(())
    }
}

/// From the first byte of a key to the last of its value.
fn entry(block: &Table, key: &str) -> Option<(usize, usize)> {
    Some((block.key(key)?.span()?.start, block.get(key)?.span()?.end))
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// Past the newline.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |newline| at + newline + 1)
}

fn first_line(text: &str) -> &str {
    text.split_inclusive('\n').next().unwrap_or_default()
}

fn last_line(text: &str) -> &str {
    text.split_inclusive('\n').next_back().unwrap_or_default()
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

fn is_blank(line: &str) -> bool {
    line.trim().is_empty()
}

const BYTE_ORDER_MARK: char = '\u{feff}';
