//! The far side of an `https:` directory: the sample implementation on a port that can be closed and opened again.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portcullis::config::diag::{Faults, Source};
use portcullis::directory::reading;
use portcullis::directory::records::{Records, Vocabulary};
use portcullis::directory::sample::{Call, Reply, Sample};

use crate::harness::accounts::Accounts;

/// The bearer token that it asks for.
pub(crate) const TOKEN: &str = "the-token-of-the-far-side";

/// The far side; its port closes with it.
pub(crate) struct Far {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    sample: Sample,
    open: AtomicBool,
}

impl Far {
    /// Starts it with these accounts.
    pub(crate) fn start(accounts: &Accounts) -> Self {
        let sample = Sample::new(records(accounts), Some(TOKEN));
        let state = Arc::new(State { sample, open: AtomicBool::new(true) });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                std::thread::spawn(move || converse(connection, &state));
            }
        });
        Self { address, state }
    }

    /// The lines for `[directory]`; the file `far-token` has to hold [`TOKEN`].
    pub(crate) fn lines(&self) -> String {
        format!(
            "url = \"http://{}\"\ntoken = {{ file = \"far-token\" }}\nbudget = \"2s\"\ncache = \"300ms\"",
            self.address
        )
    }

    /// From now on, every connection is closed at once, or served again.
    pub(crate) fn set_open(&self, open: bool) {
        self.state.open.store(open, Ordering::Relaxed);
    }

    /// Takes other accounts over.
    pub(crate) fn replace(&self, accounts: &Accounts) {
        self.state.sample.replace(records(accounts));
    }
}

fn records(accounts: &Accounts) -> Records {
    let source = Arc::new(Source { name: "far".into(), text: accounts.toml() });
    reading::parse(&source, &Vocabulary::default(), &mut Faults::default()).expect("accounts without a fault")
}

fn converse(mut connection: TcpStream, state: &State) {
    let mut unread = Vec::new();
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 32];
        let mut request = httparse::Request::new(&mut fields);
        if let Ok(httparse::Status::Complete(head)) = request.parse(&unread) {
            let field = |name: &str| {
                request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
            };
            let text = |name| field(name).and_then(|value| std::str::from_utf8(value).ok());
            let length = text("content-length").map_or(0, |length| length.parse().expect("a length"));
            if unread.len() >= head + length {
                if !state.open.load(Ordering::Relaxed) {
                    return;
                }
                let Reply { status, body, .. } = state.sample.answer(&Call {
                    method: request.method.unwrap_or_default(),
                    path: request.path.unwrap_or_default(),
                    authorization: field("authorization"),
                    content_type: text("content-type"),
                    body: &unread[head..head + length],
                });
                let head_out = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
                if connection.write_all(&[head_out.as_bytes(), &body].concat()).is_err() {
                    return;
                }
                let used = head + length;
                unread.drain(..used);
                continue;
            }
        }
        let mut chunk = [0; 4096];
        match connection.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(length) => unread.extend_from_slice(&chunk[..length]),
        }
    }
}
