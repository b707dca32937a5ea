//! The rules of the lock-out over its tables: who may try, and what a result does.
//!
//! Used by the lock-out, which adds the store, the queue of logins and the clock. Nothing here waits, asks or knows what
//! time it is: times are passed in, milliseconds since the epoch by the store's clock.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus::IntCounter;

use super::seen::{Known, Successes};
use super::subject::{Identifier, Key, Subject};
use super::table::{Settled, Standing, Table};
use super::tally::{Allowance, LONGEST_MS};
use super::{Kind, Listed};
use crate::config::settings;
use crate::store::Lock;
use crate::telemetry::metrics::Metrics;

/// A success counts for so long where the network is locked.
pub(super) const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// And for so long where the e-mail is.
pub(super) const MONTH_MS: u64 = 30 * DAY_MS;

/// Failures of one e-mail from everywhere that lock it: the first beyond a hundred.
const EMAIL_ATTEMPTS: u32 = 101;

/// Keys of each kind that a node keeps.
const KEYS: usize = 100_000;

/// Everything that is counted.
pub(super) struct Ledger {
    /// Keyed, and not to be guessed: nobody can choose an identifier that shares another's place.
    hasher: RandomState,
    pairs: Table,
    /// By network: what keeps no grammar, and what the full table of pairs has no room for.
    strangers: Table,
    networks: Table,
    emails: Table,
    seen: Successes,
    rules: ArcSwap<settings::Lockout>,
    locks_set: [(Kind, IntCounter); 3],
}

/// Whether a subject may try now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It may.
    Open,
    /// Not for so many milliseconds.
    Locked(u64),
    /// The same, unless the store knows that it succeeded within the second number of milliseconds.
    Unless(u64, u64),
}

/// What a failure was counted under besides its pair.
///
/// What a lock of a network or an e-mail refuses is strangers, so strangers' failures count for it. Who succeeded from
/// the network is bounded by the pair alone; else the mistyped keys of a thousand honest users behind one address
/// would lock newcomers out for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) network: bool,
    pub(super) everywhere: bool,
}

/// What a success leaves to be told to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proved {
    /// That the pair's failures are forgotten.
    pub(super) clear: bool,
    /// That the pair was seen.
    pub(super) note: bool,
}

impl Ledger {
    pub(super) fn new(rules: settings::Lockout, metrics: &Metrics) -> Self {
        let kinds = [Kind::Pair, Kind::Network, Kind::Email];
        Self {
            hasher: RandomState::new(),
            pairs: Table::new(KEYS),
            strangers: Table::new(KEYS),
            networks: Table::new(KEYS),
            emails: Table::new(KEYS),
            seen: Successes::new(KEYS),
            rules: ArcSwap::from_pointee(rules),
            locks_set: kinds.map(|kind| (kind, metrics.lockouts.with_label_values(&[kind.name()]))),
        }
    }

    /// Takes other settings over; what was counted stays.
    pub(super) fn configure(&self, rules: settings::Lockout) {
        self.rules.store(Arc::new(rules));
    }

    /// From how many failures on a key is locked.
    pub(super) fn allowance(&self, key: Key<'_>) -> Allowance {
        let rules = self.rules.load();
        let failures = match key {
            Key::Pair(_) => rules.attempts,
            Key::Network(_) => rules.network_attempts,
            Key::Email(_) => EMAIL_ATTEMPTS,
        };
        Allowance { failures, within: rules.within }
    }

    /// Whether a subject may try.
    pub(super) fn judge(&self, subject: Subject<'_>, now: u64) -> Judgement {
        if [&self.pairs, &self.strangers, &self.networks, &self.emails].iter().all(|table| table.is_quiet(now)) {
            return Judgement::Open;
        }
        let pair = self.hash(subject.pair());
        let full = match self.table(subject.pair()).standing(pair, now) {
            Standing::Locked(left) => return Judgement::Locked(left),
            Standing::Full => true,
            Standing::Open => false,
        };
        let left = |key: Key<'_>| match self.table(key).standing(self.hash(key), now) {
            Standing::Locked(left) => left,
            Standing::Open | Standing::Full => 0,
        };
        let day = left(subject.whole_network()).max(if full { left(overflow(subject)) } else { 0 });
        let month = subject.everywhere().map_or(0, left);
        let (left, life) = match (day, month) {
            (0, 0) => return Judgement::Open,
            (0, month) => (month, MONTH_MS),
            (day, month) => (day.max(month), DAY_MS),
        };
        match self.seen.known(pair, now, life) {
            Known::Seen => Judgement::Open,
            Known::Unseen => Judgement::Locked(left),
            Known::Unasked if subject.remembered_as().is_none() => Judgement::Locked(left),
            Known::Unasked => Judgement::Unless(left, life),
        }
    }

    /// The secret was wrong. An error says for how many milliseconds the subject was locked already: then nobody is
    /// told that it was wrong.
    pub(super) fn fail(&self, subject: Subject<'_>, now: u64) -> Result<Counted, u64> {
        self.still_open(subject, now)?;
        let counted = Counted {
            network: !self.is_seen(subject, now, DAY_MS),
            everywhere: subject.everywhere().is_some() && !self.is_seen(subject, now, MONTH_MS),
        };
        match self.count(subject.pair(), now, false) {
            Settled::Full if counted.network => told(self.count(overflow(subject), now, false))?,
            settled @ (Settled::Full | Settled::Done(_) | Settled::Locked(_)) => told(settled)?,
        }
        // Others may have locked these since they were judged.
        if counted.network {
            told(self.count(subject.whole_network(), now, false))?;
        }
        if let Some(email) = subject.everywhere().filter(|_| counted.everywhere) {
            told(self.count(email, now, false))?;
        }
        Ok(counted)
    }

    /// The secret was right. An error as above: then nobody is told that it was right.
    pub(super) fn prove(&self, subject: Subject<'_>, now: u64) -> Result<Proved, u64> {
        self.still_open(subject, now)?;
        let pair = self.hash(subject.pair());
        let clear = match self.table(subject.pair()).succeed(pair, now) {
            Settled::Locked(left) => return Err(left),
            Settled::Done(failed) => failed,
            Settled::Full => false,
        };
        Ok(Proved { clear, note: self.seen.note(pair, now) })
    }

    /// A failure that belongs to a network only, locked or not; whether it was counted. It is not while the lock could
    /// hardly be longer: nothing refuses who sends such tokens, and a flood of them must not become one of calls to the
    /// store and of news to every gateway.
    pub(super) fn fail_network(&self, subject: Subject<'_>, now: u64) -> bool {
        let (_, left) = self.networks.tally(self.hash(subject.whole_network()), now);
        let counts = left.is_none_or(|left| left < LONGEST_MS / 2);
        if counts {
            self.count(subject.whole_network(), now, true);
        }
        counts
    }

    /// Failures of a pair, and whether it is locked.
    pub(super) fn failures(&self, subject: Subject<'_>, now: u64) -> (u32, Option<u64>) {
        self.table(subject.pair()).tally(self.hash(subject.pair()), now)
    }

    /// Takes over what the store knows of a key; an open one without failures clears it.
    pub(super) fn follow(&self, key: Key<'_>, lock: Lock, now: u64) {
        let within = self.rules.load().within;
        self.table(key).follow(self.hash(key), &|| key.to_string().into(), lock, now, within);
    }

    /// Takes over whether the store has seen a pair, and when.
    pub(super) fn learn_seen(&self, subject: Subject<'_>, now: u64, seen: Option<u64>) {
        self.seen.learn(self.hash(subject.pair()), now, seen);
    }

    /// Under which subscription the store last said where a pair stands.
    pub(super) fn stood(&self, subject: Subject<'_>) -> Option<u64> {
        self.seen.stood(self.hash(subject.pair()))
    }

    /// The store has said where a pair stands, asked under this subscription.
    pub(super) fn note_stood(&self, subject: Subject<'_>, epoch: u64) {
        self.seen.note_stood(self.hash(subject.pair()), epoch);
    }

    /// The store could not be told that a pair was seen.
    pub(super) fn untold(&self, subject: Subject<'_>) {
        self.seen.untold(self.hash(subject.pair()));
    }

    /// Forgets a key; whether it was there.
    pub(super) fn forget(&self, key: Key<'_>) -> bool {
        self.table(key).forget(self.hash(key))
    }

    /// Every key with failures, in the order of their names.
    pub(super) fn list(&self, now: u64) -> Vec<Listed> {
        let tables = [
            (Kind::Pair, &self.pairs),
            (Kind::Pair, &self.strangers),
            (Kind::Network, &self.networks),
            (Kind::Email, &self.emails),
        ];
        let of = |(kind, table): (Kind, &Table)| {
            let listed = move |(key, failures, until)| Listed { key, kind, failures, until };
            table.list(now).into_iter().map(listed)
        };
        let mut all: Vec<Listed> = tables.into_iter().flat_map(of).collect();
        all.sort_by(|left, right| left.key.cmp(&right.key));
        all
    }

    /// What decides in which order the store is told: the same for one key every time.
    pub(super) fn hash(&self, key: Key<'_>) -> u64 {
        self.hasher.hash_one(key)
    }

    fn still_open(&self, subject: Subject<'_>, now: u64) -> Result<(), u64> {
        match self.judge(subject, now) {
            Judgement::Open => Ok(()),
            Judgement::Locked(left) | Judgement::Unless(left, _) => Err(left),
        }
    }

    fn is_seen(&self, subject: Subject<'_>, now: u64, life: u64) -> bool {
        self.seen.known(self.hash(subject.pair()), now, life) == Known::Seen
    }

    fn count(&self, key: Key<'_>, now: u64, although: bool) -> Settled {
        let name = || key.to_string().into();
        let settled = self.table(key).fail(self.hash(key), &name, now, self.allowance(key), although);
        if settled == Settled::Done(true) {
            let set = self.locks_set.iter().filter(|(kind, _)| *kind == Kind::of(key));
            set.for_each(|(_, counter)| counter.inc());
        }
        settled
    }

    fn table(&self, key: Key<'_>) -> &Table {
        match key {
            Key::Pair(Subject { identifier: Identifier::Stranger, network: _ }) => &self.strangers,
            Key::Pair(_) => &self.pairs,
            Key::Network(_) => &self.networks,
            Key::Email(_) => &self.emails,
        }
    }
}

/// What is counted for a pair that the full table has no room for.
const fn overflow(subject: Subject<'_>) -> Key<'_> {
    Key::Pair(Subject { identifier: Identifier::Stranger, network: subject.network })
}

/// A failure that could not be counted was still one, and may be told.
const fn told(settled: Settled) -> Result<(), u64> {
    match settled {
        Settled::Locked(left) => Err(left),
        Settled::Done(_) | Settled::Full => Ok(()),
    }
}
