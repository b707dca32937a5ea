//! The schemas of the value types: periods, sizes, rates, secrets, servers, and what may be one or many.
//!
//! Their parsers stand in `value`, `rate` and `spanned`; what is accepted there has to be accepted here, which a test holds.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::texts::like;
use crate::config::rate::{Rate, Unit};
use crate::config::spanned::Spanned;
use crate::config::value::{ByteRate, Listed, Period, SecretSource, ServerAddress, Size, TextSource, Texts};

macro_rules! schemas {
    ($($type:ident = $schema:expr;)+) => {
        $(
            impl JsonSchema for $type {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($type).into()
                }

                fn inline_schema() -> bool {
                    true
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    $schema
                }
            }
        )+
    };
}

schemas! {
    Period = like("^[0-9]+(ms|s|m|h|d)$", &["250ms", "10s", "20m", "1h", "30d"]);
    Size = like("^[0-9]+(B|KiB|MiB|GiB)$", &["512B", "8KiB", "1MiB"]);
    ByteRate = like("^[0-9]+(B|KiB|MiB|GiB)/s$", &["1KiB/s"]);
    Rate = rate();
    SecretSource = secret_source();
    TextSource = json_schema!({ "anyOf": [{ "type": "string" }, secret_source()] });
    ServerAddress = server_address();
    Texts = json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] });
}

/// A rate of none would refuse everything.
fn rate() -> Schema {
    let pattern = format!("^0*[1-9][0-9]*/({})$", Unit::ALL.map(Unit::name).join("|"));
    like(&pattern, &["100/s", "600/min", "5/h"])
}

fn secret_source() -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "env": { "type": "string", "minLength": 1, "description": "An environment variable that holds it." },
            "file": { "type": "string", "minLength": 1, "description": "A file that holds it." },
        },
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": false,
    })
}

fn server_address() -> Schema {
    let mut address = like("^[^/]+:0*[1-9][0-9]*$", &["127.0.0.1:9101", "meeting.internal:9101"]);
    let written = address.clone();
    address.insert("description".to_owned(), "Host and port.".into());
    json_schema!({
        "anyOf": [
            written,
            {
                "type": "object",
                "properties": {
                    "address": address,
                    "weight": {
                        "type": "integer",
                        "minimum": 1,
                        "maximum": 100,
                        "description": "Its share of the requests. Default 1.",
                    },
                },
                "required": ["address"],
                "additionalProperties": false,
            },
        ],
    })
}

/// The place of a value is no part of the file.
impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Listed<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Listed_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({
            "anyOf": [
                { "type": "object", "additionalProperties": value },
                { "type": "array", "items": { "type": "string" } },
            ],
        })
    }
}
