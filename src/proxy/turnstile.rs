//! Stage 0c: what is refused without the carrier: heads with a fault, and requests whose quotas on arrival have nothing left.
//!
//! Called by the edge, which writes the answer. A client over its quota costs the least here: nothing of the carrier is set
//! up for it. Nothing is charged: who passes is charged when it is judged, and quotas that all gateways share are judged
//! there alone, since only the store knows how they stand.

use std::net::IpAddr;
use std::sync::Arc;

use super::Gateway;
use super::admit::{notes, refusal};
use super::exchange::{Exchange, Notes};
use super::finish::app_type_token;
use super::intake;
use super::raw_head::RawHead;
use crate::limits::{Refused, Said};
use crate::policy::decision::Denial;
use crate::policy::facts::{AppType, Facts, Fault, RequestHead};
use crate::policy::ladder::{Decision, decide};
use crate::policy::quota::{QuotaAnswer, Stage};
use crate::policy::route::Realm;
use crate::problem::envelope::Problem;
use crate::reason::Reason;

/// A request that goes no further.
pub(super) struct Turned<'h> {
    /// What is remembered of it.
    pub exchange: Exchange,
    /// What the client is told.
    pub problem: Problem,
    /// Of the head, for the log.
    pub path: &'h str,
    /// The same.
    pub app_type: Option<&'h str>,
}

impl Gateway {
    /// Refuses a head for its fault.
    pub(super) fn turn_away<'h>(&self, head: &'h RawHead, fault: Fault, peer: IpAddr) -> Turned<'h> {
        let mut exchange = self.begin();
        intake::note_sender(&mut exchange, intake::sender(peer, head, &self.trusted_proxies), head);
        let live = Arc::clone(&exchange.live);
        let mut judged = RequestHead::read(head.method(), head.target(), head, exchange.sender.client);
        judged.fault = Some(fault);
        turned(exchange, &Facts::new(&judged, &live.snapshot), (loggable_path(head.target()), judged.app_type))
    }

    /// Refuses a request whose quotas on arrival have nothing left; `None`: it may go on and be judged. The head was read as
    /// the peer's; whoever the peer speaks for is found out here.
    pub(super) fn over_quota<'h>(&self, head: &'h RawHead, mut judged: RequestHead<'h>) -> Option<Turned<'h>> {
        let live = self.live.load();
        if !live.refuses_arrivals {
            return None;
        }
        let sender = intake::sender(judged.client, head, &self.trusted_proxies);
        judged.client = sender.client;
        let mut facts = Facts::new(&judged, &live.snapshot);
        let (index, _) = facts.place.realm?;
        let charges = facts.charges(Stage::Arrival)?;
        let note = |quota, said: Said| live.meters.record_quota(index, quota, (said as usize, said.name()));
        let Refused { quota, retry_after, reading } = self.limits.refused_here(&charges, note)?;
        facts.arrival = Some(QuotaAnswer::Refused { quota, retry_after });
        let mut exchange = self.begin_with(Arc::clone(&live));
        intake::note_sender(&mut exchange, sender, head);
        exchange.spending.reading = reading;
        Some(turned(exchange, &facts, (judged.path, judged.app_type)))
    }
}

fn turned<'h>(mut exchange: Exchange, facts: &Facts<'_>, (path, app_type): (&'h str, AppType<'h>)) -> Turned<'h> {
    let decision = decide(facts);
    exchange.notes = Notes { quota: facts.refused_quota(), ..notes(facts, &decision) };
    let denial = match decision {
        Decision::Deny(denial) => denial,
        Decision::Permit(_) | Decision::Ask(_) => Denial::new(Reason::Internal, "what is to be refused was not"),
    };
    let (problem, cause) = refusal(facts, denial);
    exchange.fail(problem.reason, cause);
    Turned { exchange, problem, path, app_type: app_type_token(app_type) }
}

/// Whether any request can be refused by [`Gateway::over_quota`]: where none can, no head is looked at twice.
pub(super) fn refuses_arrivals(realms: &[Realm]) -> bool {
    let mut quotas = realms.iter().flat_map(|realm| &realm.quotas);
    quotas.any(|quota| quota.per.stage() == Stage::Arrival && !quota.limit.is_shared())
}

/// The path of a target that may be anything; no query, which may hold secrets.
fn loggable_path(target: &[u8]) -> &str {
    let text = std::str::from_utf8(target).unwrap_or("-");
    let text = text.split(['?', '#']).next().unwrap_or("-");
    // `user:password@host` of an absolute form is nothing for a log.
    match text.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("-", |slash| &rest[slash..]),
        None if text.is_empty() => "-",
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logged_path_holds_no_query_and_no_userinfo() {
        for (target, path) in [
            ("/a/../b?token=x", "/a/../b"),
            ("http://user:pass@host/a?b", "/a"),
            ("http://user:pass@host", "-"),
            ("", "-"),
            ("*", "*"),
            ("/a#secret", "/a"),
        ] {
            assert_eq!(loggable_path(target.as_bytes()), path);
        }
        assert_eq!(loggable_path(b"\xff"), "-");
    }
}
