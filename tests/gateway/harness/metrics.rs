//! The text exposition of `/metrics`, as a table of series.

use std::collections::BTreeMap;

/// One scrape: the series' own text (`name{labels}`) to its value.
#[derive(Debug)]
pub(crate) struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Parses a scrape.
    pub(crate) fn parse(text: &str) -> Self {
        let mut series = BTreeMap::new();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("a series and its value: {line:?}"));
            let value = value.parse().unwrap_or_else(|error| panic!("{error} in {line:?}"));
            assert!(series.insert(name.to_owned(), value).is_none(), "{name} stands twice");
        }
        Self(series)
    }

    /// The sum over the series of this name that carry all these labels.
    pub(crate) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let matches = |series: &str| {
            let (own, rest) = series.split_once('{').unwrap_or((series, ""));
            own == name && labels.iter().all(|(label, value)| has_label(rest, label, value))
        };
        self.0.iter().filter(|(series, _)| matches(series)).map(|(_, value)| value).sum()
    }

    /// The names of all series.
    pub(crate) fn series(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

fn has_label(labels: &str, label: &str, value: &str) -> bool {
    let wanted = format!("{label}=\"{value}\"");
    labels.trim_end_matches('}').split(',').any(|pair| pair == wanted)
}
