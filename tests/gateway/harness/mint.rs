//! Sessions by the thousand without a login each: tokens signed with the lab's secret, and records that differ from a
//! real one only in whose they are. The first is made by a real login, so that nothing here knows the record's form.

use serde_json::{Value, json};

use crate::harness::gateway::Gateway;
use crate::harness::jwt::Forgery;
use crate::harness::lab::login_at_last;
use crate::harness::redis::{RedisServer, Reply};

/// The pattern of all minted sessions.
pub(crate) struct Mint {
    token: Forgery,
    key: String,
    record: Value,
    lifetime_ms: u128,
}

/// One session that is not yet in the store.
pub(crate) struct Minted {
    pub(crate) token: String,
    /// The command that puts its record into the store.
    pub(crate) command: Vec<String>,
}

impl Mint {
    /// Takes the session of a login of alice for a pattern.
    pub(crate) fn of(gateway: &Gateway, redis: &RedisServer) -> Self {
        Self::of_token(&login_at_last(gateway, "", "alice"), redis)
    }

    /// Takes the session of a token for a pattern, from the server that keeps it.
    pub(crate) fn of_token(token: &str, redis: &RedisServer) -> Self {
        let token = Forgery::of(token);
        let key = redis.session_key(&token.jti());
        let Reply::Text(record) = redis.command(&["GET", &key]) else { panic!("a record is text") };
        let record = serde_json::from_str(&record).unwrap_or_else(|error| panic!("{error} in {record}"));
        let lifetime_ms = redis.lifetime(&key).as_millis();
        Self { token, key, record, lifetime_ms }
    }

    /// A session of a user directly below `root`.
    pub(crate) fn session(&self, account: &str, number: usize) -> Minted {
        let jti = format!("{number:032x}");
        let token = self.token.clone().with_claim("jti", json!(jti)).with_claim("sub", json!(account));
        let token = token.with_claim("lineage", json!(format!("root/{account}"))).sign();
        let mut record = self.record.clone();
        record["jti"] = json!(jti);
        record["sub"] = json!(account);
        let key = self.key.replace(&self.token.jti(), &jti);
        let words = ["SET".to_owned(), key, record.to_string(), "PX".to_owned(), self.lifetime_ms.to_string()];
        Minted { token, command: words.into() }
    }
}
