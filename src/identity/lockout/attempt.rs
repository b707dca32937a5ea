//! One login under the lock-out: from its first question to what came of it.
//!
//! Called by `login`. Unlike a Basic request a login calls the store anyway, so it asks and counts there within the
//! request, for as long as its patience lasts, and a result is told only if no gateway has locked the pair by then. What
//! the result does not depend on is left as an errand. It waits for a place, since a password takes long to check; who
//! leaves gives the place back.

use std::net::IpAddr;

use super::ledger::Judgement;
use super::subject::{Key, Subject};
use super::waiting_room::{Present, Turn};
use super::{Errand, Lockout, seconds};
use crate::store::Patience;

/// A login that may go on.
pub(in crate::identity) struct Attempt<'l> {
    lockout: &'l Lockout,
    subject: Subject<'l>,
    patience: &'l Patience,
    /// Failures of the pair when it was let in.
    failures: u32,
    /// Its place among those that are checked; held for as long as this lives.
    _place: Present<'l>,
}

/// Whether a login may go on.
pub(in crate::identity) enum Entry<'l> {
    /// It may; what comes of it has to be settled.
    Open(Attempt<'l>),
    /// Locked, for so many seconds.
    Locked(u32),
    /// Too many logins of this pair wait already.
    Crowded,
}

impl Lockout {
    /// Whether a pair is locked as far as this node knows: seconds. Asks nobody, so that what is locked costs nothing.
    pub(in crate::identity) fn login_locked(&self, email: Option<&str>, client: IpAddr) -> Option<u32> {
        match self.ledger.judge(Subject::email(email, client), self.now()) {
            Judgement::Locked(left) => Some(seconds(left)),
            Judgement::Open | Judgement::Unless(..) => None,
        }
    }

    /// Lets a login in, after a wait if others of the pair are being checked. `email` is canonical, or `None`.
    pub(in crate::identity) async fn enter<'l>(
        &'l self,
        email: Option<&'l str>,
        client: IpAddr,
        patience: &'l Patience,
    ) -> Entry<'l> {
        let subject = Subject::email(email, client);
        let Some(mut place) = self.waiting_room.arrive(self.ledger.hash(subject.pair())) else { return Entry::Crowded };
        self.ask_where_it_stands(subject, patience).await;
        let turn = || async move {
            match self.ledger.judge(subject, self.now()) {
                Judgement::Locked(left) => Turn::Refuse(left),
                Judgement::Unless(left, life) if !self.was_seen(subject, life, patience).await => Turn::Refuse(left),
                Judgement::Unless(..) | Judgement::Open => {
                    let (failures, _) = self.ledger.failures(subject, self.now());
                    // When a lock is over there is one more, and it locks again.
                    Turn::Places(self.ledger.allowance(subject.pair()).failures.saturating_sub(failures).max(1))
                }
            }
        };
        match place.take_place(turn).await {
            Ok(()) => {
                let (failures, _) = self.ledger.failures(subject, self.now());
                Entry::Open(Attempt { lockout: self, subject, patience, failures, _place: place })
            }
            Err(left) => Entry::Locked(seconds(left)),
        }
    }

    /// What other gateways counted while this one was not listening. A store that is away is no reason to refuse.
    async fn ask_where_it_stands(&self, subject: Subject<'_>, patience: &Patience) {
        let keys = [Some(subject.pair()), Some(subject.whole_network()), subject.everywhere()];
        let keys: Vec<_> = keys.into_iter().flatten().collect();
        let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let Ok(locks) = self.measured("locks", patience.wait(self.store.locks(&names))).await else { return };
        // That the store has nothing is no news: it may be new, or not yet told.
        for (key, lock) in keys.into_iter().zip(locks).filter(|(_, lock)| lock.failures > 0) {
            self.ledger.follow(key, lock, self.now());
        }
    }
}

impl Attempt<'_> {
    /// The login failed, for whatever reason the client is told the same about.
    ///
    /// # Errors
    /// Seconds: the pair is locked by now, and this login is answered like one that came later.
    pub(in crate::identity) async fn failed(self) -> Result<(), u32> {
        let Self { lockout, subject, patience, failures, _place } = self;
        let also = lockout.ledger.fail(subject, lockout.now()).map_err(seconds)?;
        let count = async |key: Option<Key<'_>>| match key {
            Some(key) if patience.is_used_up() => {
                lockout.leave(key, Errand::Failed);
                None
            }
            Some(key) => lockout.count(key, &key.to_string(), patience).await,
            None => None,
        };
        let pair = subject.pair();
        let network = Some(subject.whole_network()).filter(|_| also.network);
        let everywhere = subject.everywhere().filter(|_| also.everywhere);
        let (counted, _, _) = tokio::join!(count(Some(pair)), count(network), count(everywhere));
        let limit = lockout.ledger.allowance(pair).failures;
        // Beyond the limit a failure may be told only if it is the one that the end of a lock allowed; otherwise
        // other gateways were quicker, and theirs were the last that could be told.
        let too_late = counted.is_some_and(|counted| counted > limit && counted > failures.saturating_add(1));
        match lockout.ledger.failures(subject, lockout.now()) {
            (_, Some(left)) if too_late => Err(seconds(left)),
            (_, Some(_) | None) => Ok(()),
        }
    }

    /// The login succeeded.
    ///
    /// # Errors
    /// Seconds: the pair is locked by now, and that the password was right is not told.
    pub(in crate::identity) async fn succeeded(self) -> Result<(), u32> {
        let Self { lockout, subject, patience, failures: _, _place } = self;
        lockout.ask_where_it_stands(subject, patience).await;
        lockout.note_success(subject).map_err(seconds)
    }
}
