//! Passwords: argon2id beside the requests.
//!
//! Called by login. Hashing is slow on purpose, so it runs on threads of its own (`lanes`), as many as `app` says, and with
//! a short queue: what does not fit is told so, not kept waiting. Of a crowd only a few ask the store at once.

mod lanes;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, CustomizedPasswordHasher as _, Params, Version};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Semaphore, SemaphorePermit};

use self::lanes::{Job, Lanes};
pub(crate) use self::lanes::{step_back, step_out};

/// Checks that may wait for a thread.
const QUEUE: usize = 64;

/// Logins a thread that may have a turn at once. They take no place in the queue yet, so it can become so much longer.
const TURNS: usize = 4;

/// What a check with our costs takes on a slow core.
const SLOWEST: Duration = Duration::from_millis(100);

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// It is the password.
    Right,
    /// It is not.
    Wrong,
    /// The pool and its queue are full.
    Busy,
    /// The check itself failed: no thread, or a panic in it.
    Failed,
}

/// The pool.
pub struct Passwords {
    /// One permit a check that runs.
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    turns: Semaphore,
    lanes: Arc<Lanes>,
    /// What an unknown e-mail is checked against, so that it costs what a known one does.
    nobody: Arc<str>,
    /// What a check with our costs took when nobody else was there.
    usual: Duration,
}

impl Passwords {
    /// A pool that runs so many checks at once, at least one.
    ///
    /// # Errors
    /// When no hash can be made at all, or no thread.
    pub fn new(threads: usize) -> Result<Self, HashError> {
        let began = Instant::now();
        let nobody = hash(b"nobody has this password")?.into();
        // A start in a busy moment tells too much.
        let usual = began.elapsed().min(SLOWEST);
        let threads = threads.max(1);
        Ok(Self {
            running: Arc::new(Semaphore::new(threads)),
            waiting: AtomicUsize::new(0),
            turns: Semaphore::new(threads * TURNS),
            lanes: Arc::new(Lanes::start(threads).map_err(|_| HashError)?),
            nobody,
            usual,
        })
    }

    /// A login's turn to ask the store whether it may go on, to be held while it asks; `None` when a check that came now
    /// would find no room. Without turns a crowd would have asked all its questions before the first of it is in the
    /// queue, and most of them for nothing.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        if self.is_full() {
            return None;
        }
        let permit = self.turns.acquire().await.ok()?;
        (!self.is_full()).then_some(Turn { _permit: permit })
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) >= QUEUE
    }

    /// Checks a password against a PHC string; against nobody's, at the same cost, without one.
    pub async fn check(&self, password: String, hash: Option<&str>) -> Check {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= QUEUE {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Check::Busy;
        }
        let place = Waiting(&self.waiting);
        let Ok(permit) = Arc::clone(&self.running).acquire_owned().await else { return Check::Failed };
        drop(place);
        let known = hash.is_some();
        let hash = hash.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        let (lanes, late) = (Arc::clone(&self.lanes), self.late_after(&hash));
        // A task of its own: a client that leaves frees no thread that still works for it.
        let checked = tokio::spawn(async move {
            let right = lanes.check(Job { password: password.into(), hash }, late).await;
            drop(permit);
            right
        });
        match checked.await {
            Ok(Some(true)) if known => Check::Right,
            Ok(Some(_)) => Check::Wrong,
            Ok(None) | Err(_) => Check::Failed,
        }
    }

    /// After what time a check of this record is late: several times what its costs ask for.
    fn late_after(&self, record: &str) -> Duration {
        const PATIENCE: u32 = 8;
        let params = PasswordHash::new(record).ok().and_then(|record| Params::try_from(&record).ok());
        let work = |params: &Params| f64::from(params.m_cost()) * f64::from(params.t_cost());
        let times = params.map_or(1.0, |params| work(&params) / (f64::from(MEMORY_KIB) * f64::from(PASSES)));
        // Whoever writes a record chooses its costs, and no choice may be waited for without end.
        (self.usual * PATIENCE).mul_f64(times.clamp(1.0, 100.0))
    }
}

/// Some login's turn, until it is dropped.
pub struct Turn<'p> {
    _permit: SemaphorePermit<'p>,
}

/// One of those who wait; no more when the client leaves, too.
struct Waiting<'p>(&'p AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a check fills. Whatever it holds is overwritten before it is read.
type Memory = Vec<Block>;

/// What our own hashes cost: OWASP's choice.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashError;

/// The argon2id PHC string of a password, with a fresh salt.
///
/// # Errors
/// When there are no random bytes for the salt.
pub fn hash(password: &[u8]) -> Result<String, HashError> {
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    getrandom::fill(&mut salt).map_err(|_| HashError)?;
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).map_err(|_| HashError)?;
    let hash: PasswordHash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone())
        .hash_password_with_params(password, &salt, params)
        .map_err(|_| HashError)?;
    Ok(hash.to_string())
}

/// Whether it is the password, in constant time for records of the same costs.
fn verify(password: &[u8], record: &str, memory: &mut Memory) -> bool {
    let Ok(record) = PasswordHash::new(record) else { return false };
    let (Some(salt), Some(expected)) = (&record.salt, &record.hash) else { return false };
    let algorithm = Algorithm::try_from(record.algorithm.as_str());
    let version = record.version.map_or(Ok(Version::default()), Version::try_from);
    let (Ok(algorithm), Ok(version), Ok(params)) = (algorithm, version, Params::try_from(&record)) else {
        return false;
    };
    if memory.len() < params.block_count() {
        memory.resize(params.block_count(), Block::new());
    }
    let mut found = [0; Output::MAX_LENGTH];
    let Some(found) = found.get_mut(..expected.len()) else { return false };
    let hashed = Argon2::new(algorithm, version, params).hash_password_into_with_memory(password, salt, found, memory);
    hashed.is_ok() && bool::from(found.ct_eq(expected.as_ref()))
}

#[cfg(test)]
mod tests {
    use argon2::PasswordHasher as _;
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn only_the_right_password_of_somebody_is_right() {
        let pool = Passwords::new(2).unwrap();
        let known = hash(b"secret").unwrap();
        assert!(known.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{known}");
        assert_eq!(pool.check("secret".into(), Some(&known)).await, Check::Right);
        assert_eq!(pool.check("Secret".into(), Some(&known)).await, Check::Wrong);
        assert_eq!(pool.check("nobody has this password".into(), None).await, Check::Wrong);
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn memory_that_was_used_before_changes_no_answer() {
        let known = hash(b"secret").unwrap();
        // Other costs, two lanes and another length.
        let other = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 2, Some(24)).unwrap());
        let other = other.hash_password_with_salt(b"secret", b"another salt").unwrap().to_string();
        let mut memory = Memory::new();
        for _ in 0..2 {
            for record in [&known, &other] {
                assert!(verify(b"secret", record, &mut memory), "{record}");
                assert!(!verify(b"Secret", record, &mut memory), "{record}");
            }
        }
        assert_eq!(memory.len(), MEMORY_KIB as usize);
        for odd in ["", "secret", "$argon2id$v=19$m=19456,t=2,p=1", &known[..known.rfind('$').unwrap()]] {
            assert!(!verify(b"secret", odd, &mut memory), "{odd}");
        }
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_empties_when_clients_leave() {
        let pool = Arc::new(Passwords::new(1).unwrap());
        let all = Arc::clone(&pool.running).acquire_owned().await.unwrap();
        let waiting: Vec<_> = (0..QUEUE)
            .map(|_| {
                let pool = Arc::clone(&pool);
                tokio::spawn(async move { pool.check("x".into(), None).await })
            })
            .collect();
        while pool.waiting.load(Ordering::Relaxed) < QUEUE {
            tokio::task::yield_now().await;
        }
        assert!(pool.is_full());
        assert_eq!(pool.check("x".into(), None).await, Check::Busy);
        for client in waiting {
            client.abort();
            assert!(client.await.is_err());
        }
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
        drop(all);
        assert_eq!(pool.check("x".into(), None).await, Check::Wrong);
    }

    #[tokio::test]
    async fn only_a_few_have_a_turn_and_who_waits_for_one_is_told_when_the_queue_is_full_by_then() {
        let pool = Passwords::new(1).unwrap();
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push(pool.turn().await.unwrap());
        }
        let (mut early, mut late) = (Box::pin(pool.turn()), Box::pin(pool.turn()));
        assert!(poll!(&mut early).is_pending() && poll!(&mut late).is_pending());
        turns.pop();
        let early = early.await.unwrap();
        let full: Vec<_> = (0..QUEUE)
            .map(|_| {
                pool.waiting.fetch_add(1, Ordering::Relaxed);
                Waiting(&pool.waiting)
            })
            .collect();
        assert!(poll!(&mut late).is_pending(), "it is not its turn yet");
        drop(early);
        assert!(late.await.is_none());
        assert!(pool.turn().await.is_none());
        drop(full);
        assert!(pool.turn().await.is_some());
    }
}
