//! The sample of the far side on a socket: HTTP/1.1 as far as our client speaks it, with counts, delays and faults.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::directory::sample::{Call, Reply, Sample};

pub(super) struct Far {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

pub(super) struct State {
    pub(super) sample: Sample,
    calls: Mutex<HashMap<String, u64>>,
    delay_ms: AtomicU64,
    /// Answers that come instead of the sample's: path → status and body.
    instead: Mutex<HashMap<String, (u16, String)>>,
    connections: AtomicU64,
    closed: AtomicBool,
}

impl Far {
    pub(super) async fn start(sample: Sample) -> Self {
        let state = Arc::new(State {
            sample,
            calls: Mutex::default(),
            delay_ms: AtomicU64::new(0),
            instead: Mutex::default(),
            connections: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = Self { address: listener.local_addr().unwrap(), state, accepting: None };
        far.accept(listener);
        far
    }

    fn accept(&mut self, listener: TcpListener) {
        let state = Arc::clone(&self.state);
        self.accepting = Some(tokio::spawn(async move {
            loop {
                let Ok((connection, _)) = listener.accept().await else { continue };
                state.connections.fetch_add(1, Ordering::Relaxed);
                let state = Arc::clone(&state);
                tokio::spawn(async move { converse(connection, &state).await });
            }
        }));
    }

    /// Closes the port and every connection.
    pub(super) async fn cut(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        let accepting = self.accepting.take().unwrap();
        accepting.abort();
        let _ = accepting.await;
    }

    /// Opens the port again.
    pub(super) async fn mend(&mut self) {
        self.state.closed.store(false, Ordering::Relaxed);
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.accept(listener);
    }

    pub(super) fn sample(&self) -> &Sample {
        &self.state.sample
    }

    /// How long an answer takes from now on.
    pub(super) fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(delay.as_millis() as u64, Ordering::Relaxed);
    }

    /// What a path is answered with from now on; `None` for what the sample says.
    pub(super) fn answer(&self, path: &str, answer: Option<(u16, &str)>) {
        let mut instead = self.state.instead.lock().unwrap();
        match answer {
            Some((status, body)) => instead.insert(path.to_owned(), (status, body.to_owned())),
            None => instead.remove(path),
        };
    }

    /// How often a path was called.
    pub(super) fn calls(&self, path: &str) -> u64 {
        self.state.calls.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// How many connections were made.
    pub(super) fn connections(&self) -> u64 {
        self.state.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

async fn converse(mut connection: TcpStream, state: &State) {
    let mut unread = Vec::new();
    while let Some((head, body)) = request(&mut connection, &mut unread).await {
        if state.closed.load(Ordering::Relaxed) {
            return;
        }
        let reply = answer(&head, &body, state).await;
        let Reply { status, allow, body } = reply;
        let allow = allow.map(|allow| format!("Allow: {allow}\r\n")).unwrap_or_default();
        let head = format!(
            "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{allow}Location: /elsewhere\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if connection.write_all(&[head.as_bytes(), &body].concat()).await.is_err() {
            return;
        }
    }
}

async fn answer(head: &str, body: &[u8], state: &State) -> Reply {
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    *state.calls.lock().unwrap().entry(path.to_owned()).or_default() += 1;
    tokio::time::sleep(Duration::from_millis(state.delay_ms.load(Ordering::Relaxed))).await;
    if let Some((status, body)) = state.instead.lock().unwrap().get(path) {
        return Reply { status: *status, allow: None, body: body.clone().into_bytes() };
    }
    let (authorization, content_type) = (field(head, "authorization"), field(head, "content-type"));
    let authorization = authorization.map(str::as_bytes);
    state.sample.answer(&Call { method, path, authorization, content_type, body })
}

async fn request(connection: &mut TcpStream, unread: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    loop {
        if let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(unread[..end].to_vec()).unwrap();
            let length: usize = field(&head, "content-length").map_or(0, |length| length.parse().unwrap());
            if unread.len() >= end + 4 + length {
                let rest = unread.split_off(end + 4 + length);
                let body = std::mem::replace(unread, rest).split_off(end + 4);
                return Some((head, body));
            }
        }
        let mut chunk = [0; 4096];
        match connection.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(length) => unread.extend_from_slice(&chunk[..length]),
        }
    }
}

fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let mut fields = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}
