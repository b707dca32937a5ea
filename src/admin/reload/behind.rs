//! Work that requests must not feel: thousands of routes are read, compiled and bound here.
//!
//! Called by the reload. A thread of a low priority still holds a core for whole time slices, so this runs where the kernel
//! lets it when nothing else wants to; on a machine that is busy all over it would never end there, and is done once more
//! at a low priority. So it may be done twice, and has to change nothing.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::identity::password::{step_back, step_out};

/// How long it may take before it is done at a low priority as well: several times what ten thousand routes need.
const LATE: Duration = Duration::from_secs(2);

/// Does it, and gives the first result; `None` when it panicked or there was no thread for it.
pub(super) async fn behind<T: Send + 'static>(work: impl Fn() -> T + Send + Sync + 'static) -> Option<T> {
    first_of(work, step_out, LATE).await
}

async fn first_of<T: Send + 'static>(
    work: impl Fn() -> T + Send + Sync + 'static,
    step_aside: fn(),
    late: Duration,
) -> Option<T> {
    let work = Arc::new(work);
    let (answer, mut done) = mpsc::channel(2);
    let start = |name: &str, step: fn()| {
        let (work, answer) = (Arc::clone(&work), answer.clone());
        let run = move || {
            step();
            // The other one may have been first.
            let _ = answer.try_send(work());
        };
        thread::Builder::new().name(name.to_owned()).spawn(run).ok()
    };
    start("reload-read", step_aside)?;
    if let Ok(result) = timeout(late, done.recv()).await {
        return result;
    }
    start("reload-relief", || step_back("reloads"))?;
    drop(answer);
    done.recv().await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn what_is_done_in_time_is_done_once() {
        let done = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&done);
        let result = first_of(move || counted.fetch_add(1, Ordering::Relaxed), step_out, Duration::from_secs(3600));
        assert_eq!((result.await, done.load(Ordering::Relaxed)), (Some(0), 1));
    }

    #[tokio::test]
    async fn what_gets_nowhere_is_done_at_a_low_priority() {
        let parked = || thread::sleep(Duration::from_secs(3600));
        assert_eq!(first_of(|| 7, parked, Duration::from_millis(1)).await, Some(7));
    }

    #[tokio::test]
    async fn a_panic_is_no_result() {
        let broken = || -> u8 { panic!("as a test of what a panic leaves behind") };
        assert_eq!(first_of(broken, || (), Duration::from_millis(1)).await, None);
    }
}
