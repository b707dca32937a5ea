//! Random histories of logins, logouts and revocations, on every backend, against a model that is too simple to be
//! wrong. A failure names its seed; `PORTCULLIS_SEED` runs that one again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{session, start, system_ms};
use crate::store::{Found, Revocation, Session, Store};

/// A tree of three levels; each account by its lineage.
const ACCOUNTS: [&str; 6] = ["r", "r/a", "r/b", "r/a/x", "r/a/y", "r/b/z"];

/// Small, so that the limit is met.
const KEEP: u32 = 4;

/// Repeatable randomness: a seed that is counted on and mixed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

/// What should be so.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<Box<str>, Session>,
    /// (id, whether for the subtree) → the latest time.
    marks: BTreeMap<(String, bool), u64>,
}

impl Model {
    fn start(&mut self, session: &Session) -> Vec<Box<str>> {
        self.sessions.insert(session.jti.clone(), session.clone());
        let mut of_account: Vec<_> = self.sessions.values().filter(|known| known.sub == session.sub).collect();
        of_account.sort_by_key(|known| (known.started, known.jti.clone()));
        let surplus = of_account.len().saturating_sub(KEEP as usize);
        let ended: Vec<_> = of_account.iter().take(surplus).map(|known| known.jti.clone()).collect();
        for jti in &ended {
            self.sessions.remove(jti);
        }
        ended
    }

    fn found(&self, jti: &str, lineage: &str) -> Found {
        let Some(session) = self.sessions.get(jti) else { return Found::Missing };
        let own = id_of(lineage);
        let ends = |((id, subtree), mark): (&(String, bool), &u64)| {
            let applies = if *subtree { lineage.split('/').any(|above| above == id) } else { id == own };
            applies && session.started <= *mark
        };
        if self.marks.iter().any(ends) { Found::Revoked } else { Found::Live(session.clone()) }
    }

    fn listed(&self, lineage: &str) -> Vec<Session> {
        let of_account = self.sessions.values().filter(|session| *session.sub == *id_of(lineage));
        let mut listed: Vec<_> =
            of_account.filter(|session| self.found(&session.jti, lineage) != Found::Revoked).cloned().collect();
        listed.sort_by_key(|session| (session.started, session.jti.clone()));
        listed
    }
}

fn id_of(lineage: &str) -> &str {
    lineage.rsplit('/').next().unwrap()
}

mod facts {
    use super::*;

    pub(super) async fn a_random_history_ends_as_the_model_says(store: Arc<Store>) {
        let seed = std::env::var("PORTCULLIS_SEED").ok().map_or_else(system_ms, |seed| seed.parse().unwrap());
        eprintln!("PORTCULLIS_SEED={seed}");
        let (mut dice, mut model) = (Dice(seed), Model::default());
        let mut jtis: Vec<(Box<str>, &str)> = vec![("never".into(), "r/a/x")];
        for step in 0..400 {
            let at = format!("seed {seed}, step {step}");
            let lineage = ACCOUNTS[dice.below(ACCOUNTS.len())];
            let (jti, of) = jtis[dice.below(jtis.len())].clone();
            let target = ["r", "a", "b", "x", "y", "z"][dice.below(6)];
            match dice.below(20) {
                0..10 => {
                    // Long before every watermark of this test, or long after.
                    let shift = dice.below(600_000) as u64;
                    let now = system_ms();
                    let started = if dice.below(3) == 0 { now - 60_000 - shift } else { now + 60_000 + shift };
                    let name = format!("s{step}");
                    let begun = Session { sub: id_of(lineage).into(), started, ..session(&name) };
                    let expected = model.start(&begun);
                    assert_eq!(start(&store, &begun, KEEP).await, Ok(expected), "{at}");
                    jtis.push((name.into(), lineage));
                }
                10..14 => {
                    let expected = model.sessions.remove(&jti).is_some();
                    assert_eq!(store.end_session(&jti, id_of(of)).await, Ok(expected), "{at}");
                }
                14..16 => {
                    let expected = model.sessions.remove(&jti).is_some();
                    assert_eq!(store.revoke(Revocation::Session(&jti)).await, Ok(expected), "{at}");
                }
                16 => {
                    assert_eq!(store.revoke(Revocation::Account(target)).await, Ok(true), "{at}");
                    model.marks.insert((target.to_owned(), false), system_ms());
                }
                17 => {
                    assert_eq!(store.revoke(Revocation::Subtree(target)).await, Ok(true), "{at}");
                    model.marks.insert((target.to_owned(), true), system_ms());
                }
                _ => assert_eq!(store.sessions_of(lineage).await, Ok(model.listed(lineage)), "{at}"),
            }
            assert_eq!(store.session(&jti, of).await, Ok(model.found(&jti, of)), "{at}");
        }
        let mut verdicts = [0; 3];
        for (jti, lineage) in &jtis {
            let found = store.session(jti, lineage).await.unwrap();
            assert_eq!(found, model.found(jti, lineage), "seed {seed}, {jti} at the end");
            verdicts[match found {
                Found::Live(_) => 0,
                Found::Missing => 1,
                Found::Revoked => 2,
            }] += 1;
        }
        assert!(verdicts[0] + verdicts[2] > 0 && verdicts[1] > 10, "seed {seed} showed little: {verdicts:?}");
    }
}

every_backend! { a_random_history_ends_as_the_model_says }
