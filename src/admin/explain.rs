//! `POST /explain`: what a request would come to by the policies and accounts in effect now, and why.
//!
//! Called by the listener after its checks. The same ladder judges as for traffic, over answers that are looked up in the
//! directory, and over the quotas as they stand in this gateway; nothing is sent anywhere, no secret is asked for and
//! nothing is counted or charged.

use std::cell::Cell;
use std::sync::Arc;

use http::Response;
use serde_json::Value;
use time::OffsetDateTime;

use super::Admin;
use super::records::parse;
use super::reply::{Refusal, json_ok};
use crate::cli::verdict::{Around, Wanted, Who, describe, judged_credential};
use crate::directory::Unavailable;
use crate::limits::{Reading, Refused};
use crate::policy::credential::ApiKey;
use crate::policy::facts::{Facts, TargetAnswer};
use crate::policy::principal::{Account, is_id};
use crate::policy::quota::{Charges, QuotaAnswer};
use crate::policy::reach::reach;
use crate::policy::rehearsal::{Call, Tree, rehearse_charged};
use crate::proxy::exchange::Live;

const SHAPE: &str = "{\"as\":\"ROLE:ACCOUNT\", \"method\":\"GET\", \"path\":\"/…\", \"headers\":{}}, where as may also be \
                     credential:ID or anonymous, client an address, and scheme basic or token";

impl Admin {
    pub(super) async fn explain(&self, body: &[u8]) -> Result<Response<Vec<u8>>, Refusal> {
        let wanted: Wanted = parse(body, SHAPE)?;
        let live = self.gateway.live.load_full();
        let mut call = wanted.call().map_err(Refusal::Malformed)?;
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
        let revision = live.snapshot.revision();
        let around = Around { revision, registry: &live.registry, upstream: &upstream, peek: Some(&peek) };
        let unknown = |facts: &Facts<'_>| {
            let target = reach(facts).ok().and_then(|reach| reach.target);
            target.filter(|_| facts.target == Some(TargetAnswer::Unknown)).map(std::borrow::Cow::into_owned)
        };
        let view = |facts: &Facts<'_>, decision: &_| (describe(&around, facts, decision), unknown(facts));
        let arrival = Cell::new(None);
        rehearse_charged(&live.snapshot, tree, call, |charges| self.would_say(charges, &arrival), view)
    }

    /// What the quotas would say to a request now, as far as this gateway knows. Of several that would refuse, the same one
    /// is named; a later stage knows what the earlier one left, as in traffic.
    fn would_say(&self, charges: &Charges<'_>, earlier: &Cell<Option<Reading>>) -> QuotaAnswer {
        match self.gateway.limits.foresee(charges) {
            Ok(reading) => {
                earlier.set(reading);
                QuotaAnswer::Admitted
            }
            Err(refused) => {
                let Refused { quota, retry_after, .. } = refused.after(earlier.get());
                QuotaAnswer::Refused { quota, retry_after }
            }
        }
    }

    /// Fills in who calls.
    async fn cast(&self, call: &mut Call, wanted: &Wanted, live: &Live) -> Result<(), Refusal> {
        match wanted.who() {
            Some(Who::Anonymous) => Ok(()),
            Some(Who::Credential(id)) if is_id(id) => {
                let found = self.gateway.resolver.directory().credential(id).await;
                let credential = found.map_err(|Unavailable(cause)| Refusal::Away(cause))?;
                let credential =
                    credential.ok_or_else(|| Refusal::Malformed(format!("there is no credential `{id}`")))?;
                let account = self.known_account(&credential.account).await?;
                let realm = live.snapshot.owner(&wanted.path).map_or("", |realm| &realm.name);
                judged_credential(call, &credential, account, realm, OffsetDateTime::now_utc().unix_timestamp());
                // No key is compared, so nothing is counted, whatever it says.
                let (key, patience) = (ApiKey::new(id, b"-"), self.gateway.resolver.sessions().store().patience());
                call.lock = self.gateway.resolver.lockout().judge(&key, call.client, &patience).await;
                Ok(())
            }
            Some(Who::Account { role, id }) if is_id(id) => {
                let account = self.known_account(id).await?.ok_or_else(|| Refusal::UnknownAccount(id.to_owned()))?;
                if account.lineage.role() != role {
                    let known = account.lineage.role();
                    return Err(Refusal::Malformed(format!("`{id}` is a {known}, not a {role}")));
                }
                call.caller = Some(account);
                Ok(())
            }
            Some(Who::Credential(_) | Who::Account { .. }) | None => {
                Err(Refusal::Malformed(format!("the body has to be {SHAPE}")))
            }
        }
    }

    async fn known_account(&self, id: &str) -> Result<Option<Arc<Account>>, Refusal> {
        let account = self.gateway.resolver.directory().account(id).await;
        account.map_err(|Unavailable(cause)| Refusal::Away(cause))
    }
}
