//! Stage 4: problems and own replies → bytes on the connection, and carrier errors → problems.
//!
//! The only place where a reply is written to a client whose head was read; the edge writes to those
//! whose head was not.

use std::time::Duration;

use pingora::http::ResponseHeader;
use pingora::prelude::{Error, ErrorSource, ErrorType};
use pingora::proxy::Session;

use super::exchange::Exchange;
use crate::policy::facts::Body;
use crate::problem::envelope::{Problem, Reply};
use crate::reason::Reason;

/// How much of an owed body is read after an early answer.
pub const DRAIN_BYTES: u64 = 64 << 10;
/// How long.
pub const DRAIN_TIME: Duration = Duration::from_millis(250);

/// Refuses a request: notes it and answers. The connection stays open when the rest of the request is
/// soon read.
pub async fn refuse(
    session: &mut Session,
    exchange: &mut Exchange,
    problem: &Problem,
    cause: &'static str,
    body: Body,
) -> pingora::Result<()> {
    exchange.fail(problem.reason, cause);
    let reply = problem.reply(&exchange.live.registry, exchange.request_id.as_str());
    answer(session, exchange, &reply, body, problem.reason == Reason::RequestTimeout).await
}

/// The head of the reply that was written. An interim one (1xx) is none: the client still waits for its reply behind it.
pub fn replied(session: &Session) -> Option<&ResponseHeader> {
    session.response_written().filter(|head| !head.status.is_informational())
}

/// Writes a reply, then reads what the client still owes, within bounds.
pub async fn answer(
    session: &mut Session,
    exchange: &mut Exchange,
    reply: &Reply,
    body: Body,
    close: bool,
) -> pingora::Result<()> {
    exchange.release();
    let owed_too_much = matches!(body, Body::Length(length) if length > DRAIN_BYTES);
    let downstream = session.as_downstream_mut();
    // The carrier would close every connection that owes a body; we read it first.
    downstream.set_close_on_response_before_downstream_finish(false);
    // A client that waits for 100 may send its body or the next request; nobody can tell which.
    let expects = downstream.req_header().headers.contains_key(http::header::EXPECT);
    if close || ((owed_too_much || expects) && !downstream.is_body_done()) {
        downstream.set_keepalive(None);
    }
    write(session, exchange, reply).await?;
    if !drained(session).await {
        session.as_downstream_mut().set_keepalive(None);
        session.as_downstream_mut().shutdown().await;
    }
    Ok(())
}

async fn write(session: &mut Session, exchange: &Exchange, reply: &Reply) -> pingora::Result<()> {
    let mut head = ResponseHeader::build(reply.status, Some(reply.headers.len() + 3))?;
    for (name, value) in &reply.headers {
        head.append_header(*name, value.clone())?;
    }
    for (name, value) in exchange.quota_fields().into_iter().flatten() {
        head.append_header(name, value)?;
    }
    head.set_content_length(reply.body.len())?;
    let bodiless = session.req_header().method == http::Method::HEAD;
    // What goes wrong here is the client's side, whatever the carrier calls it.
    session.write_response_header(Box::new(head), bodiless).await.map_err(|error| error.into_down())?;
    if !bodiless {
        let written = session.write_response_body(Some(reply.body.clone()), true).await;
        written.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// Reads the rest of the body; whether all of it came.
async fn drained(session: &mut Session) -> bool {
    let downstream = session.as_downstream_mut();
    if downstream.is_body_done() {
        return true;
    }
    let reading = async {
        let mut read = 0;
        while read <= DRAIN_BYTES {
            match downstream.read_request_body().await {
                Ok(Some(chunk)) => read += chunk.len() as u64,
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
        false
    };
    tokio::time::timeout(DRAIN_TIME, reading).await.unwrap_or(false)
}

/// What an error of the carrier means: the one mapper. `None`: the client left.
#[must_use]
pub fn reason_of(error: &Error) -> Option<Reason> {
    use ErrorType as T;
    let source = error.esource();
    match (source, error.etype()) {
        (ErrorSource::Upstream, T::ConnectTimedout | T::TLSHandshakeTimedout | T::ReadTimedout | T::WriteTimedout) => {
            Some(Reason::UpstreamTimeout)
        }
        // The carrier's word for bytes that come while the answer is pending.
        (ErrorSource::Downstream, T::ConnectError) => Some(Reason::RequestMalformed),
        (ErrorSource::Internal | ErrorSource::Unset, T::ConnectTimedout | T::TLSHandshakeTimedout) => {
            Some(Reason::UpstreamTimeout)
        }
        (
            ErrorSource::Upstream | ErrorSource::Internal | ErrorSource::Unset,
            T::ConnectRefused
            | T::ConnectNoRoute
            | T::ConnectError
            | T::BindError
            | T::SocketError
            | T::TLSHandshakeFailure
            | T::InvalidCert
            | T::HandshakeError
            | T::TLSWantX509Lookup
            | T::ConnectProxyFailure,
        ) => Some(Reason::UpstreamUnreachable),
        // No connection could even be tried, for want of a descriptor or of a local port: the upstream has no part in it.
        (ErrorSource::Upstream, T::InternalError) => Some(Reason::Internal),
        (ErrorSource::Upstream, _) => Some(Reason::UpstreamInvalid),
        (ErrorSource::Downstream, T::ReadTimedout) => Some(Reason::RequestTimeout),
        (ErrorSource::Downstream, T::WriteError | T::WriteTimedout | T::ReadError | T::ConnectionClosed) => None,
        (ErrorSource::Downstream, _) => Some(Reason::RequestMalformed),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(Reason::Internal),
    }
}

/// Whether it is the upstream's fault that no reply head came. While the client owes a part of its body, the upstream may have
/// waited for that, and given up: then only a connection that did not come to be, or that it does not read from, tells.
#[must_use]
pub fn is_upstreams_fault(reason: Reason, error: &Error, body_done: bool) -> bool {
    let waited_for = |error: &Error| matches!(error.etype(), ErrorType::ReadTimedout);
    reason == Reason::UpstreamUnreachable
        || (reason == Reason::UpstreamTimeout && (body_done || !waited_for(error)))
        || (reason == Reason::UpstreamInvalid && body_done)
}

/// What an error while reading a body means; `None`: the client left.
#[must_use]
pub fn body_fault(error: &Error) -> Option<(Reason, &'static str)> {
    #[allow(
        clippy::wildcard_enum_match_arm,
        reason = "the carrier has dozens of kinds; these three mean something else"
    )]
    match error.etype() {
        ErrorType::ReadTimedout => Some((Reason::RequestTimeout, "the body stopped coming")),
        ErrorType::ConnectionClosed | ErrorType::ReadError => None,
        _ => Some((Reason::RequestMalformed, "the body's framing cannot be read")),
    }
}

/// The private cause of a carrier error: its kind, without the request's text.
#[must_use]
pub fn cause_of(error: &Error) -> String {
    format!("{} {}", error.esource().as_str(), error.etype().as_str())
}
