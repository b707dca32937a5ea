//! One line of the access log, read leniently where the contract fixes a field's meaning but not its JSON type.

use serde_json::Value;

/// The fields that a line may have (contract section 11).
pub(crate) const FIELDS: [&str; 30] = [
    "time",
    "request_id",
    "client",
    "http_version",
    "realm",
    "route",
    "method",
    "path",
    "status",
    "outcome",
    "reason",
    "cause",
    "role",
    "account",
    "credential",
    "scheme",
    "lineage",
    "target",
    "relation",
    "scope",
    "app_type",
    "quota",
    "duration",
    "gateway_time",
    "upstream",
    "upstream_status",
    "bytes_in",
    "bytes_out",
    "user_agent",
    "revision",
];

/// One line.
#[derive(Clone, Debug)]
pub(crate) struct Line(Value);

impl Line {
    /// Parses a line; anything but one JSON object is a broken log.
    pub(crate) fn parse(text: &str) -> Self {
        let value: Value =
            serde_json::from_str(text).unwrap_or_else(|error| panic!("{error} in the access line {text:?}"));
        assert!(value.is_object(), "an access line is an object: {text}");
        Self(value)
    }

    /// A field as text: empty where it is absent, null or `-`; the ids of a list joined by `/`.
    pub(crate) fn text(&self, field: &str) -> String {
        match &self.0[field] {
            Value::Null => String::new(),
            Value::String(text) if text == "-" => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("/"),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Object(_)) => other.to_string(),
        }
    }

    /// The names of the fields that are there.
    pub(crate) fn fields(&self) -> Vec<&str> {
        self.0.as_object().map(|object| object.keys().map(String::as_str).collect()).unwrap_or_default()
    }

    /// Asserts several fields at once.
    #[track_caller]
    pub(crate) fn assert(&self, expected: &[(&str, &str)]) {
        for (field, value) in expected {
            assert_eq!(self.text(field), *value, "{field} of {}", self.0);
        }
    }
}
