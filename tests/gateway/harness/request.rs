//! A request as the test wants it on the wire: nothing is normalised, checked or added but `Host` and the framing.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// The `Host` that the tests name unless they say otherwise.
pub(crate) const HOST: &str = "gateway.local";

/// One request; the builder methods take and give it by value.
#[derive(Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Absent,
    Sized(Vec<u8>),
    /// Announced by `Content-Length`, but only these bytes are sent.
    Owed(usize, Vec<u8>),
    Chunked(Vec<Vec<u8>>),
}

/// `GET target`.
pub(crate) fn get(target: &str) -> Request {
    request("GET", target)
}

/// `POST target`.
pub(crate) fn post(target: &str) -> Request {
    request("POST", target)
}

/// Any method, any target.
pub(crate) fn request(method: &str, target: &str) -> Request {
    Request {
        method: method.into(),
        target: target.into(),
        headers: vec![("Host".into(), HOST.into())],
        body: Body::Absent,
    }
}

/// The value of an `Authorization: Basic` header after the scheme.
pub(crate) fn basic_value(id: &str, key: &str) -> String {
    STANDARD.encode(format!("{id}:{key}"))
}

impl Request {
    /// One more header line, after those that are there.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Another `Host`, in place of the usual one.
    pub(crate) fn host(mut self, value: &str) -> Self {
        self.headers.retain(|(name, _)| name != "Host");
        self.header("Host", value)
    }

    /// `Authorization: Token …`.
    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Token {token}"))
    }

    /// `Authorization: Basic …` of an API id and its key.
    pub(crate) fn basic(self, id: &str, key: &str) -> Self {
        self.header("Authorization", &format!("Basic {}", basic_value(id, key)))
    }

    /// A JSON body with its content type.
    pub(crate) fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string().as_bytes())
    }

    /// A body with `Content-Length`.
    pub(crate) fn body(mut self, bytes: &[u8]) -> Self {
        self.body = Body::Sized(bytes.to_vec());
        self
    }

    /// `Content-Length: announced`, of which only `sent` goes out.
    pub(crate) fn owing(mut self, announced: usize, sent: &[u8]) -> Self {
        self.body = Body::Owed(announced, sent.to_vec());
        self
    }

    /// A chunked body.
    pub(crate) fn chunked(mut self, chunks: &[&[u8]]) -> Self {
        self.body = Body::Chunked(chunks.iter().map(|chunk| chunk.to_vec()).collect());
        self
    }

    /// Whether the answer has no body whatever its headers say.
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Method and target, for messages.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }

    /// The bytes on the wire.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut wire = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            wire.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        match &self.body {
            Body::Absent => wire.extend_from_slice(b"\r\n"),
            Body::Sized(bytes) => sized(&mut wire, bytes.len(), bytes),
            Body::Owed(announced, sent) => sized(&mut wire, *announced, sent),
            Body::Chunked(chunks) => {
                wire.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
                wire.extend_from_slice(&chunked(chunks));
            }
        }
        wire
    }
}

/// A whole chunked body, the last chunk included.
pub(crate) fn chunked<C: AsRef<[u8]>>(chunks: &[C]) -> Vec<u8> {
    let mut wire = Vec::new();
    for chunk in chunks {
        wire.extend_from_slice(format!("{:x}\r\n", chunk.as_ref().len()).as_bytes());
        wire.extend_from_slice(chunk.as_ref());
        wire.extend_from_slice(b"\r\n");
    }
    wire.extend_from_slice(b"0\r\n\r\n");
    wire
}

fn sized(wire: &mut Vec<u8>, announced: usize, bytes: &[u8]) {
    wire.extend_from_slice(format!("Content-Length: {announced}\r\n\r\n").as_bytes());
    wire.extend_from_slice(bytes);
}
