//! Standard error, for a process that must go on while nobody reads it.
//!
//! Written to by the operational log, a whole line at a time, from any thread. A line that would have to wait is lost, and the
//! next one that goes through is preceded by how many were. It gives no line a form; that is `init`'s.

use std::io::{self, StderrLock, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Writes to standard error what can be written now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors;

/// Lines that were lost since the last one that went through.
static LOST: AtomicU64 = AtomicU64::new(0);

/// A pipe that is ready takes this much at once.
const PIECE: usize = 4096;

/// How long the first line waits for a reader that is merely slow. After one was lost none waits.
const GRACE: Duration = Duration::from_millis(50);

impl Write for Errors {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Held throughout, so that what was ready is not filled by another thread.
        let mut errors = io::stderr().lock();
        let lost = LOST.load(Ordering::Relaxed);
        let note = format!("{lost} lines of this log were lost, since nobody read it\n");
        let written = (lost == 0 || write_ready(&mut errors, note.as_bytes(), Duration::ZERO))
            && write_ready(&mut errors, line, if lost == 0 { GRACE } else { Duration::ZERO });
        LOST.store(if written { 0 } else { lost + 1 }, Ordering::Relaxed);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether all of it was written.
fn write_ready(errors: &mut StderrLock<'_>, bytes: &[u8], grace: Duration) -> bool {
    bytes.chunks(PIECE).all(|piece| is_ready(errors, grace) && errors.write_all(piece).is_ok())
}

fn is_ready(errors: &StderrLock<'_>, grace: Duration) -> bool {
    let Ok(grace) = Timespec::try_from(grace) else { return false };
    let mut asked = [PollFd::new(errors, PollFlags::OUT)];
    poll(&mut asked, Some(&grace)).is_ok_and(|ready| ready > 0)
}
