//! The texts that a Rust source can say, found by reading it as text.
//!
//! Used by the test that wants each of them in the corpus. It knows just enough of the language: comments, attributes, raw
//! and escaped literals, characters.

/// The texts of two words and more in the code of a file, but not its tests, comments and attributes.
pub(crate) fn literals(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap();
    let quiet = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with("//") && (!line.starts_with("#[") || line.starts_with("#[error"))
    };
    let code = code.lines().filter(quiet).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    let mut rest = code.as_str();
    while let Some(start) = rest.find('"') {
        let raw = rest[..start].ends_with('r');
        // A character in quotes is no text.
        if rest[..start].ends_with('\'') && rest[start + 1..].starts_with('\'') {
            rest = &rest[start + 2..];
            continue;
        }
        let (text, length) = literal(&rest[start + 1..], raw);
        rest = &rest[start + 1 + length..];
        if text.trim().contains(' ') {
            found.push(text);
        }
    }
    found
}

/// The value of a literal, and how many bytes it takes with its end.
fn literal(code: &str, raw: bool) -> (String, usize) {
    let (mut text, mut escaped, mut skipping) = (String::new(), false, false);
    for (place, letter) in code.char_indices() {
        if skipping && letter.is_whitespace() {
            continue;
        }
        skipping = false;
        match letter {
            '\n' if escaped => skipping = true,
            'n' if escaped => text.push('\n'),
            _ if escaped => text.push(letter),
            '\\' if !raw => {
                escaped = true;
                continue;
            }
            '"' => return (text, place + 1),
            _ => text.push(letter),
        }
        escaped = false;
    }
    panic!("a literal without an end: {code}");
}

/// What a format text says between its placeholders.
pub(crate) fn parts(text: &str) -> Vec<String> {
    let text = text.replace("{{", "\u{1}").replace("}}", "\u{2}");
    let parts = text.split('{').enumerate().map(|(place, part)| match place {
        0 => part,
        _ => part.split_once('}').map_or(part, |(_, behind)| behind),
    });
    parts.map(|part| part.replace('\u{1}', "{").replace('\u{2}', "}")).filter(|part| !part.is_empty()).collect()
}

/// Whether a line has all the parts, in their order.
pub(crate) fn holds(line: &str, parts: &[String]) -> bool {
    let mut rest = line;
    parts.iter().all(|part| {
        let found = rest.find(part.as_str());
        rest = found.map_or("", |place| &rest[place + part.len()..]);
        found.is_some()
    })
}
