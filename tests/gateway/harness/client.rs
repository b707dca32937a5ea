//! A blocking HTTP/1.1 client that hides nothing: it sends the bytes it is given, reuses its connection until told
//! otherwise, and tells a clean end from a cut one.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::request::Request;
use crate::harness::response::Response;
use crate::harness::wait::PATIENCE;

/// Why there is no whole answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended (or was reset) before the first byte of an answer.
    Closed,
    /// The connection ended inside the body: what came until then.
    Cut(Response),
    /// No whole answer within the deadline.
    Late,
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    deadline: Duration,
}

impl Client {
    /// Connects; the address is of loopback, so this is instant or an error.
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .unwrap_or_else(|error| panic!("connecting to {address}: {error}"));
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream, buffer: Vec::new(), deadline: PATIENCE }
    }

    /// The same where nobody may listen yet.
    pub(crate) fn try_connect(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        Some(Self { stream, buffer: Vec::new(), deadline: PATIENCE })
    }

    /// How long a read waits for the whole answer.
    pub(crate) fn patience(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sends a request and reads its answer.
    #[track_caller]
    pub(crate) fn send(&mut self, request: &Request) -> Response {
        match self.try_send(request) {
            Ok(response) => response,
            Err(broken) => panic!("no answer to {}: {broken:?}", request.line()),
        }
    }

    /// The same, with the failure as a value.
    pub(crate) fn try_send(&mut self, request: &Request) -> Result<Response, Broken> {
        self.write(&request.bytes());
        self.try_read(request.is_head())
    }

    /// Sends bytes. A peer that has already answered and closed is no error here: reading tells.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let expected = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
            assert!(expected.contains(&error.kind()), "writing: {error}");
        }
    }

    /// Closes both directions at once, as a client that goes away does.
    pub(crate) fn leave(self) {
        // A peer that was faster leaves nothing to shut down.
        drop(self.stream.shutdown(Shutdown::Both));
    }

    /// Reads one answer to a request other than HEAD.
    #[track_caller]
    pub(crate) fn read(&mut self) -> Response {
        match self.try_read(false) {
            Ok(response) => response,
            Err(broken) => panic!("no answer: {broken:?}"),
        }
    }

    /// Reads one final answer; `head` says that it has no body.
    pub(crate) fn try_read(&mut self, head: bool) -> Result<Response, Broken> {
        let until = Instant::now() + self.deadline;
        loop {
            let mut response = self.read_head(until)?;
            if (100..200).contains(&response.status) && response.status != 101 {
                continue;
            }
            if head || [101, 204, 304].contains(&response.status) {
                return Ok(response);
            }
            if response.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
                return self.read_chunks(response, until);
            }
            let Some(length) = response.header("content-length") else {
                return self.read_to_end(response, until);
            };
            let length = length.parse().expect("Content-Length is a number");
            if let Err(broken) = self.fill(length, until) {
                response.body = std::mem::take(&mut self.buffer);
                return Err(broken.inside(response));
            }
            response.body = self.buffer.drain(..length).collect();
            return Ok(response);
        }
    }

    /// Asserts that the server ends the connection without another byte.
    #[track_caller]
    pub(crate) fn assert_closes(&mut self) {
        match self.fill(1, Instant::now() + self.deadline) {
            Err(Broken::Closed) => {}
            Err(broken) => panic!("the connection should be closed: {broken:?}"),
            Ok(()) => panic!("bytes where the end should be: {}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    fn read_head(&mut self, until: Instant) -> Result<Response, Broken> {
        let end = loop {
            if let Some(end) = find(&self.buffer, b"\r\n\r\n") {
                break end + 4;
            }
            self.fill(self.buffer.len() + 1, until)?;
        };
        let head: Vec<u8> = self.buffer.drain(..end).collect();
        let mut lines = [httparse::EMPTY_HEADER; 256];
        let mut parsed = httparse::Response::new(&mut lines);
        parsed.parse(&head).unwrap_or_else(|error| panic!("{error} in {}", String::from_utf8_lossy(&head)));
        let headers = parsed.headers.iter().map(|line| (line.name.to_owned(), latin1(line.value))).collect();
        Ok(Response { status: parsed.code.expect("a status"), headers, body: Vec::new() })
    }

    fn read_chunks(&mut self, mut response: Response, until: Instant) -> Result<Response, Broken> {
        loop {
            let size = match self.read_line(until) {
                Ok(line) => usize::from_str_radix(line.trim(), 16).expect("a chunk size"),
                Err(broken) => return Err(broken.inside(response)),
            };
            if let Err(broken) = self.fill(size + 2, until) {
                response.body.append(&mut self.buffer);
                return Err(broken.inside(response));
            }
            response.body.extend(self.buffer.drain(..size));
            assert_eq!(self.buffer.drain(..2).collect::<Vec<_>>(), b"\r\n", "the end of a chunk");
            if size == 0 {
                return Ok(response);
            }
        }
    }

    fn read_to_end(&mut self, mut response: Response, until: Instant) -> Result<Response, Broken> {
        match self.fill(usize::MAX, until) {
            Err(Broken::Closed) => {
                response.body = std::mem::take(&mut self.buffer);
                Ok(response)
            }
            Err(broken) => Err(broken),
            Ok(()) => unreachable!("nobody has so many bytes"),
        }
    }

    fn read_line(&mut self, until: Instant) -> Result<String, Broken> {
        loop {
            if let Some(end) = find(&self.buffer, b"\r\n") {
                let line: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(latin1(&line));
            }
            self.fill(self.buffer.len() + 1, until)?;
        }
    }

    /// Reads until the buffer holds at least `wanted` bytes.
    fn fill(&mut self, wanted: usize, until: Instant) -> Result<(), Broken> {
        let mut block = [0; 16 * 1024];
        while self.buffer.len() < wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Broken::Late);
            }
            self.stream.set_read_timeout(Some(left)).expect("a read timeout");
            match self.stream.read(&mut block) {
                Ok(0) => return Err(Broken::Closed),
                Ok(length) => self.buffer.extend_from_slice(&block[..length]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Err(Broken::Closed),
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    return Err(Broken::Late);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("reading: {error}"),
            }
        }
        Ok(())
    }
}

impl Broken {
    /// The end of a connection inside a body is a cut, not a close.
    fn inside(self, response: Response) -> Self {
        match self {
            Self::Closed => Self::Cut(response),
            Self::Cut(_) | Self::Late => self,
        }
    }
}

/// Bytes as Latin-1 text: one character a byte, so that nothing is lost.
pub(crate) fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
