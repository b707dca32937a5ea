//! Passwords: argon2id in a small pool of threads of its own.
//!
//! Called by login. Hashing is slow on purpose, so it runs beside the request threads, no more at once than there are
//! cores, and with a short queue: what does not fit is told so, not kept waiting. The threads have the lowest
//! priority: however many log in, the requests of those who are logged in go first.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use argon2::password_hash::phc::{PasswordHash, Salt};
use argon2::{Algorithm, Argon2, CustomizedPasswordHasher as _, Params, PasswordVerifier as _, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

/// Checks that may wait for a thread.
const QUEUE: usize = 64;

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
    /// A pool of so many threads.
    ///
    /// # Errors
    /// When no hash can be made at all, or no thread.
    pub fn new(threads: usize) -> Result<Self, HashError> {
        let nobody = hash(b"nobody has this password")?.into();
        let (jobs, work) = channel();
        let work = Arc::new(Mutex::new(work));
        for _ in 0..threads.max(1) {
            let work = Arc::clone(&work);
            let thread = thread::Builder::new().name("password".to_owned());
            thread.spawn(move || work_off(&work)).map_err(|_| HashError)?;
        }
        Ok(Self { threads: Arc::new(Semaphore::new(threads.max(1))), jobs, waiting: AtomicUsize::new(0), nobody })
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

/// A thread of the pool.
fn work_off(jobs: &Mutex<Receiver<Job>>) {
    step_back();
    loop {
        // The lock is let go of with this statement: one thread waits for the next job, the others for their turn.
        let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { password, hash, answer, permit }) = next else { return };
        // Without an answer the caller learns that the check failed; the thread goes on.
        if let Ok(right) = catch_unwind(AssertUnwindSafe(|| verify(password.as_bytes(), &hash))) {
            // Who asked may have left.
            let _ = answer.send(right);
        }
        drop(permit);
    }
}

/// Gives this thread the lowest priority. Nice values are per thread on Linux, and lowering one's own needs no right.
fn step_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), LOWEST_PRIORITY) {
        tracing::warn!("password checks run at the priority of requests: {error}");
    }
}

#[cfg(target_os = "linux")]
const LOWEST_PRIORITY: i32 = 19;

/// A place in the queue; given back when the client leaves, too.
struct Waiting<'p>(&'p AtomicUsize);

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

fn verify(password: &[u8], hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

#[cfg(test)]
mod tests {
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
        assert_eq!(pool.check("x".into(), None).await, Check::Busy);
        for client in waiting {
            client.abort();
            assert!(client.await.is_err());
        }
        assert_eq!(pool.waiting.load(Ordering::Relaxed), 0);
        drop(all);
        assert_eq!(pool.check("x".into(), None).await, Check::Wrong);
    }
}
