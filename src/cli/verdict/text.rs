//! A verdict for people: a line for each rung, then the reply or what the upstream is told, in 100 columns.
//!
//! Called by `explain` and `why`, with the verdict as JSON, whether it was made here or by a running gateway. Colours are
//! left to the output, which takes them out where it is no terminal.

use std::io::Write;

use serde_json::Value;

const WIDTH: usize = 100;
/// Columns before the words of a rung: behind the result and the rung's name.
const INDENT: usize = 25;

const GREEN: &str = "\x1b[1;32m";
const RED: &str = "\x1b[1;31m";
const DIM: &str = "\x1b[2m";
const RESET: &str = "\x1b[0m";

/// Writes a verdict.
pub(in crate::cli) fn write_text(report: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "realm  {}", text(&report["realm"]))?;
    let rule = report["rule"].as_str().map(|rule| format!("  ({})", plain(rule))).unwrap_or_default();
    writeln!(out, "route  {}{rule}", text(&report["route"]))?;
    writeln!(out, "by     revision {}\n", text(&report["revision"]))?;
    let rungs = || report["rungs"].as_array().into_iter().flatten();
    let is_reached = |rung: &&Value| rung["result"] != "not reached";
    for rung in rungs().filter(is_reached) {
        write_rung(rung, out)?;
    }
    let rest: Vec<String> = rungs().filter(|rung| !is_reached(rung)).map(|rung| text(&rung["rung"])).collect();
    if !rest.is_empty() {
        let head = format!("         {DIM}{:<16}{RESET}", "not reached");
        write_words(&head, INDENT, &rest.join(", "), out)?;
    }
    writeln!(out)?;
    let outcome = &report["outcome"];
    match outcome["decision"].as_str() {
        Some("permit") => write_permit(outcome, out),
        Some("deny") => write_denial(outcome, out),
        _ => writeln!(out, "UNDECIDED"),
    }
}

fn write_rung(rung: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let (mark, colour) = match rung["result"].as_str() {
        Some("pass") => ("pass", GREEN),
        Some("permit") => ("permit", GREEN),
        Some("DENY") => ("DENY", RED),
        Some("later") => ("later", ""),
        Some("unanswered") => ("?", RED),
        _ => ("-", DIM),
    };
    let words = match rung["quota"].as_str() {
        Some(quota) => format!("quota {}: {}", plain(quota), text(&rung["why"])),
        None => text(&rung["why"]),
    };
    let head = format!("  {colour}{mark:<7}{RESET}{:<16}", text(&rung["rung"]));
    write_words(&head, INDENT, &ruled(&words, rung), out)?;
    for quota in rung["quotas"].as_array().into_iter().flatten() {
        let [name, limit, whose] = ["quota", "limit", "whose"].map(|key| text(&quota[key]));
        let words = format!("{name}: {limit}; {whose}{}", standing(quota));
        write_words(&" ".repeat(INDENT), INDENT, &ruled(&words, quota), out)?;
    }
    for quota in rung["not_charged"].as_array().into_iter().flatten() {
        let words = format!("{}: not charged, {}", text(&quota["quota"]), text(&quota["why"]));
        write_words(&" ".repeat(INDENT), INDENT, &ruled(&words, quota), out)?;
    }
    Ok(())
}

/// How a quota stands, where a running gateway was asked.
fn standing(quota: &Value) -> String {
    match (quota["remaining"].as_u64(), quota["running"].as_u64(), quota["most"].as_u64()) {
        (Some(left), ..) => format!("; {left} left"),
        (None, Some(running), Some(most)) => format!("; {running} of {most} run"),
        (None, ..) => String::new(),
    }
}

fn ruled(words: &str, row: &Value) -> String {
    row["rule"].as_str().map_or_else(|| words.to_owned(), |rule| format!("{words}  ({})", plain(rule)))
}

/// Writes a head of so many columns and words, broken between words where a line would be too long.
pub(in crate::cli) fn write_words(head: &str, indent: usize, words: &str, out: &mut dyn Write) -> std::io::Result<()> {
    write!(out, "{head}")?;
    let mut column = indent;
    let mut gap = 0;
    for word in words.split(' ') {
        if word.is_empty() {
            gap += 1;
            continue;
        }
        let length = word.chars().count();
        if column > indent && column + gap + length > WIDTH {
            write!(out, "\n{:indent$}{word}", "")?;
            column = indent + length;
        } else {
            write!(out, "{:gap$}{word}", "")?;
            column += gap + length;
        }
        gap = 1;
    }
    writeln!(out)
}

fn write_permit(outcome: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{GREEN}PERMIT{RESET} → {}  (target: {})", text(&outcome["upstream"]), text(&outcome["relation"]))?;
    for (name, value) in outcome["headers"].as_object().into_iter().flatten() {
        writeln!(out, "  {}: {}", plain(name), text(value))?;
    }
    Ok(())
}

fn write_denial(outcome: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let reply = &outcome["reply"];
    writeln!(out, "{RED}DENY{RESET} {}: {}", text(&outcome["reason"]), text(&outcome["cause"]))?;
    writeln!(out, "  {}", text(&reply["status_line"]))?;
    for header in reply["headers"].as_array().into_iter().flatten() {
        writeln!(out, "  {}", text(header))?;
    }
    writeln!(out)?;
    write_words("  ", 2, &text(&reply["text"]), out)
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), plain)
}

/// The text as it may stand in a terminal: what a log or a gateway holds must not steer one.
pub(in crate::cli) fn plain(text: &str) -> String {
    let shown = text.chars().flat_map(|letter| {
        let escaped: Vec<char> = if steers(letter) { letter.escape_default().collect() } else { vec![letter] };
        escaped
    });
    shown.collect()
}

/// Control characters, and those that turn the direction of writing or end a line: a text could look like another one. The
/// last two are no characters at all, and no XML may hold them.
pub(in crate::cli) fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(letter, '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_are_broken_at_100_columns_and_nothing_is_lost() {
        let words = (0..60).map(|n| format!("word-{n}")).collect::<Vec<_>>().join(" ");
        let mut out = Vec::new();
        write_words(&" ".repeat(INDENT), INDENT, &words, &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.lines().count() > 4 && shown.lines().all(|line| line.len() <= WIDTH), "{shown}");
        assert_eq!(shown.split_whitespace().collect::<Vec<_>>().join(" "), words);
    }

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_sent() {
        assert_eq!(plain("a\u{1b}[2Jb\nc é"), "a\\u{1b}[2Jb\\nc é");
        assert_eq!(plain("\u{9b}2J\u{202e}cba\u{2028}"), "\\u{9b}2J\\u{202e}cba\\u{2028}");
        let headers = serde_json::json!({ "X\u{1b}[2J": "\u{1b}[2J" });
        let report = serde_json::json!({ "outcome": { "decision": "permit", "headers": headers } });
        let mut out = Vec::new();
        write_text(&report, &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains("X\\u{1b}[2J") && !shown.contains("\u{1b}[2J"), "{shown}");
    }
}
