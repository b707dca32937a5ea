//! Files judged by the schemas as an editor does it, for the tests of `config` and `directory`.

use jsonschema::Validator;
use serde_json::Value;

/// A schema, ready to judge.
pub(crate) struct Judge(Validator);

impl Judge {
    /// Of a schema that is one by the rules of its own draft.
    pub(crate) fn of(schema: &Value) -> Self {
        assert!(jsonschema::meta::is_valid(schema), "no schema");
        Self(jsonschema::options().should_validate_formats(true).build(schema).unwrap())
    }

    /// What it says against a TOML text.
    pub(crate) fn faults(&self, text: &str) -> Vec<String> {
        let table: toml::Table = toml::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        self.faults_of(&json(toml::Value::Table(table)))
    }

    /// What it says against a value.
    pub(crate) fn faults_of(&self, value: &Value) -> Vec<String> {
        self.0.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
    }
}

/// As a linter sees TOML: times are texts.
fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(yes) => yes.into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, json(value))).collect(),
    }
}
