//! Passwords: argon2id in a small pool of threads of its own.
//!
//! Called by login. Hashing is slow on purpose, so it runs beside the request threads, and with a short queue: what does
//! not fit is told so, not kept waiting. The threads have a low priority and keep their memory from one check to the
//! next, and `app` gives it half as many as there are threads for requests, since a check fills a core's caches and the
//! way to memory whatever its priority. Of a crowd only a few ask the store at once, and as long as others wait to ask no
//! check begins: however many log in, those who are logged in go first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, CustomizedPasswordHasher as _, Params, Version};
use subtle::ConstantTimeEq as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, oneshot};

/// Checks that may wait for a thread.
const QUEUE: usize = 64;

/// Logins a thread that may have a turn at once. They take no place in the queue yet, so it can become so much longer.
const TURNS: usize = 4;

/// So long a check lets a crowd of logins pass by at most: a few times what hundreds of them need.
const CROWD_PASSES: Duration = Duration::from_millis(30);

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
    threads: Arc<Semaphore>,
    /// To the threads, which end when it is dropped. Never longer than there are permits.
    jobs: Sender<Job>,
    waiting: AtomicUsize,
    turns: Semaphore,
    work: Arc<Work>,
    /// What an unknown e-mail is checked against, so that it costs what a known one does.
    nobody: Arc<str>,
}

/// One check on its way to a thread.
struct Job {
    password: String,
    hash: Arc<str>,
    answer: oneshot::Sender<bool>,
    /// Goes along: a client that leaves does not free the thread that still works for it.
    permit: OwnedSemaphorePermit,
}

impl Passwords {
    /// A pool of so many threads, at least one.
    ///
    /// # Errors
    /// When no hash can be made at all, or no thread.
    pub fn new(threads: usize) -> Result<Self, HashError> {
        let nobody = hash(b"nobody has this password")?.into();
        let (jobs, work) = channel();
        let work = Arc::new(Work::new(work));
        for _ in 0..threads.max(1) {
            let work = Arc::clone(&work);
            let thread = thread::Builder::new().name("password".to_owned());
            thread.spawn(move || work_off(&work)).map_err(|_| HashError)?;
        }
        let (waiting, threads) = (AtomicUsize::new(0), threads.max(1));
        let turns = Semaphore::new(threads * TURNS);
        Ok(Self { threads: Arc::new(Semaphore::new(threads)), jobs, waiting, turns, work, nobody })
    }

    /// A login's turn to ask the store whether it may go on, to be held while it asks; `None` when a check that came now
    /// would find no room. Without turns a crowd would have asked all its questions before the first of it is in the
    /// queue, and most of them for nothing.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        if self.is_full() {
            return None;
        }
        let crowd = Waiting::among(&self.work.crowd);
        let permit = self.turns.acquire().await.ok()?;
        drop(crowd);
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
        let Ok(permit) = Arc::clone(&self.threads).acquire_owned().await else { return Check::Failed };
        drop(place);
        let known = hash.is_some();
        let hash = hash.map_or_else(|| Arc::clone(&self.nobody), Arc::from);
        let (answer, checked) = oneshot::channel();
        if self.jobs.send(Job { password, hash, answer, permit }).is_err() {
            return Check::Failed;
        }
        match checked.await {
            Ok(true) if known => Check::Right,
            Ok(_) => Check::Wrong,
            Err(_) => Check::Failed,
        }
    }
}

/// Some login's turn, until it is dropped.
pub struct Turn<'p> {
    _permit: SemaphorePermit<'p>,
}

/// What the threads share. Requests take none of its locks: one of a low priority that is held up keeps nobody waiting.
struct Work {
    jobs: Mutex<Receiver<Job>>,
    /// Logins that wait for their turn.
    crowd: AtomicUsize,
    /// What checks ran in and the next ones will.
    memory: Mutex<Vec<Memory>>,
}

/// What argon2 fills. Whatever it holds is overwritten before it is read.
type Memory = Vec<Block>;

impl Work {
    fn new(jobs: Receiver<Job>) -> Self {
        Self { jobs: Mutex::new(jobs), crowd: AtomicUsize::new(0), memory: Mutex::default() }
    }

    /// Waits until no login waits for its turn. The kernel does not move request threads away from a core that they
    /// share to one where a check runs, whatever its priority, so a crowd would take twice as long beside it, and
    /// everybody else with it. It ends by itself: most of it is refused as soon as the queue is full.
    fn let_crowd_pass(&self) {
        let began = Instant::now();
        while self.crowd.load(Ordering::Relaxed) > 0 && began.elapsed() < CROWD_PASSES {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The next check; `None` when the pool is gone. One thread waits for it, the others for their turn to wait. Where
    /// nothing comes for a while, the memory is given back.
    fn next(&self) -> Option<Job> {
        let jobs = lock(&self.jobs);
        match jobs.recv_timeout(IDLE) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                lock(&self.memory).clear();
                jobs.recv().ok()
            }
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// For so long without a check the pool keeps its memory: about 19 MiB a thread.
const IDLE: Duration = Duration::from_secs(10);

/// A thread of the pool.
fn work_off(work: &Work) {
    step_back("password checks");
    while let Some(Job { password, hash, answer, permit }) = work.next() {
        work.let_crowd_pass();
        let mut memory = lock(&work.memory).pop().unwrap_or_default();
        // Without an answer the caller learns that the check failed; the thread goes on.
        if let Ok(right) = catch_unwind(AssertUnwindSafe(|| verify(password.as_bytes(), &hash, &mut memory))) {
            // Who asked may have left.
            let _ = answer.send(right);
        }
        // Records of other costs are rare, and their memory is not kept.
        if memory.len() <= USUAL_BLOCKS {
            lock(&work.memory).push(memory);
        }
        drop(permit);
    }
}

/// Gives this thread a low priority, and not the lowest: on a machine that is busy all over, what it does has to get a tenth
/// of a core still. Nice values are per thread on Linux, and lowering one's own needs no right.
pub(crate) fn step_back(what: &str) {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), LOW_PRIORITY) {
        tracing::warn!("{what} run at the priority of requests: {error}");
    }
}

#[cfg(target_os = "linux")]
const LOW_PRIORITY: i32 = 10;

/// One of those who wait; no more when the client leaves, too.
struct Waiting<'p>(&'p AtomicUsize);

impl<'p> Waiting<'p> {
    fn among(all: &'p AtomicUsize) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(all)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
#[error("the password could not be hashed")]
pub struct HashError;

/// The argon2id PHC string of a password, with a fresh salt: m=19456 KiB, t=2, p=1 (OWASP's choice).
///
/// # Errors
/// When there are no random bytes for the salt.
pub fn hash(password: &[u8]) -> Result<String, HashError> {
    let mut salt = [0; Salt::RECOMMENDED_LENGTH];
    getrandom::fill(&mut salt).map_err(|_| HashError)?;
    let params = Params::new(19_456, 2, 1, Some(32)).map_err(|_| HashError)?;
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

/// Of a record with the usual costs: a KiB each.
const USUAL_BLOCKS: usize = 19_456;

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
        assert_eq!(memory.len(), USUAL_BLOCKS);
        for odd in ["", "secret", "$argon2id$v=19$m=19456,t=2,p=1", &known[..known.rfind('$').unwrap()]] {
            assert!(!verify(b"secret", odd, &mut memory), "{odd}");
        }
    }

    #[tokio::test]
    async fn memory_is_kept_for_the_next_check_unless_it_is_more_than_usual() {
        let work = Arc::new(Work::new(channel().1));
        let run = |record: &str| {
            let (jobs, next) = channel();
            *lock(&work.jobs) = next;
            let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            let (answer, checked) = oneshot::channel();
            jobs.send(Job { password: "secret".into(), hash: record.into(), answer, permit }).unwrap();
            drop(jobs);
            work_off(&work);
            checked
        };
        let kept = || lock(&work.memory).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(run(&hash(b"secret").unwrap()).await, Ok(true));
        assert_eq!(kept(), [USUAL_BLOCKS]);
        let costly = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(20_000, 1, 1, Some(32)).unwrap());
        let costly = costly.hash_password_with_salt(b"secret", b"another salt").unwrap().to_string();
        assert_eq!(run(&costly).await, Ok(true));
        assert!(kept().is_empty(), "{:?}", kept());
    }

    #[tokio::test]
    async fn a_full_queue_is_busy_and_empties_when_clients_leave() {
        let pool = Arc::new(Passwords::new(1).unwrap());
        let all = Arc::clone(&pool.threads).acquire_owned().await.unwrap();
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
        let crowd = || pool.work.crowd.load(Ordering::Relaxed);
        let (mut early, mut late) = (Box::pin(pool.turn()), Box::pin(pool.turn()));
        assert!(poll!(&mut early).is_pending() && poll!(&mut late).is_pending());
        assert_eq!(crowd(), 2);
        turns.pop();
        let early = early.await.unwrap();
        let full: Vec<_> = (0..QUEUE).map(|_| Waiting::among(&pool.waiting)).collect();
        assert!(poll!(&mut late).is_pending(), "it is not its turn yet");
        drop(early);
        assert!(late.await.is_none());
        assert!(pool.turn().await.is_none());
        drop(full);
        assert!(pool.turn().await.is_some());
        assert_eq!(crowd(), 0);
    }

    #[tokio::test]
    async fn who_leaves_before_its_turn_is_no_crowd_any_more() {
        let pool = Passwords::new(1).unwrap();
        let _turns = pool.turns.acquire_many(u32::try_from(TURNS).unwrap()).await.unwrap();
        let mut waits = Box::pin(pool.turn());
        assert!(poll!(&mut waits).is_pending());
        assert_eq!(pool.work.crowd.load(Ordering::Relaxed), 1);
        drop(waits);
        assert_eq!(pool.work.crowd.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_check_lets_a_crowd_pass_but_one_that_never_ends_holds_it_up_no_longer_than_that() {
        let pool = Passwords::new(1).unwrap();
        let _endless = Waiting::among(&pool.work.crowd);
        let began = Instant::now();
        assert_eq!(pool.check("x".into(), None).await, Check::Wrong);
        assert!(began.elapsed() >= CROWD_PASSES, "{:?}", began.elapsed());
    }
}
