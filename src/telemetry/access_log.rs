//! The access log: one JSON object a request.
//!
//! Writing never blocks a request: lines gather in memory, which is bounded, and a thread of its own writes what has
//! gathered at once. What does not fit, or cannot be written, is lost and counted. Under load, waking that thread for each
//! line, or handing each over by itself, would cost as much as refusing a request.

use std::cell::RefCell;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::access_line::AccessLine;

/// Where lines go.
#[derive(Clone)]
pub struct AccessLog(Arc<Queue>);

/// Keeps the log open; dropping it writes what is queued, as far as somebody takes it.
pub struct AccessLogGuard(Arc<Queue>);

/// Between the requests and the thread that writes.
#[derive(Default)]
struct Queue {
    gathered: Mutex<Gathered>,
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Default)]
struct Gathered {
    lines: Lines,
    /// The thread waits to be woken.
    waiting: bool,
    /// No more lines are taken.
    ended: bool,
    /// The thread has written the last one.
    written: bool,
}

#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
}

impl AccessLog {
    /// Opens the log: a file to append to, or standard output.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread be started.
    pub fn open(path: Option<&Path>) -> std::io::Result<(Self, AccessLogGuard)> {
        match path {
            None => Self::onto(std::io::stdout()),
            Some(path) => Self::onto(std::fs::OpenOptions::new().create(true).append(true).open(path)?),
        }
    }

    fn onto(out: impl Write + Send + 'static) -> std::io::Result<(Self, AccessLogGuard)> {
        let queue = Arc::new(Queue::default());
        let written = Arc::clone(&queue);
        std::thread::Builder::new().name("access-log".to_owned()).spawn(move || written.write_to(out))?;
        Ok((Self(Arc::clone(&queue)), AccessLogGuard(queue)))
    }

    /// Queues a line.
    pub fn write(&self, line: &AccessLine<'_>) {
        // Made before the queue is locked, where the last one was.
        thread_local!(static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        LINE.with_borrow_mut(|text| {
            text.clear();
            line.append_to(text);
            self.0.push(text);
        });
    }

    /// How many lines were lost since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }
}

impl Drop for AccessLogGuard {
    fn drop(&mut self) {
        let mut gathered = self.0.lock();
        gathered.ended = true;
        self.0.changed.notify_all();
        // Who does not read the log does not keep the gateway from ending either.
        let _ = self.0.changed.wait_timeout_while(gathered, LAST_LINES, |gathered| !gathered.written);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut gathered = self.lock();
        if gathered.ended || gathered.lines.text.len() + line.len() > LARGEST_QUEUE {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        gathered.lines.text.extend_from_slice(line);
        gathered.lines.count += 1;
        if std::mem::take(&mut gathered.waiting) {
            drop(gathered);
            self.changed.notify_all();
        }
    }

    /// Exchanges what has gathered, as soon as something has, for empty lines; `false` at the end.
    fn take(&self, lines: &mut Lines) -> bool {
        let idle = |gathered: &mut Gathered| {
            gathered.waiting = gathered.lines.count == 0 && !gathered.ended;
            gathered.waiting
        };
        let mut gathered = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut gathered.lines, lines);
        lines.count > 0
    }

    fn write_to(&self, mut out: impl Write) {
        let mut lines = Lines::default();
        let mut torn = false;
        while self.take(&mut lines) {
            // What comes behind a line that was written in part is a line of its own.
            torn = torn && write_some(&mut out, b"\n") == 0;
            let written = write_some(&mut out, &lines.text);
            let (before, rest) = lines.text.split_at(written);
            torn = before.last().map_or(torn, |last| *last != b'\n');
            self.lost.fetch_add(rest.iter().filter(|byte| **byte == b'\n').count() as u64, Ordering::Relaxed);
            lines.count = 0;
            lines.text.clear();
            // What a log that stood still for a while took is not kept.
            lines.text.shrink_to(LARGEST_KEPT);
            // Lines of the next moment gather, and nobody has to wake this thread for them.
            std::thread::sleep(PAUSE);
        }
        self.lock().written = true;
        self.changed.notify_all();
    }
}

/// Writes as much of it as can be written; how much that was.
fn write_some(out: &mut impl Write, text: &[u8]) -> usize {
    let mut written = 0;
    while let Some(rest) = text.get(written..).filter(|rest| !rest.is_empty()) {
        match out.write(rest) {
            Ok(0) => break,
            Ok(count) => written += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    // What standard output kept back is written with the next lines, if not now.
    let _ = out.flush();
    written
}

/// Bytes of lines that wait to be written: some fifty thousand lines.
const LARGEST_QUEUE: usize = 32 << 20;

/// Bytes of memory that are kept for lines while there are none.
const LARGEST_KEPT: usize = 1 << 20;

/// How long a line waits at most because another was written just before.
const PAUSE: Duration = Duration::from_millis(2);

/// How long the end waits for the last lines to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Instant;

    use super::*;

    /// Remembers each write, or takes none.
    struct Pipe(Option<Arc<Mutex<Vec<Vec<u8>>>>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let Some(writes) = &self.0 else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
            writes.lock().unwrap().push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A queue that takes no more lines after these.
    fn ended(lines: &[&[u8]]) -> Queue {
        let queue = Queue::default();
        lines.iter().for_each(|line| queue.push(line));
        queue.lock().ended = true;
        queue
    }

    #[test]
    fn lines_that_gathered_are_one_write_each_whole_and_in_order() {
        let writes = Arc::new(Mutex::new(Vec::new()));
        ended(&[b"one\n", b"two\n"]).write_to(Pipe(Some(Arc::clone(&writes))));
        assert_eq!(*writes.lock().unwrap(), [b"one\ntwo\n"]);
    }

    #[test]
    fn every_line_that_cannot_be_written_is_counted() {
        let queue = ended(&[&b"line\n"[..]; 3]);
        queue.write_to(Pipe(None));
        // Nor is one that comes too late forgotten.
        queue.push(b"line\n");
        assert_eq!(queue.lost.load(Ordering::Relaxed), 4);
    }

    /// Takes so many bytes, nothing for a while, and then everything.
    struct Full<'w> {
        room: usize,
        fails: usize,
        written: &'w mut Vec<u8>,
    }

    impl Write for Full<'_> {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if self.room == 0 && self.fails > 0 {
                self.fails -= 1;
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            let count = if self.room > 0 { self.room.min(bytes.len()) } else { bytes.len() };
            self.room -= self.room.min(count);
            self.written.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_what_a_full_disk_did_not_take_is_lost_and_no_line_is_glued_to_a_part_of_another() {
        let mut written = Vec::new();
        let queue = Arc::new(Queue::default());
        [&b"one\n"[..], b"two\n", b"three\n"].iter().for_each(|line| queue.push(line));
        std::thread::scope(|scope| {
            scope.spawn(|| queue.write_to(Full { room: 6, fails: 1, written: &mut written }));
            let deadline = Instant::now() + Duration::from_secs(30);
            while queue.lost.load(Ordering::Relaxed) == 0 {
                assert!(Instant::now() < deadline, "nothing was lost");
                std::thread::yield_now();
            }
            queue.push(b"four\n");
            queue.lock().ended = true;
            queue.changed.notify_all();
        });
        assert_eq!(queue.lost.load(Ordering::Relaxed), 2);
        assert_eq!(String::from_utf8(written).unwrap(), "one\ntw\nfour\n");
    }

    #[test]
    fn what_does_not_fit_is_counted_and_what_fits_stays() {
        let (long, lines) = (vec![b'x'; LARGEST_QUEUE / 4], Queue::default());
        for _ in 0..6 {
            lines.push(&long);
        }
        assert_eq!((lines.lock().lines.count, lines.lost.load(Ordering::Relaxed)), (4, 2));
    }

    #[test]
    fn lines_of_many_threads_are_all_written_before_the_log_is_closed() {
        const LINES: usize = 2000;
        let writes = Arc::new(Mutex::new(Vec::new()));
        let (log, guard) = AccessLog::onto(Pipe(Some(Arc::clone(&writes)))).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..LINES).for_each(|_| log.0.push(b"a line\n")));
            }
        });
        drop(guard);
        let written = writes.lock().unwrap().concat();
        assert_eq!(written, b"a line\n".repeat(2 * LINES));
        assert_eq!(log.dropped(), 0);
    }

    /// Nobody reads it while the sender lives.
    struct Stuck(mpsc::Receiver<()>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_log_that_nobody_reads_holds_neither_a_line_nor_the_end() {
        let (_reader, stuck) = mpsc::channel();
        let (log, guard) = AccessLog::onto(Stuck(stuck)).unwrap();
        let began = Instant::now();
        log.0.push(b"line\n");
        log.0.push(b"line\n");
        assert!(began.elapsed() < LAST_LINES / 2, "{:?}", began.elapsed());
        drop(guard);
        assert!(began.elapsed() < LAST_LINES * 5, "{:?}", began.elapsed());
    }
}
