//! What a request comes to by one set, and how two such outcomes differ.
//!
//! Called by `difference::crossing`. The verdict is the ladder's and the identity headers are `told`'s: everything that an
//! upstream can tell one permit from another by is compared.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::super::access::Scope;
use super::super::ladder::{Decision, Permit};
use super::super::quota::{Charged, Quota, Stage};
use super::super::rehearsal::{Call, Tree, rehearse};
use super::super::route::{Destination, Realm, Route};
use super::super::told::identity_headers;
use super::{Kind, Side, permit_words};
use crate::reason::Reason;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome<'s> {
    Deny(Reason),
    Permit(Passage<'s>),
}

/// What the one who answers is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Passage<'s> {
    /// Who answers.
    to: &'s str,
    /// Whose accounts it is about: those of an upstream are told, those of a login are meant.
    realm: Option<&'s str>,
    scope: Option<Scope>,
    target: Option<Box<str>>,
    /// Over all identity headers but the scope's.
    told: u64,
    /// Bytes that the path is sent without.
    stripped: usize,
    authorization: bool,
}

impl Outcome<'_> {
    pub(super) const fn is_permit(&self) -> bool {
        matches!(self, Outcome::Permit(_))
    }

    fn label(&self) -> String {
        match self {
            Outcome::Deny(reason) => reason.name().to_owned(),
            Outcome::Permit(passage) => permit_words(passage.to, passage.scope, passage.target.is_some()),
        }
    }
}

/// Judges a call by one set.
pub(super) fn of<'s>(side: Side<'s>, tree: &Tree, call: &Call) -> Outcome<'s> {
    rehearse(side.snapshot, tree, call, |_, decision| match decision {
        Decision::Permit(permit) => passage(side, permit).map_or(Outcome::Deny(Reason::Internal), Outcome::Permit),
        Decision::Deny(denial) => Outcome::Deny(denial.reason),
        Decision::Ask(_) => Outcome::Deny(Reason::Internal),
    })
}

fn passage<'s>(side: Side<'s>, permit: &Permit) -> Option<Passage<'s>> {
    let realm: &'s Realm = side.snapshot.realm(permit.realm())?;
    let route: &'s Route = side.snapshot.route(permit.realm(), permit.route())?;
    let mut told = DefaultHasher::new();
    identity_headers(permit, realm, |name, value| {
        if name != "X-Auth-Scope" {
            (name, value).hash(&mut told);
        }
    });
    let own = permit.destination().own_words();
    let to = match permit.destination() {
        Destination::Upstream(index) => side.upstream(index),
        Destination::Login | Destination::Logout => own.unwrap_or_default(),
    };
    Some(Passage {
        to,
        realm: (own.is_some() || permit.principal().is_some()).then_some(&*realm.name),
        scope: permit.scope(),
        target: permit.target().map(Into::into),
        told: told.finish(),
        stripped: if route.strip_base { realm.base.len() } else { 0 },
        authorization: route.forward_authorization,
    })
}

/// What a permitted call is charged to, by either stage and once the e-mail of a login is read.
pub(super) fn charged<'s>(side: Side<'s>, tree: &Tree, call: &Call) -> Vec<&'s Quota> {
    let indexes = rehearse(side.snapshot, tree, call, |facts, _| {
        let (index, realm) = facts.place.realm?;
        let route = facts.place.route();
        let login = route.filter(|route| route.destination == Destination::Login).map(|_| "e-mail");
        let charged = Charged { realm, route, principal: facts.principal(), client: facts.head.client, login };
        let due = [Stage::Arrival, Stage::Permitted].map(|stage| charged.due(stage));
        Some((index, due.iter().flat_map(|due| due.iter().map(|charge| charge.index)).collect::<Vec<_>>()))
    });
    let realm = indexes.as_ref().and_then(|(realm, _)| side.snapshot.realm(*realm));
    let (Some(realm), Some((_, indexes))) = (realm, indexes) else { return Vec::new() };
    indexes.into_iter().filter_map(|index| realm.quota(index)).collect()
}

/// How two outcomes differ: what it means, and both in words.
pub(super) fn compare(old: &Outcome<'_>, new: &Outcome<'_>) -> Vec<(Kind, String, String)> {
    let as_whole = |kind| vec![(kind, old.label(), new.label())];
    match (old, new) {
        (Outcome::Deny(before), Outcome::Deny(after)) if before == after => Vec::new(),
        (Outcome::Deny(_), Outcome::Deny(_)) => as_whole(Kind::RefusedOtherwise),
        (Outcome::Deny(_), Outcome::Permit(_)) => as_whole(Kind::Widened),
        (Outcome::Permit(_), Outcome::Deny(_)) => as_whole(Kind::Narrowed),
        (Outcome::Permit(before), Outcome::Permit(after)) if before == after => Vec::new(),
        (Outcome::Permit(before), Outcome::Permit(after)) => passages(before, after),
    }
}

fn passages(old: &Passage<'_>, new: &Passage<'_>) -> Vec<(Kind, String, String)> {
    let mut found = Vec::new();
    if let (Some(before), Some(after)) = (old.scope, new.scope) {
        let kinds = [(Kind::Widened, before.holds(after)), (Kind::Narrowed, after.holds(before))];
        for (kind, _) in kinds.into_iter().filter(|(_, held)| !held) {
            found.push((kind, format!("scope {before}"), format!("scope {after}")));
        }
    }
    let mut rerouted = |before: String, after: String| {
        if before != after {
            found.push((Kind::Rerouted, before, after));
        }
    };
    rerouted(format!("to {}", old.to), format!("to {}", new.to));
    let sent = |passage: &Passage<'_>| match passage.stripped {
        0 => "sent with the whole path".to_owned(),
        stripped => format!("sent without the path's first {stripped} characters"),
    };
    rerouted(sent(old), sent(new));
    let with = |sent: bool| if sent { "sent with Authorization" } else { "sent without Authorization" };
    rerouted(with(old.authorization).to_owned(), with(new.authorization).to_owned());
    let realm = |passage: &Passage<'_>| match passage.realm {
        Some(realm) => format!("in realm {realm}"),
        None => "without saying who calls".to_owned(),
    };
    rerouted(realm(old), realm(new));
    if old.target != new.target {
        let names = |passage: &Passage<'_>| match &passage.target {
            Some(_) if old.target.is_some() && new.target.is_some() => "naming one account",
            Some(_) => "naming the account",
            None => "naming no account",
        };
        let after = if names(old) == names(new) { "naming another" } else { names(new) };
        rerouted(names(old).to_owned(), after.to_owned());
    } else if old.told != new.told && old.realm == new.realm {
        rerouted("with some identity headers".to_owned(), "with others".to_owned());
    }
    found
}
