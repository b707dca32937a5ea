//! What operators ask and change of sessions, credentials, lock-outs and directory records.
//!
//! Called by the listener after its checks. It goes through `identity` and `directory`, so that what it ends is over in
//! every gateway; an account that the directory does not know is refused rather than quietly marked, but a directory
//! that cannot tell stops no revocation.

use std::sync::Arc;

use http::Response;
use serde::Deserialize;
use serde_json::json;

use super::Admin;
use super::reply::{Refusal, json_ok};
use crate::directory::Unavailable;
use crate::identity::usage;
use crate::policy::principal::{Account, is_id};
use crate::policy::uri::decode_query;
use crate::store::Revocation;

type Answer = Result<Response<Vec<u8>>, Refusal>;

/// The body of `POST /revocations`: exactly one of these.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Wanted {
    Jti(String),
    Account(String),
    Subtree(String),
}

/// The body of `POST /directory/changes`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Changes {
    keys: Vec<String>,
}

impl Admin {
    /// `GET /sessions?account=`: those that go on, oldest first; `started` in milliseconds, `expires` in seconds since
    /// the epoch, both as the record has them.
    pub(super) async fn sessions(&self, query: &str) -> Answer {
        let id = parameter(query, "account")?;
        let id = id.ok_or_else(|| Refusal::Malformed("name one account: /sessions?account=ID".to_owned()))?;
        let account = self.account(&id).await?;
        let sessions = self.gateway.resolver.sessions().list(account.lineage.as_str()).await.map_err(Refusal::Away)?;
        let rows: Vec<_> = sessions
            .iter()
            .map(|session| {
                json!({ "jti": session.jti, "account": session.sub, "started": session.started,
                    "expires": session.expires })
            })
            .collect();
        Ok(json_ok(&rows))
    }

    /// `POST /revocations`: whether there was anything to end.
    pub(super) async fn revoke(&self, body: &[u8]) -> Answer {
        let wanted: Wanted = parse(body, "one of {\"jti\":…}, {\"account\":…} and {\"subtree\":…}")?;
        let revocation = match &wanted {
            Wanted::Jti(jti) if is_id(jti) => Revocation::Session(jti),
            Wanted::Jti(_) => return Err(Refusal::Malformed("a jti is 1 to 64 of A-Z a-z 0-9 . _ ~ -".to_owned())),
            Wanted::Account(id) => {
                self.refuse_unknown(id).await?;
                Revocation::Account(id)
            }
            Wanted::Subtree(id) => {
                self.refuse_unknown(id).await?;
                Revocation::Subtree(id)
            }
        };
        let revoked = self.gateway.resolver.sessions().revoke(revocation).await.map_err(Refusal::Away)?;
        tracing::info!(?revocation, revoked, "revoked by an operator");
        Ok(json_ok(&json!({ "revoked": revoked })))
    }

    /// `GET /credentials`: those that were used and when last, in seconds since the epoch; what other gateways say is up
    /// to a minute old. With the store away, only what this one knows.
    pub(super) async fn credentials(&self) -> Response<Vec<u8>> {
        let directory = self.gateway.resolver.directory();
        let used = usage::last_used(directory, &self.store).await.unwrap_or_else(|error| {
            tracing::warn!("the store does not say when keys were used last: {error}");
            directory.last_used().into_iter().map(|(id, at)| ((*id).into(), at)).collect()
        });
        let rows: Vec<_> = used.iter().map(|(id, seconds)| json!({ "id": &**id, "last_used": seconds })).collect();
        json_ok(&rows)
    }

    /// `POST /directory/changes`: how many of the keys name a record.
    pub(super) fn note_changes(&self, body: &[u8]) -> Answer {
        let changes: Changes = parse(body, "{\"keys\":[\"account:ID\", \"credential:ID\", \"email:E-MAIL\"]}")?;
        let known = self.gateway.resolver.directory().forget(changes.keys.iter().map(String::as_str));
        Ok(json_ok(&json!({ "records": known })))
    }

    /// `GET /lockouts`: every key with failures that this gateway knows; `until` in milliseconds since the epoch, 0 for
    /// one that is not locked.
    pub(super) fn lockouts(&self) -> Response<Vec<u8>> {
        let listed = self.gateway.resolver.lockout().list();
        let rows: Vec<_> = listed
            .iter()
            .map(|row| json!({ "key": row.key, "kind": row.kind.name(), "failures": row.failures, "until": row.until }))
            .collect();
        json_ok(&rows)
    }

    /// `DELETE /lockouts[?key=]`: how many keys were forgotten. One that only other gateways know is forgotten there.
    pub(super) async fn clear_lockouts(&self, query: &str) -> Answer {
        let lockout = self.gateway.resolver.lockout();
        let key = parameter(query, "key")?;
        let cleared = match &key {
            Some(key) => lockout.clear(key).await.map(usize::from),
            None => lockout.clear_all().await,
        };
        let cleared = cleared.map_err(Refusal::Away)?;
        tracing::info!(key = key.as_deref().unwrap_or("all"), cleared, "lock-outs forgotten by an operator");
        Ok(json_ok(&json!({ "cleared": cleared })))
    }

    async fn account(&self, id: &str) -> Result<Arc<Account>, Refusal> {
        let found = self.look_up(id).await?.map_err(|Unavailable(cause)| Refusal::Away(cause))?;
        found.ok_or_else(|| Refusal::UnknownAccount(id.to_owned()))
    }

    /// Only a definite answer refuses: whose sessions have to end is not up to a directory that is away, and a watermark
    /// of an account that nobody has does no harm.
    async fn refuse_unknown(&self, id: &str) -> Result<(), Refusal> {
        match self.look_up(id).await? {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(Refusal::UnknownAccount(id.to_owned())),
            Err(Unavailable(cause)) => {
                tracing::warn!(account = id, "revoked without knowing whether there is such an account: {cause}");
                Ok(())
            }
        }
    }

    async fn look_up(&self, id: &str) -> Result<Result<Option<Arc<Account>>, Unavailable>, Refusal> {
        if !is_id(id) {
            return Err(Refusal::Malformed("an account's id is 1 to 64 of A-Z a-z 0-9 . _ ~ -".to_owned()));
        }
        Ok(self.gateway.resolver.directory().account(id).await)
    }
}

/// The parser's own words are left out: they would repeat what was sent.
pub(super) fn parse<'b, T: Deserialize<'b>>(body: &'b [u8], expected: &str) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|_| Refusal::Malformed(format!("the body has to be {expected}")))
}

/// One parameter of a query; another one, or one that stands twice, would be overlooked.
pub(super) fn parameter(query: &str, name: &str) -> Result<Option<String>, Refusal> {
    let mut found = None;
    for piece in query.split('&').filter(|piece| !piece.is_empty()) {
        let (key, value) = piece.split_once('=').unwrap_or((piece, ""));
        let value = decode_query(value).filter(|value| !value.is_empty() && key == name && found.is_none());
        let value = value.ok_or_else(|| Refusal::Malformed(format!("the query takes `{name}=…`, once")))?;
        found = Some(value.into_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_stands_once_and_alone() {
        assert_eq!(parameter("", "key").unwrap(), None);
        assert_eq!(parameter("key=pair:a%40b.c+d", "key").unwrap().as_deref(), Some("pair:a@b.c d"));
        for odd in ["key=", "key", "key=a&key=b", "other=a", "key=a&other=b", "key=%zz"] {
            assert!(parameter(odd, "key").is_err(), "{odd}");
        }
    }

    #[test]
    fn a_revocation_names_exactly_one_thing() {
        let read = |text: &str| parse::<Wanted>(text.as_bytes(), "").is_ok();
        assert!(read(r#"{"jti":"a"}"#) && read(r#"{"account":"a"}"#) && read(r#"{"subtree":"a"}"#));
        for odd in ["", "{}", "[]", r#""jti""#, r#"{"jti":"a","account":"b"}"#, r#"{"jti":5}"#, r#"{"Jti":"a"}"#] {
            assert!(!read(odd), "{odd}");
        }
    }
}
