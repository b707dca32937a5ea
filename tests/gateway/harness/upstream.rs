//! A real upstream: a TCP server in threads that reads requests strictly, records them, and answers by a script.
//! Every fault of an upstream is a script too: silence, garbage, a cut, an answer before the body.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::harness::client::latin1;
use crate::harness::request::chunked;
use crate::harness::wait::{PATIENCE, eventually};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// The request target, byte for byte.
    pub(crate) target: String,
    /// Header lines in their order and spelling.
    pub(crate) headers: Vec<(String, String)>,
    /// The body with the framing taken off.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// All values of a header whose name is `name`, whatever the case and with `_` read as `-`: an upstream that
    /// folds names like CGI must not be fooled either.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let same = |key: &str| key.to_ascii_lowercase().replace('_', "-") == name.to_ascii_lowercase();
        self.headers.iter().filter(|(key, _)| same(key)).map(|(_, value)| value.as_str()).collect()
    }

    /// Asserts that the header stands exactly once, with this value.
    #[track_caller]
    pub(crate) fn assert_header(&self, name: &str, value: &str) {
        assert_eq!(self.all(name), [value], "{name} of {self:?}");
    }

    /// Asserts that no spelling of the header arrived.
    #[track_caller]
    pub(crate) fn assert_lacks(&self, name: &str) {
        assert_eq!(self.all(name), [""; 0], "{name} of {self:?}");
    }

    /// The request id that the gateway gave.
    #[track_caller]
    pub(crate) fn request_id(&self) -> String {
        let ids = self.all("x-request-id");
        assert_eq!(ids.len(), 1, "one X-Request-Id in {self:?}");
        ids[0].to_owned()
    }
}

/// One step of an answer.
#[derive(Clone)]
pub(crate) enum Step {
    /// These bytes go out as they are.
    Send(Vec<u8>),
    /// A pause before the next step.
    Wait(Duration),
    /// The connection is closed.
    Close,
    /// The connection stays open and nothing comes any more.
    Silence,
}

impl Step {
    /// An answer to HEAD has no body, whatever a script for all methods says.
    fn end_with_the_head(&mut self) {
        if let Self::Send(bytes) = self
            && let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n")
        {
            bytes.truncate(end + 4);
        }
    }
}

type Script = Arc<dyn Fn(&Seen) -> Vec<Step> + Send + Sync>;

/// The server; it ends with this value.
pub(crate) struct Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    /// Answers everything with 200 and a small JSON body.
    pub(crate) fn start() -> Self {
        Self::scripted(|_| json(200, r#"{"upstream":"says hello"}"#))
    }

    /// Answers by a script, after the whole request was read.
    pub(crate) fn scripted(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(script), false, true)
    }

    /// Answers by a script and remembers nothing, for more requests than fit into memory.
    pub(crate) fn forgetful(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(script), false, false)
    }

    /// Answers by a script as soon as the head was read, and never reads the body.
    pub(crate) fn early(script: impl Fn(&Seen) -> Vec<Step> + Send + Sync + 'static) -> Self {
        Self::run(Arc::new(script), true, true)
    }

    fn run(script: Script, early: bool, remember: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener on port 0");
        let address = listener.local_addr().expect("its address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stopping = Arc::new(AtomicBool::new(false));
        let (log, stop) = (Arc::clone(&seen), Arc::clone(&stopping));
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let connection = Connection { stream, buffer: Vec::new(), stop: Arc::clone(&stop) };
                let (script, log) = (Arc::clone(&script), Arc::clone(&log));
                thread::spawn(move || connection.serve(&script, early, remember.then_some(&*log)));
            }
        });
        Self { address, seen, stopping, accepting: Some(accepting) }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request that arrived whole, health probes aside.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics with the lock").clone()
    }

    /// The one request that carried this id.
    #[track_caller]
    pub(crate) fn seen_with_id(&self, id: &str) -> Seen {
        eventually(&format!("request {id} reaches the upstream"), PATIENCE, || {
            let mut all = self.seen().into_iter().filter(|seen| seen.all("x-request-id") == [id]);
            let first = all.next();
            assert!(all.next().is_none(), "request {id} reached the upstream twice");
            first
        })
    }

    /// Whether any request whose target starts with `prefix` arrived.
    pub(crate) fn saw_target(&self, prefix: &str) -> bool {
        self.seen().iter().any(|seen| seen.target.starts_with(prefix))
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Wakes the accept loop, which then sees the flag.
        drop(TcpStream::connect(self.address));
        if let Some(thread) = self.accepting.take() {
            drop(thread.join());
        }
    }
}

/// A JSON answer with `Content-Length`.
pub(crate) fn json(status: u16, body: &str) -> Vec<Step> {
    answer(status, &[("Content-Type", "application/json")], body.as_bytes())
}

/// An answer with these headers and `Content-Length`.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Vec<Step> {
    let mut wire = head(status, headers);
    wire.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    wire.extend_from_slice(body);
    vec![Step::Send(wire)]
}

/// An answer in these chunks.
pub(crate) fn chunked_answer(chunks: &[&str]) -> Vec<Step> {
    let head = [head(200, &[("Transfer-Encoding", "chunked")]), b"\r\n".to_vec()].concat();
    vec![Step::Send(head), Step::Send(chunked(chunks))]
}

/// Bytes as they are, then the end of the connection.
pub(crate) fn raw(bytes: &[u8]) -> Vec<Step> {
    vec![Step::Send(bytes.to_vec()), Step::Close]
}

/// The status line and header lines, without the empty line.
pub(crate) fn head(status: u16, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut wire = format!("HTTP/1.1 {status} Phrase\r\n");
    for (name, value) in headers {
        wire.push_str(&format!("{name}: {value}\r\n"));
    }
    wire.into_bytes()
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    stop: Arc<AtomicBool>,
}

impl Connection {
    fn serve(mut self, script: &Script, early: bool, log: Option<&Mutex<Vec<Seen>>>) {
        // A pooled connection may idle for as long as the gateway likes; the timeout only lets the flag be seen.
        self.stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a read timeout");
        self.stream.set_nodelay(true).expect("TCP_NODELAY");
        while let Some(mut seen) = self.read_head() {
            if !early && self.read_body(&mut seen).is_none() {
                return;
            }
            let mut steps = if seen.target == "/healthz" { json(200, "{}") } else { script(&seen) };
            if seen.method == "HEAD" {
                steps.iter_mut().for_each(Step::end_with_the_head);
            }
            if let Some(log) = log.filter(|_| seen.target != "/healthz") {
                log.lock().expect("no test panics with the lock").push(seen);
            }
            if !self.play(&steps) || early {
                return;
            }
        }
    }

    /// Plays an answer; false when the connection is done.
    fn play(&mut self, steps: &[Step]) -> bool {
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    if self.stream.write_all(bytes).is_err() {
                        return false;
                    }
                }
                Step::Wait(pause) => thread::sleep(*pause),
                Step::Close => return false,
                Step::Silence => {
                    while self.more().is_some() {}
                    return false;
                }
            }
        }
        true
    }

    fn read_head(&mut self) -> Option<Seen> {
        loop {
            let mut lines = [httparse::EMPTY_HEADER; 512];
            let mut request = httparse::Request::new(&mut lines);
            match request.parse(&self.buffer) {
                Ok(httparse::Status::Complete(length)) => {
                    let headers =
                        request.headers.iter().map(|line| (line.name.to_owned(), latin1(line.value))).collect();
                    let seen = Seen {
                        method: request.method.unwrap_or_default().to_owned(),
                        target: request.path.unwrap_or_default().to_owned(),
                        headers,
                        body: Vec::new(),
                    };
                    self.buffer.drain(..length);
                    return Some(seen);
                }
                Ok(httparse::Status::Partial) => self.more()?,
                // What cannot be read is recorded as such, so that a test that counts requests sees it.
                Err(error) => {
                    let headers = vec![("unreadable".to_owned(), error.to_string())];
                    let target = latin1(&self.buffer);
                    self.buffer.clear();
                    return Some(Seen { method: "UNREADABLE".to_owned(), target, headers, body: Vec::new() });
                }
            }
        }
    }

    fn read_body(&mut self, seen: &mut Seen) -> Option<()> {
        if seen.all("transfer-encoding") == ["chunked"] {
            loop {
                let line = self.take_line()?;
                let size = usize::from_str_radix(line.trim(), 16).ok()?;
                let mut chunk = self.take(size + 2)?;
                chunk.truncate(size);
                seen.body.append(&mut chunk);
                if size == 0 {
                    return Some(());
                }
            }
        }
        let length = seen.all("content-length").first().map_or(Some(0), |value| value.parse().ok())?;
        seen.body = self.take(length)?;
        Some(())
    }

    fn take_line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(latin1(&line));
            }
            self.more()?;
        }
    }

    fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < length {
            self.more()?;
        }
        Some(self.buffer.drain(..length).collect())
    }

    /// Waits for more bytes; none at the end of the connection or of the server.
    fn more(&mut self) -> Option<()> {
        let mut block = [0; 16 * 1024];
        while !self.stop.load(Ordering::Acquire) {
            match self.stream.read(&mut block) {
                Ok(0) => return None,
                Ok(length) => {
                    self.buffer.extend_from_slice(&block[..length]);
                    return Some(());
                }
                Err(error)
                    if [ErrorKind::WouldBlock, ErrorKind::TimedOut, ErrorKind::Interrupted].contains(&error.kind()) => {
                }
                Err(_) => return None,
            }
        }
        None
    }
}
