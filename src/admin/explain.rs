//! `POST /explain`: what a request would come to by the policies and accounts in effect now, and why.
//!
//! Called by the listener after its checks. The same ladder judges as for traffic, over answers that are looked up in the
//! directory, and over the quotas as they stand in this gateway; nothing is sent anywhere, no secret is asked for and
//! nothing is counted or charged.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::Response;
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::Admin;
use super::records::parse;
use super::reply::{Refusal, json_ok};
use crate::cli::verdict::{Around, describe};
use crate::directory::Unavailable;
use crate::limits::Standing;
use crate::policy::credential::Scheme;
use crate::policy::facts::{Facts, TargetAnswer};
use crate::policy::principal::{Account, Identity, is_id};
use crate::policy::quota::{Charges, QuotaAnswer};
use crate::policy::reach::reach;
use crate::policy::rehearsal::{Call, Tree, rehearse_charged};
use crate::proxy::exchange::Live;

/// The body.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// `ROLE:ACCOUNT`, `credential:ID` or `anonymous`.
    #[serde(rename = "as")]
    caller: String,
    method: String,
    /// Path and query.
    path: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// From where; loopback when it is left out.
    client: Option<IpAddr>,
}

const SHAPE: &str = "{\"as\":\"ROLE:ACCOUNT\", \"method\":\"GET\", \"path\":\"/…\", \"headers\":{}}, where as may also be \
                     credential:ID or anonymous, and client an address";

impl Admin {
    pub(super) async fn explain(&self, body: &[u8]) -> Result<Response<Vec<u8>>, Refusal> {
        let wanted: Wanted = parse(body, SHAPE)?;
        let live = self.gateway.live.load_full();
        let mut call = Call::new(&wanted.method, &wanted.path);
        call.headers = wanted.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        call.client = wanted.client.unwrap_or(call.client);
        self.cast(&mut call, &wanted, &live).await?;
        let mut tree = Tree::default();
        if let Some(caller) = &call.caller {
            // An empty tree has room for any account.
            let _ = tree.insert(Arc::clone(caller));
        }
        let (mut report, target) = self.judge(&call, &tree, &live);
        if let Some(id) = target
            && let Some(account) = self.known_account(&id).await?
            && tree.insert(account).is_ok()
        {
            (report, _) = self.judge(&call, &tree, &live);
        }
        Ok(json_ok(&report))
    }

    /// What it comes to, and the account that it names if the tree does not have it.
    fn judge(&self, call: &Call, tree: &Tree, live: &Live) -> (Value, Option<String>) {
        let upstream = |index| live.upstreams.find(index).map(crate::upstream::Upstream::name);
        let peek = |charges: &Charges<'_>| self.gateway.limits.peek(charges);
        let around = Around { registry: &live.registry, upstream: &upstream, peek: Some(&peek) };
        let unknown = |facts: &Facts<'_>| {
            let target = reach(facts).ok().and_then(|reach| reach.target);
            target.filter(|_| facts.target == Some(TargetAnswer::Unknown)).map(std::borrow::Cow::into_owned)
        };
        let view = |facts: &Facts<'_>, decision: &_| (describe(&around, facts, decision), unknown(facts));
        rehearse_charged(&live.snapshot, tree, call, |charges| self.would_say(charges), view)
    }

    /// What the quotas would say to a request now, as far as this gateway knows. Of several that would refuse, the same one
    /// is named.
    fn would_say(&self, charges: &Charges<'_>) -> QuotaAnswer {
        let refusing = Standing::refusing(&self.gateway.limits.peek(charges));
        refusing.map_or(QuotaAnswer::Admitted, |standing| QuotaAnswer::Refused {
            quota: standing.quota,
            retry_after: standing.wait_seconds(),
        })
    }

    /// Fills in who calls.
    async fn cast(&self, call: &mut Call, wanted: &Wanted, live: &Live) -> Result<(), Refusal> {
        let nobody = || Refusal::Malformed(format!("the body has to be {SHAPE}"));
        match wanted.caller.split_once(':') {
            None if wanted.caller == "anonymous" => Ok(()),
            Some(("credential", id)) if is_id(id) => {
                let found = self.gateway.resolver.directory().credential(id).await;
                let credential = found.map_err(|Unavailable(cause)| Refusal::Away(cause))?;
                let credential =
                    credential.ok_or_else(|| Refusal::Malformed(format!("there is no credential `{id}`")))?;
                call.scheme = Some(Scheme::Basic);
                call.credential = Some(id.into());
                call.caller = self.known_account(&credential.account).await?;
                let path = wanted.path.split('?').next().unwrap_or_default();
                let realm = live.snapshot.realms().iter().find(|realm| realm.strip_base(path).is_some());
                call.flaw = if !credential.is_for(realm.map_or("", |realm| &realm.name)) {
                    Some(Identity::Invalid("the credential is not for this realm"))
                } else if !credential.is_current(OffsetDateTime::now_utc().unix_timestamp()) {
                    Some(Identity::Expired("the credential is outside its validity period"))
                } else {
                    None
                };
                Ok(())
            }
            Some((role, id)) if is_id(id) => {
                let account = self.known_account(id).await?.ok_or_else(|| Refusal::UnknownAccount(id.to_owned()))?;
                if account.lineage.role() != role {
                    let known = account.lineage.role();
                    return Err(Refusal::Malformed(format!("`{id}` is a {known}, not a {role}")));
                }
                call.caller = Some(account);
                Ok(())
            }
            Some(_) | None => Err(nobody()),
        }
    }

    async fn known_account(&self, id: &str) -> Result<Option<Arc<Account>>, Refusal> {
        let account = self.gateway.resolver.directory().account(id).await;
        account.map_err(|Unavailable(cause)| Refusal::Away(cause))
    }
}
