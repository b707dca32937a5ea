//! The sample directory on a port, for `.ci/directory-api` and for trying `directory.url = "http://127.0.0.1:…"`.
//!
//! `cargo run --example directory -- 127.0.0.1:8090 TOKEN`. It holds a handful of accounts in memory and is no service to
//! run in earnest.

use std::sync::Arc;

use async_trait::async_trait;
use http::{Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;
use portcullis::config::diag::{Faults, Source};
use portcullis::directory::reading;
use portcullis::directory::records::Vocabulary;
use portcullis::directory::sample::{Call, Sample};
use portcullis::identity::password::hash;

const ACCOUNTS: &str = r#"
[[account]]
id = "root"
role = "administrator"
[[account]]
id = "cus-42"
role = "customer"
parent = "root"
email = "cus-42@example.com"
[[account]]
id = "cus-9"
role = "customer"
parent = "root"
status = "suspended"
[[account]]
id = "usr-1"
role = "user"
parent = "cus-42"
email = "usr-1@example.com"
password = "PASSWORD"
[[credential]]
id = "ak_limited"
account = "cus-42"
key = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
realms = ["ucaas"]
not_before = 2026-01-01T00:00:00Z
not_after = 2036-01-01T00:00:00Z
[[credential]]
id = "ak_peppered"
account = "usr-1"
key = "hmac-sha256:p1:0000000000000000000000000000000000000000000000000000000000000000"
"#;

/// The largest body that is looked at.
const LARGEST: usize = 64 << 10;

struct Carrier(Sample);

#[async_trait]
impl ServeHttp for Carrier {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = session.read_request_body().await {
            if body.len() + chunk.len() <= LARGEST {
                body.extend_from_slice(&chunk);
            }
        }
        let request = session.req_header();
        let field = |name| request.headers.get(name).map(|value| value.as_bytes());
        let reply = self.0.answer(&Call {
            method: request.method.as_str(),
            path: std::str::from_utf8(request.raw_path()).unwrap_or_default(),
            authorization: field(header::AUTHORIZATION),
            content_type: field(header::CONTENT_TYPE).and_then(|value| std::str::from_utf8(value).ok()),
            body: &body,
        });
        let mut built = Response::builder().status(reply.status).header(header::CONTENT_TYPE, "application/json");
        if let Some(allow) = reply.allow {
            built = built.header(header::ALLOW, allow);
        }
        built.header(header::CONTENT_LENGTH, reply.body.len()).body(reply.body).unwrap_or_default()
    }
}

struct App(Arc<Carrier>);

#[async_trait]
impl ServeHttp for App {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        self.0.response(session).await
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(address), token) = (words.next(), words.next()) else {
        return Err("usage: directory ADDRESS [BEARER-TOKEN]".into());
    };
    let password = hash(b"correct horse battery staple")?;
    let source = Arc::new(Source { name: "sample".into(), text: ACCOUNTS.replace("PASSWORD", &password) });
    let mut faults = Faults::default();
    let records = reading::parse(&source, &Vocabulary::default(), &mut faults);
    let records = records.ok_or_else(|| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))?;
    let mut server = Server::new(None)?;
    server.bootstrap();
    let mut service = Service::new("directory".into(), App(Arc::new(Carrier(Sample::new(records, token.as_deref())))));
    service.add_tcp(&address);
    server.add_service(service);
    server.run(RunArgs::default());
    Ok(())
}
