//! Rates as operators write them: `"100/s"`, `"600/min"`, `"5/h"`.
//!
//! Read for `[quota.NAME]` only. What cannot be a rate is told with what was meant, where that can be guessed; the place
//! is added by `block`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error};

/// So many in a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time.
    pub unit: Unit,
}

/// What a rate counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// `s`
    Second,
    /// `min`
    Minute,
    /// `h`
    Hour,
}

impl Unit {
    /// All units, shortest first.
    pub const ALL: [Unit; 3] = [Unit::Second, Unit::Minute, Unit::Hour];

    /// The name in policy files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Unit::Second => "s",
            Unit::Minute => "min",
            Unit::Hour => "h",
        }
    }

    const fn nanoseconds(self) -> u64 {
        match self {
            Unit::Second => 1_000_000_000,
            Unit::Minute => 60_000_000_000,
            Unit::Hour => 3_600_000_000_000,
        }
    }

    /// The unit that somebody means who writes `sec` or `Minutes`.
    fn meant_by(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let written_out = [("seconds", Unit::Second), ("minutes", Unit::Minute), ("hours", Unit::Hour)];
        // In an abbreviation the `s` of the plural stands behind what is left out: `mins`.
        let singular = text.strip_suffix('s').filter(|text| text.len() > 1).unwrap_or(&text);
        let begins = |word: &str| !singular.is_empty() && word.starts_with(singular);
        written_out.into_iter().find(|(word, _)| begins(word)).map(|(_, unit)| unit)
    }
}

const LIKE: &str = "write a rate like \"100/s\", \"600/min\" or \"5/h\"";

impl Rate {
    /// Reads a rate.
    ///
    /// # Errors
    /// What is wrong, and what would put it right, parted by a dash.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (count, unit) = text.split_once('/').unwrap_or((text, ""));
        if !count.bytes().all(|byte| byte.is_ascii_digit()) || count.is_empty() {
            return Err(format!("`{text}` is no rate: `{count}` is no whole number above zero — {LIKE}"));
        }
        if unit.is_empty() {
            return Err(format!(
                "`{text}` is no rate: it has no unit — write \"{count}/s\", \"{count}/min\" or \"{count}/h\""
            ));
        }
        let Some(unit) = Unit::ALL.into_iter().find(|known| known.name() == unit) else {
            let hint = match Unit::meant_by(unit) {
                Some(meant) => format!("did you mean `{}`?", meant.name()),
                None => format!("known: {}", Unit::ALL.map(|unit| format!("`{}`", unit.name())).join(", ")),
            };
            return Err(format!("`{text}` is no rate: no unit `{unit}` — {hint}"));
        };
        if count.bytes().all(|byte| byte == b'0') {
            return Err(format!("`{text}` would refuse everything — to switch a route off: enabled = false"));
        }
        let too_fast = || format!("`{text}` is more than anybody can reach — leave the quota out");
        let rate = Self { count: count.parse().map_err(|_| too_fast())?, unit };
        if rate.interval() == 0 {
            return Err(too_fast());
        }
        let counted = unit.nanoseconds() / rate.interval();
        if counted - u64::from(rate.count) > u64::from(rate.count / 100) {
            // Time is counted in whole nanoseconds; what that makes of a rate has to stay below one per cent.
            return Err(format!(
                "`{text}` would be counted as {counted}/{} — write that, or a lower rate",
                unit.name()
            ));
        }
        Ok(rate)
    }

    /// Nanoseconds from one to the next.
    #[must_use]
    pub const fn interval(self) -> u64 {
        self.unit.nanoseconds() / self.count as u64
    }
}

/// As it is written.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.unit.name())
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Rate;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a rate like \"100/s\", \"600/min\" or \"5/h\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Rate, E> {
                Rate::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        for (text, count, unit, interval) in [
            ("1/s", 1, Unit::Second, 1_000_000_000),
            ("600/min", 600, Unit::Minute, 100_000_000),
            ("5/h", 5, Unit::Hour, 720_000_000_000),
            ("1000000000/s", 1_000_000_000, Unit::Second, 1),
        ] {
            let rate = Rate::parse(text).unwrap();
            assert_eq!((rate, rate.interval()), (Rate { count, unit }, interval));
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_rate_is_told_with_what_was_meant() {
        for (text, told) in [
            ("", "`` is no rate: `` is no whole number above zero — write a rate like"),
            ("100", "`100` is no rate: it has no unit — write \"100/s\", \"100/min\" or \"100/h\""),
            ("100/", "`100/` is no rate: it has no unit"),
            ("-1/s", "`-1/s` is no rate: `-1` is no whole number above zero — write a rate like"),
            ("1.5/s", "`1.5/s` is no rate: `1.5` is no whole number"),
            ("1e3/s", "`1e3/s` is no rate: `1e3` is no whole number"),
            ("+1/s", "`+1/s` is no rate: `+1` is no whole number"),
            (" 1/s", "` 1/s` is no rate: ` 1` is no whole number"),
            ("/s", "`/s` is no rate: `` is no whole number"),
            ("0/s", "`0/s` would refuse everything — to switch a route off: enabled = false"),
            ("00/min", "`00/min` would refuse everything"),
            ("100/sec", "`100/sec` is no rate: no unit `sec` — did you mean `s`?"),
            ("100/m", "`100/m` is no rate: no unit `m` — did you mean `min`?"),
            ("100/mins", "`100/mins` is no rate: no unit `mins` — did you mean `min`?"),
            ("100/Hour", "`100/Hour` is no rate: no unit `Hour` — did you mean `h`?"),
            ("100/S", "`100/S` is no rate: no unit `S` — did you mean `s`?"),
            ("100/day", "`100/day` is no rate: no unit `day` — known: `s`, `min`, `h`"),
            ("100/ms", "`100/ms` is no rate: no unit `ms` — known: `s`, `min`, `h`"),
            ("1/s/s", "`1/s/s` is no rate: no unit `s/s` — known:"),
            ("1000000001/s", "`1000000001/s` is more than anybody can reach — leave the quota out"),
            ("99999999999999999999/s", "`99999999999999999999/s` is more than anybody can reach"),
            ("300000000/s", "`300000000/s` would be counted as 333333333/s — write that, or a lower rate"),
        ] {
            let error = Rate::parse(text).expect_err(text);
            assert!(error.starts_with(told), "wants {told}\n{error}");
        }
    }
}
