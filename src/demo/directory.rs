//! The sample directory over HTTP: what `demo --directory https` asks, and what the description of the calls is checked
//! against. The answers are `directory::sample`'s; this only carries them.

use async_trait::async_trait;
use http::{HeaderName, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::directory::sample::{Call, Sample};

/// The largest body that is looked at.
const LARGEST: usize = 64 << 10;

/// A sample directory on a listener of the carrier's.
pub struct SampleServer(pub Sample);

#[async_trait]
impl ServeHttp for SampleServer {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = session.read_request_body().await {
            if body.len() + chunk.len() <= LARGEST {
                body.extend_from_slice(&chunk);
            }
        }
        let request = session.req_header();
        let field = |name: HeaderName| request.headers.get(name).map(|value| value.as_bytes());
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
