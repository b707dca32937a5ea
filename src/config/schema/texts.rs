//! Texts that have a form, for the schemas only: the fields that hold them are plain strings to the parser, which tells the
//! form's faults in better words than a pattern can.
//!
//! Named by `#[schemars(with = …)]` on the raw types of `config` and `directory`.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::Value;

use crate::policy::access::Scope;
use crate::policy::method::Method;
use crate::policy::quota::Per;
use crate::reason::Reason;

macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)+) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
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

texts! {
    /// A name or an id: of a realm, role, route, quota, upstream, account, API key.
    Id = like("^[A-Za-z0-9._~-]{1,64}$", &[]);
    /// An address to listen at.
    Address = like("^.+:[0-9]{1,5}$", &["127.0.0.1:8080", "[::1]:8080"]);
    /// A network, or one address.
    Network = like("^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$", &["10.0.0.0/8", "2001:db8::/32"]);
    /// A level of the gateway's own messages.
    LogLevel = one_of(["error", "warn", "info", "debug", "trace"]);
    /// Where the records of accounts and credentials are.
    DirectoryUrl = like("^(file:.+|redis:|https?://.+)$", &["file:accounts.toml", "redis:", "https://host/directory"]);
    /// A path that a realm owns.
    BasePath = like("^/", &["/", "/ucaas/v1"]);
    /// A way to authenticate.
    SchemeName = one_of(["basic", "token"]);
    /// A method and a pattern of paths.
    MethodAndPattern = method_and_pattern();
    /// Any method, even an unknown one, and a path.
    MethodAndPath = like("^[^ ]+ /", &["GET /customers/cus-42"]);
    /// Whose data.
    ScopeName = one_of(Scope::ALL.map(Scope::name));
    /// Where a request names the account that it is about.
    TargetPlace = like(r"^(path|query|header)\..+$", &["path.customer_id", "query.customer_id?", "header.X-Customer-Id"]);
    /// A field name of RFC 9110.
    HeaderName = like("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$", &[]);
    /// A protocol that a connection may change to.
    Protocol = one_of(["websocket"]);
    /// Who has an allowance of a quota.
    Payer = payer();
    /// Ids from the root of the tree to an account.
    AccountPath = like("^[A-Za-z0-9._~-]{1,64}(/[A-Za-z0-9._~-]{1,64})*$", &["root/res-7/cus-42"]);
    /// Who calls in a policy test.
    Caller = like("^(anonymous|[^:]+:.+)$", &["anonymous", "customer:cus-42"]);
    /// Where a call comes from.
    ClientAddress = like("^[0-9A-Fa-f:.]+$", &["192.0.2.7", "2001:db8::7"]);
    /// What a policy test expects.
    Verdict = one_of(["permit"].into_iter().chain(Reason::ALL.iter().map(|reason| reason.name())));
    /// An e-mail.
    Email = like("^[!-?A-~]+@[!-?A-~]+$", &[]);
    /// A record of a password.
    PasswordRecord = like(r"^\$argon2id\$v=19\$", &[]);
    /// A time with date and offset, as TOML writes it without quotes.
    Moment = json_schema!({ "type": "string", "format": "date-time" });
    /// A digest of an API key.
    KeyDigest = like("^(sha256|hmac-sha256:[A-Za-z0-9._~-]{1,64}):[0-9A-Fa-f]{64}$", &[]);
}

/// A text of this form. The expression is one that all dialects read alike.
pub(super) fn like(pattern: &str, examples: &[&str]) -> Schema {
    let mut schema = json_schema!({ "type": "string", "pattern": pattern });
    if !examples.is_empty() {
        schema.insert("examples".to_owned(), examples.into());
    }
    schema
}

fn one_of<'n>(names: impl IntoIterator<Item = &'n str>) -> Schema {
    let names: Vec<&str> = names.into_iter().collect();
    json_schema!({ "type": "string", "enum": names })
}

fn method_and_pattern() -> Schema {
    let methods = Method::ALL.into_iter().filter(|method| *method != Method::Connect).map(Method::name);
    let pattern = format!("^({}) /", methods.collect::<Vec<_>>().join("|"));
    like(&pattern, &["GET /customers/{customer_id}", "POST /files/{*rest}"])
}

/// The kinds are listed, so that an editor shows them; a role is any name.
fn payer() -> Schema {
    let kinds = Per::KINDS.map(|(name, _)| Value::from(name));
    let role = json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9._~-]{1,64}$" });
    json_schema!({ "anyOf": [{ "type": "string", "enum": kinds }, role] })
}

/// Tables by names of the operator's choice.
pub struct Named<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("Named_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (name, value) = (Id::json_schema(generator), generator.subschema_for::<T>());
        json_schema!({ "type": "object", "propertyNames": name, "additionalProperties": value })
    }
}

/// One, or a list.
pub struct OneOrMany<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("One_or_many_{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [one.clone(), { "type": "array", "items": one, "minItems": 1 }] })
    }
}

/// Roles with a scope each, or a list of roles.
pub struct Allowed;

impl JsonSchema for Allowed {
    fn schema_name() -> Cow<'static, str> {
        "Allowed".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (role, scopes) = (Id::json_schema(generator), Named::<ScopeName>::json_schema(generator));
        json_schema!({ "anyOf": [scopes, { "type": "array", "items": role }] })
    }
}
