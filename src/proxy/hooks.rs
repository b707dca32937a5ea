//! The carrier: pingora's hooks, each calling a stage.
//!
//! Nothing is decided here, and nothing else implements a trait of the carrier's for requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::prelude::{Error, HttpPeer};
use pingora::proxy::{FailToProxy, ProxyHttp, Session};

use super::Gateway;
use super::exchange::Exchange;
use super::respond;

/// The gateway as pingora drives it.
pub struct Carrier(pub Arc<Gateway>);

#[async_trait]
impl ProxyHttp for Carrier {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        self.0.begin()
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _exchange: &mut Exchange) -> pingora::Result<()> {
        self.0.bound(session);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> pingora::Result<bool> {
        self.0.take(session, exchange).await
    }

    async fn upstream_peer(&self, _session: &mut Session, exchange: &mut Exchange) -> pingora::Result<Box<HttpPeer>> {
        self.0.peer(exchange)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        // Nothing was sent, so any method may be tried again.
        error.set_retry(self.0.may_try_again(exchange));
        error
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        head: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        self.0.edit_request(session, head, exchange)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        self.0.count_body(body, end_of_stream, exchange)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        head: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> pingora::Result<()> {
        self.0.edit_reply(session, head, exchange)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        _body: &mut Option<Bytes>,
        end_of_stream: bool,
        exchange: &mut Exchange,
    ) -> pingora::Result<Option<Duration>> {
        if end_of_stream {
            self.0.end_of_reply(session, exchange);
        }
        Ok(None)
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        client_reused: bool,
    ) -> Box<Error> {
        let more = self.0.may_try_again(exchange)
            && session.req_header().method.is_idempotent()
            && !session.as_ref().retry_buffer_truncated()
            && session.response_written().is_none();
        if more {
            error.retry.decide_reuse(client_reused)
        } else {
            error.set_retry(false)
        }
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Exchange) -> FailToProxy {
        let error_code = self.0.fail(session, error, exchange).await;
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        let client_gone = error.is_some_and(|error| respond::reason_of(error).is_none());
        exchange.release();
        self.0.finish_upstream(exchange);
        self.0.finish(session, exchange, client_gone);
    }

    fn suppress_error_log(&self, _session: &Session, _exchange: &Exchange, _error: &Error) -> bool {
        true
    }

    // The carrier's own summary would hold the query.
    fn request_summary(&self, _session: &Session, exchange: &Exchange) -> String {
        exchange.request_id.as_str().to_owned()
    }
}
