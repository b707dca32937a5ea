//! Attack tokens made from a real one: its header and claims, our changes, signed with the lab's own secret. A token
//! forged without a change must pass, or no refusal of a changed one means anything.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Map, Value};
use sha2::Sha256;

use crate::harness::builder::SECRET;

/// A token taken apart.
#[derive(Clone)]
pub(crate) struct Forgery {
    header: Map<String, Value>,
    claims: Map<String, Value>,
}

impl Forgery {
    /// Takes a real token apart.
    #[track_caller]
    pub(crate) fn of(token: &str) -> Self {
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(parts.len(), 3, "a JWT has three parts: {token}");
        Self { header: object(parts[0]), claims: object(parts[1]) }
    }

    /// A header field of the token.
    pub(crate) fn head(&self, name: &str) -> &Value {
        self.header.get(name).unwrap_or(&Value::Null)
    }

    /// A claim of the token.
    pub(crate) fn claim(&self, name: &str) -> &Value {
        self.claims.get(name).unwrap_or(&Value::Null)
    }

    /// A claim that is a whole number.
    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> u64 {
        self.claim(name).as_u64().unwrap_or_else(|| panic!("{name} is a whole number: {}", self.claim(name)))
    }

    /// The session's id.
    #[track_caller]
    pub(crate) fn jti(&self) -> String {
        self.claim("jti").as_str().expect("jti is a string").to_owned()
    }

    /// With another header field; `Null` leaves it out.
    pub(crate) fn with_head(mut self, name: &str, value: Value) -> Self {
        set(&mut self.header, name, value);
        self
    }

    /// With another claim; `Null` leaves it out.
    pub(crate) fn with_claim(mut self, name: &str, value: Value) -> Self {
        set(&mut self.claims, name, value);
        self
    }

    /// Signed as the gateway signs.
    pub(crate) fn sign(&self) -> String {
        self.sign_with(SECRET.as_bytes())
    }

    /// Signed with another key.
    pub(crate) fn sign_with(&self, key: &[u8]) -> String {
        let claims = Value::Object(self.claims.clone()).to_string();
        let signed = format!("{}.{}", encode(&Value::Object(self.header.clone()).to_string()), encode(&claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

fn set(map: &mut Map<String, Value>, name: &str, value: Value) {
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
}

fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

#[track_caller]
fn object(part: &str) -> Map<String, Value> {
    let bytes = URL_SAFE_NO_PAD.decode(part).unwrap_or_else(|error| panic!("{error} in {part}"));
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{error} in {part}"))
}
