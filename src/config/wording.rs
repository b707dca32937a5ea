//! What the deserializer says of a value, in the words of somebody who edits the file.
//!
//! Called by `block` for each error of a table. A text of the file is never repeated: it may be a secret that was pasted
//! where something else is expected. The readers of our own value types word their errors themselves.

use super::diag::suggest;

/// The message and the remedy.
pub(super) fn of(message: &str) -> (String, String) {
    let known = || message.split('`').skip(3).step_by(2);
    if let Some(key) = quoted(message, "unknown field `") {
        return (format!("unknown key `{key}`"), suggest(key, known()));
    }
    if let Some(key) = missing(message) {
        return (format!("`{key}` is missing"), String::new());
    }
    if let Some(value) = quoted(message, "unknown variant `") {
        return (format!("`{value}` is not possible here"), suggest(value, known()));
    }
    if let Some((found, expected)) = parted(message, "invalid type: ") {
        let (expected, hint) = kind(expected);
        return (format!("{expected} is expected, not {}", said(found)), hint.to_owned());
    }
    if let Some((found, expected)) = parted(message, "invalid value: ")
        && let Some(number) = quoted(found, "integer `")
    {
        let (least, most) = bounds(expected).unwrap_or_default();
        return (format!("`{number}` is not {least} to {most}"), String::new());
    }
    if message == "wanted string or table" {
        return ("one of several names is expected".to_owned(), "write it in quotes: \"…\"".to_owned());
    }
    let (what, hint) = message.split_once(" — ").unwrap_or((message, ""));
    (what.to_owned(), hint.to_owned())
}

/// The key that an error says is missing.
pub(super) fn missing(message: &str) -> Option<&str> {
    quoted(message, "missing field `")
}

fn quoted<'m>(message: &'m str, start: &str) -> Option<&'m str> {
    message.strip_prefix(start)?.split('`').next()
}

/// A text that was found may hold the words that part the two, but hardly what is expected does.
fn parted<'m>(message: &'m str, start: &str) -> Option<(&'m str, &'m str)> {
    message.strip_prefix(start)?.rsplit_once(", expected ")
}

/// What serde names by its Rust type, and how it is written.
fn kind(expected: &str) -> (String, &'static str) {
    if let Some((least, most)) = bounds(expected) {
        return (format!("a whole number from {least} to {most}"), "without quotes");
    }
    let (kind, hint) = match expected {
        "a string" => ("a text", "write it in quotes: \"…\""),
        "a boolean" => ("`true` or `false`", "without quotes"),
        "f64" => ("a number", "without quotes"),
        "a TOML datetime" => ("a time", "write 2027-01-01T00:00:00Z, without quotes"),
        "a sequence" => ("a list", "write [ … ], around a single one too"),
        _ if expected.starts_with("struct ") => ("a table", "write { key = value, … }"),
        other => (other, ""),
    };
    (kind.to_owned(), hint)
}

fn bounds(expected: &str) -> Option<(u64, u64)> {
    let most = match expected {
        "u8" => u8::MAX.into(),
        "u16" => u16::MAX.into(),
        "u32" => u32::MAX.into(),
        _ => return None,
    };
    Some((0, most))
}

/// What serde found, by its kind alone.
fn said(found: &str) -> &'static str {
    let kinds = [
        ("string", "a text"),
        ("integer", "a number"),
        ("floating point", "a number with a fraction"),
        ("boolean", "`true` or `false`"),
        ("sequence", "a list"),
        ("map", "a table"),
    ];
    kinds.into_iter().find(|(kind, _)| found.starts_with(kind)).map_or("what stands here", |(_, said)| said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_kind_is_told_without_the_value() {
        for (serde, ours, hint) in [
            (
                "invalid type: integer `5`, expected a string",
                "a text is expected, not a number",
                "write it in quotes: \"…\"",
            ),
            (
                "invalid type: string \"hunter2, expected a\", expected a sequence",
                "a list is expected, not a text",
                "write [ … ], around a single one too",
            ),
            (
                "invalid type: string \"x\", expected struct RawKey",
                "a table is expected, not a text",
                "write { key = value, … }",
            ),
            (
                "invalid type: boolean `true`, expected a size like \"8KiB\"",
                "a size like \"8KiB\" is expected, not `true` or `false`",
                "",
            ),
            (
                "invalid type: floating point `1.5`, expected u16",
                "a whole number from 0 to 65535 is expected, not a number with a fraction",
                "without quotes",
            ),
            ("invalid value: integer `-1`, expected u32", "`-1` is not 0 to 4294967295", ""),
            ("`x` is no rate — write \"1/s\"", "`x` is no rate", "write \"1/s\""),
        ] {
            assert_eq!(of(serde), (ours.to_owned(), hint.to_owned()), "{serde}");
        }
    }
}
