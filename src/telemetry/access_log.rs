//! The access log: one JSON object a request.
//!
//! A line alone answers "why was I refused". Writing never blocks a request: lines go to a writer thread
//! over a bounded channel, and what does not fit is dropped and counted. The thread writes what has gathered at once, since
//! under load waking it for each line would cost as much as refusing a request.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// What is said of one request. `None` is written as `null`.
#[derive(Debug, Serialize)]
#[allow(missing_docs, reason = "the fields of contract section 11, by their own names")]
pub struct AccessLine<'a> {
    pub time: &'a str,
    pub request_id: &'a str,
    pub client: std::net::IpAddr,
    pub http_version: &'static str,
    pub realm: Option<&'a str>,
    pub route: Option<&'a str>,
    pub method: &'a str,
    /// Without the query.
    pub path: &'a str,
    /// 499 when the client left before the reply was complete.
    pub status: u16,
    pub outcome: &'static str,
    pub reason: Option<&'static str>,
    /// Private: for operators only.
    pub cause: Option<&'a str>,
    pub role: Option<&'a str>,
    pub account: Option<&'a str>,
    pub credential: Option<&'a str>,
    pub scheme: Option<&'static str>,
    pub lineage: Option<&'a str>,
    pub target: Option<&'a str>,
    pub relation: &'static str,
    pub scope: Option<&'static str>,
    pub app_type: Option<&'a str>,
    pub quota: Option<&'a str>,
    /// Seconds.
    pub duration: f64,
    /// Seconds without the upstream's.
    pub gateway_time: f64,
    pub upstream: Option<&'a str>,
    pub upstream_status: Option<u16>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub user_agent: Option<&'a str>,
    pub revision: &'a str,
}

/// Where lines go.
#[derive(Clone)]
pub struct AccessLog {
    writer: NonBlocking,
    dropped: ErrorCounter,
    lost: Arc<AtomicU64>,
}

/// A file or pipe whose failures are counted: a line that cannot be written is lost, not silently so. Used by the writer
/// thread alone, which calls `flush` whenever it has emptied the channel.
struct Sink<W> {
    inner: W,
    lost: Arc<AtomicU64>,
    /// Lines to be written, and how many.
    gathered: Vec<u8>,
    count: u64,
}

impl<W: Write> Sink<W> {
    const fn new(inner: W, lost: Arc<AtomicU64>) -> Self {
        Self { inner, lost, gathered: Vec::new(), count: 0 }
    }

    fn write_out(&mut self) {
        let written = self.inner.write_all(&self.gathered).and_then(|()| self.inner.flush());
        if written.is_err() {
            self.lost.fetch_add(self.count, Ordering::Relaxed);
        }
        self.gathered.clear();
        self.count = 0;
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.gathered.extend_from_slice(line);
        self.count += 1;
        if self.gathered.len() >= LARGEST_WRITE {
            self.write_out();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.write_out();
        // Lines of the next moment gather in the channel, and nobody has to wake this thread for them.
        std::thread::sleep(PAUSE);
        Ok(())
    }
}

/// Bytes of lines that are written in one go.
const LARGEST_WRITE: usize = 64 << 10;

/// How long a line waits at most because another was written just before.
const PAUSE: Duration = Duration::from_millis(2);

/// Keeps the writer thread; dropping it writes what is queued.
pub struct AccessLogGuard(#[allow(dead_code, reason = "held for its drop")] WorkerGuard);

const QUEUED_LINES: usize = 65_536;

impl AccessLog {
    /// Opens the log: a file to append to, or standard output.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: Option<&Path>) -> std::io::Result<(Self, AccessLogGuard)> {
        let builder =
            NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUED_LINES).thread_name("access-log");
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        let (writer, guard) = match path {
            None => builder.finish(Sink::new(std::io::stdout(), counted)),
            Some(path) => {
                let inner = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
                builder.finish(Sink::new(inner, counted))
            }
        };
        let dropped = writer.error_counter();
        Ok((Self { writer, dropped, lost }, AccessLogGuard(guard)))
    }

    /// Queues a line.
    pub fn write(&self, line: &AccessLine<'_>) {
        let mut text = Vec::with_capacity(768);
        if serde_json::to_writer(&mut text, line).is_ok() {
            text.push(b'\n');
            // The writer never fails: a full queue drops the line and counts it.
            let _ = self.writer.clone().write_all(&text);
        }
    }

    /// How many lines were lost since the start.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.dropped_lines() as u64 + self.lost.load(Ordering::Relaxed)
    }
}

/// Now, as RFC 3339 in UTC to the millisecond; of one width, so that lines sort as text.
#[must_use]
pub fn timestamp() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    let (month, day) = (u8::from(date.month()), date.day());
    let (hour, minute, second, millisecond) = time.as_hms_milli();
    format!("{:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z", date.year())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers each write, or takes none.
    struct Pipe(Option<Arc<std::sync::Mutex<Vec<Vec<u8>>>>>);

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

    #[test]
    fn lines_that_gathered_are_one_write_each_whole_and_in_order() {
        let writes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut sink = Sink::new(Pipe(Some(Arc::clone(&writes))), Arc::default());
        for line in [b"one\n", b"two\n"] {
            sink.write_all(line).unwrap();
        }
        assert!(writes.lock().unwrap().is_empty(), "the channel may hold more");
        sink.flush().unwrap();
        assert_eq!(*writes.lock().unwrap(), [b"one\ntwo\n"]);
        // What is very long does not wait for an end.
        sink.write_all(&[b'x'; LARGEST_WRITE]).unwrap();
        assert_eq!(writes.lock().unwrap().len(), 2);
    }

    #[test]
    fn every_line_that_cannot_be_written_is_counted() {
        let lost = Arc::new(AtomicU64::new(0));
        let mut sink = Sink::new(Pipe(None), Arc::clone(&lost));
        for _ in 0..3 {
            sink.write_all(b"line\n").unwrap();
        }
        sink.flush().unwrap();
        sink.flush().unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 3);
    }
}
