//! The threads that check passwords, and who of them takes a check.
//!
//! Called by the pool, which bounds how many checks there are. A check fills a core's caches, and one that has begun holds
//! its core: so checks run on threads that the kernel lets run when nothing else wants to, and whose core counts as free to
//! whoever wakes up. On a machine that is busy all over such a thread hardly ever runs. Then a second row of threads, of a low
//! priority only, takes over what is late, and whatever comes until the first row is back.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{MEMORY_KIB, Memory, verify};

/// Both rows.
pub(super) struct Lanes {
    /// Runs when nothing else does.
    idle: Lane,
    /// Runs in any case.
    relief: Lane,
    /// Checks that the idle row has still to come back from.
    late: Arc<AtomicUsize>,
}

/// A password and the record that it is checked against.
#[derive(Clone)]
pub(super) struct Job {
    pub password: Arc<str>,
    pub hash: Arc<str>,
}

impl Lanes {
    /// So many threads in each row. Those of the second keep no memory while they have nothing to do.
    pub(super) fn start(threads: usize) -> io::Result<Self> {
        let kept = Kept::default();
        let idle = Lane::start("password", threads, step_out, (Arc::clone(&kept), None))?;
        let relief =
            Lane::start("password-relief", threads, || step_back("password checks"), (Kept::default(), Some(kept)))?;
        Ok(Self { idle, relief, late: Arc::default() })
    }

    /// Whether it is the password; `None` when the check itself failed.
    pub(super) async fn check(&self, job: Job, late_after: Duration) -> Option<bool> {
        if self.late.load(Ordering::Relaxed) > 0 {
            return self.relief.begin(job).await.ok();
        }
        let mut first = self.idle.begin(job.clone());
        if let Ok(checked) = timeout(late_after, &mut first).await {
            return checked.ok();
        }
        let late = Late::among(&self.late);
        let mut second = self.relief.begin(job);
        tokio::select! {
            checked = &mut first => checked.ok(),
            checked = &mut second => {
                tokio::spawn(async move {
                    let _ = first.await;
                    drop(late);
                });
                checked.ok()
            }
        }
    }
}

/// One check that is late, until the idle row is done with it.
struct Late(Arc<AtomicUsize>);

impl Late {
    fn among(all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(all))
    }
}

impl Drop for Late {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One row. Its locks are its own, so that a thread that is held up keeps the other row from nothing.
struct Lane {
    /// To the threads, which end when it is dropped.
    jobs: Sender<(Job, oneshot::Sender<bool>)>,
}

/// What the threads of a row share.
struct Work {
    jobs: Mutex<Receiver<(Job, oneshot::Sender<bool>)>>,
    kept: Kept,
    /// What the row gives back beside its own: to give memory back takes a lock of the whole process, with which a thread that
    /// hardly runs may not be held up.
    others: Option<Kept>,
}

/// What checks ran in and the next ones will.
type Kept = Arc<Mutex<Vec<Memory>>>;

impl Lane {
    fn start(name: &str, threads: usize, step: fn(), (kept, others): (Kept, Option<Kept>)) -> io::Result<Self> {
        let (jobs, work) = channel();
        let work = Arc::new(Work { jobs: Mutex::new(work), kept, others });
        for _ in 0..threads {
            let work = Arc::clone(&work);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                step();
                work.off();
            })?;
        }
        Ok(Self { jobs })
    }

    /// Has a thread check it; the receiver is closed when the check fails.
    fn begin(&self, job: Job) -> oneshot::Receiver<bool> {
        let (answer, checked) = oneshot::channel();
        // Without threads nobody answers, which is what the caller is told.
        let _ = self.jobs.send((job, answer));
        checked
    }
}

/// For so long without a check of its own the relief lets memory be kept: about 19 MiB a thread.
const REST: Duration = Duration::from_secs(10);

impl Work {
    fn off(&self) {
        while let Some((Job { password, hash }, answer)) = self.next() {
            // The other row was there first.
            if answer.is_closed() {
                continue;
            }
            let mut memory = lock(&self.kept).pop().unwrap_or_default();
            // Without an answer the caller learns that the check failed; the thread goes on.
            if let Ok(right) = catch_unwind(AssertUnwindSafe(|| verify(password.as_bytes(), &hash, &mut memory))) {
                // Who asked may have the answer from the other row.
                let _ = answer.send(right);
            }
            // Records of other costs are rare, and their memory is not kept.
            if memory.len() <= MEMORY_KIB as usize {
                lock(&self.kept).push(memory);
            }
        }
    }

    /// The next check; `None` when the pool is gone. One thread waits for it, the others for their turn to wait.
    fn next(&self) -> Option<(Job, oneshot::Sender<bool>)> {
        let jobs = lock(&self.jobs);
        loop {
            match jobs.recv_timeout(REST) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.give_back(),
            }
        }
    }

    fn give_back(&self) {
        let Some(others) = &self.others else { return };
        lock(&self.kept).clear();
        // Taken whole, to be freed without the lock; whoever holds it keeps this row from nothing.
        drop(others.try_lock().map(|mut kept| std::mem::take(&mut *kept)));
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets this thread run when no other wants to: `SCHED_IDLE`, which needs no right.
pub(crate) fn step_out() {
    #[cfg(target_os = "linux")]
    {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
        let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let this = thread_priority::thread_native_id();
        if let Err(error) = thread_priority::set_thread_priority_and_policy(this, ThreadPriority::Min, policy) {
            tracing::warn!("a thread does not step behind requests: {error}");
            step_back("its work");
        }
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

#[cfg(test)]
mod tests {
    use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, Version};

    use super::*;
    use crate::identity::password::hash;

    fn job(hash: &str) -> Job {
        Job { password: "secret".into(), hash: hash.into() }
    }

    #[tokio::test]
    async fn memory_is_kept_for_the_next_check_unless_it_is_more_than_usual() {
        let work = Work { jobs: Mutex::new(channel().1), kept: Kept::default(), others: Some(Kept::default()) };
        let idle = work.others.clone().unwrap();
        let run = |record: &str| {
            let (jobs, next) = channel();
            *lock(&work.jobs) = next;
            let (answer, checked) = oneshot::channel();
            jobs.send((job(record), answer)).unwrap();
            drop(jobs);
            work.off();
            checked
        };
        let kept = || lock(&work.kept).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(run(&hash(b"secret").unwrap()).await, Ok(true));
        assert_eq!(kept(), [MEMORY_KIB as usize]);
        let costly = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(20_000, 1, 1, Some(32)).unwrap());
        let costly = costly.hash_password_with_salt(b"secret", b"another salt").unwrap().to_string();
        assert_eq!(run(&costly).await, Ok(true));
        assert!(kept().is_empty(), "{:?}", kept());
        lock(&idle).push(Memory::new());
        lock(&work.kept).push(Memory::new());
        work.give_back();
        assert!(lock(&idle).is_empty() && kept().is_empty(), "both rows' is given back");
    }

    #[tokio::test]
    async fn a_check_that_nobody_waits_for_any_more_is_left_out() {
        let (jobs, next) = channel();
        let work = Work { jobs: Mutex::new(next), kept: Kept::default(), others: None };
        let (unheard, receiver) = oneshot::channel();
        drop(receiver);
        jobs.send((job("no record"), unheard)).unwrap();
        drop(jobs);
        work.off();
        assert!(lock(&work.kept).is_empty(), "nothing was checked");
    }

    /// A pool whose idle row gets nothing done, and the end of the channel where its checks wait.
    fn starved() -> (Lanes, Receiver<(Job, oneshot::Sender<bool>)>) {
        let mut lanes = Lanes::start(1).unwrap();
        let (jobs, unserved) = channel();
        lanes.idle = Lane { jobs };
        (lanes, unserved)
    }

    #[tokio::test]
    async fn what_is_late_is_checked_by_the_relief_and_so_is_what_comes_until_the_idle_row_is_back() {
        let (lanes, unserved) = starved();
        let known = hash(b"secret").unwrap();
        assert_eq!(lanes.check(job(&known), Duration::from_millis(1)).await, Some(true));
        assert_eq!(lanes.late.load(Ordering::Relaxed), 1);
        // Were it given to the idle row, this would take an hour.
        assert_eq!(lanes.check(job(&known), Duration::from_secs(3600)).await, Some(true));
        let (_, answer) = unserved.try_recv().unwrap();
        assert!(unserved.try_recv().is_err(), "nothing more was given to the idle row");
        answer.send(true).unwrap();
        let back = async {
            while lanes.late.load(Ordering::Relaxed) > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(30), back).await.expect("the idle row is back");
        let again = tokio::spawn(async move { lanes.check(job(&known), Duration::from_secs(3600)).await });
        let (job, answer) = tokio::task::spawn_blocking(move || unserved.recv().unwrap()).await.unwrap();
        assert_eq!(&*job.password, "secret");
        answer.send(false).unwrap();
        assert_eq!(again.await.unwrap(), Some(false), "it is the idle row's answer");
    }

    #[tokio::test]
    async fn a_check_that_fails_in_both_rows_is_failed_and_late_no_more() {
        let (lanes, unserved) = starved();
        drop(unserved);
        assert_eq!(lanes.check(job(""), Duration::from_secs(3600)).await, None);
        assert_eq!(lanes.late.load(Ordering::Relaxed), 0);
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn threads_step_out_of_the_way_on_linux() {
        let policy = thread::spawn(|| {
            step_out();
            thread_priority::thread_schedule_policy().unwrap()
        });
        let idle = thread_priority::ThreadSchedulePolicy::Normal(thread_priority::NormalThreadSchedulePolicy::Idle);
        assert_eq!(policy.join().unwrap(), idle);
    }
}
