//! What is done to a derived schema before it is shown: TOML has no null, defaults stand in the fields' own texts, and
//! editors list an `enum` better than a choice of constants.
//!
//! Called by the generator, once for each part of a schema.

use schemars::Schema;
use schemars::transform::transform_subschemas;
use serde_json::{Map, Value, json};

/// Polishes a schema and everything in it.
pub(super) fn polish(schema: &mut Schema) {
    transform_subschemas(&mut polish, schema);
    let Some(object) = schema.as_object_mut() else { return };
    drop_null(object);
    merge_choices(object);
    tell_default(object);
    tell_choices(object);
    // `uint16` and the like; the bounds beside them say the same to everybody.
    if object.get("format").and_then(Value::as_str).is_some_and(|format| format != "date-time") {
        object.remove("format");
    }
}

/// A key that may be left out is derived as one that may be null, which no TOML file can say.
fn drop_null(object: &mut Map<String, Value>) {
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [single] = &types[..] {
            let single = single.clone();
            object.insert("type".to_owned(), single);
        }
    }
    if let Some(Value::Array(values)) = object.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    choices.retain(|choice| *choice != json!({ "type": "null" }));
    if let [Value::Object(only)] = &choices[..] {
        let only = only.clone();
        object.remove("anyOf");
        for (key, value) in only {
            object.entry(key).or_insert(value);
        }
    }
}

/// `oneOf` constants becomes one `enum`; what each means goes where editors of TOML look for it.
fn merge_choices(object: &mut Map<String, Value>) {
    let Some(choices) = object.get("oneOf").and_then(Value::as_array) else { return };
    let Some(values) = choices.iter().map(|choice| choice.get("const").cloned()).collect::<Option<Vec<_>>>() else {
        return;
    };
    let told: Vec<Value> = choices.iter().map(|choice| choice["description"].clone()).collect();
    object.remove("oneOf");
    object.insert("type".to_owned(), "string".into());
    object.insert("enum".to_owned(), values.into());
    object.insert("x-taplo".to_owned(), json!({ "docs": { "enumValues": told } }));
}

/// An editor that offers one of several shapes shows what stands at that shape.
fn tell_choices(object: &mut Map<String, Value>) {
    let Some(description) = object.get("description").cloned() else { return };
    let Some(Value::Array(choices)) = object.get_mut("anyOf") else { return };
    for choice in choices.iter_mut().filter_map(Value::as_object_mut).filter(|choice| !choice.contains_key("$ref")) {
        choice.entry("description").or_insert_with(|| description.clone());
    }
}

/// "… Default `\"20s\"`." at the end of a description is the default, for machines too.
fn tell_default(object: &mut Map<String, Value>) {
    let Some(description) = object.get("description").and_then(Value::as_str) else { return };
    let Some((_, told)) = description.rsplit_once("Default ") else { return };
    let told = told.split_once(". ").map_or(told, |(told, _)| told).trim_end_matches('.').trim_matches('`');
    if let Ok(default) = serde_json::from_str(told) {
        object.insert("default".to_owned(), default);
    }
}
