//! ONE REQUEST walks these files: intake → admit → builtin | forward → respond → finish.
//!
//! This one holds the gateway and walks a request through the stages. pingora's `HttpProxy` is the first
//! carrier: `hooks` implements its trait, `carry` converts, and the rules know neither.

pub mod admit;
pub mod arrival;
pub mod builtin;
pub mod carry;
pub mod edge;
pub mod exchange;
pub mod finish;
pub mod forward;
pub mod hooks;
pub mod intake;
pub mod listener;
pub mod raw_head;
pub mod respond;
pub mod shadow;
pub mod turnstile;

use std::sync::Arc;

use arc_swap::ArcSwap;
use ipnet::IpNet;
use pingora::proxy::Session;

use self::builtin::Halt;
use self::exchange::{Exchange, Live};
use self::intake::MapFields;
use crate::config::settings::Limits as Bounds;
use crate::identity::Resolver;
use crate::identity::password::Passwords;
use crate::limits::Limits;
use crate::policy::facts::{Body, RequestHead};
use crate::policy::route::Destination;
use crate::telemetry::access_log::AccessLog;
use crate::telemetry::metrics::{Counted, Metrics};

/// Everything that a request may need, built once by `app`.
pub struct Gateway {
    /// The policies in effect.
    pub live: ArcSwap<Live>,
    /// Who calls.
    pub resolver: Resolver,
    /// How much is left.
    pub limits: Arc<Limits>,
    /// The password pool.
    pub passwords: Passwords,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where access lines go.
    pub access_log: AccessLog,
    /// Bounds of a request.
    pub bounds: Bounds,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
}

impl Gateway {
    /// A request begins.
    #[must_use]
    pub fn begin(&self) -> Exchange {
        self.begin_with(self.live.load_full())
    }

    /// A request begins that was looked at by these policies.
    fn begin_with(&self, live: Arc<Live>) -> Exchange {
        let patience = self.resolver.sessions().store().patience();
        Exchange::begin(live, Counted::new(&self.metrics.in_flight), patience)
    }

    /// Judges a request and answers it, unless it is to be forwarded. `true`: it was answered.
    pub(crate) async fn take(&self, session: &mut Session, exchange: &mut Exchange) -> pingora::Result<bool> {
        let live = Arc::clone(&exchange.live);
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        let (verdict, body) = {
            let header = session.req_header();
            let fields = MapFields(&header.headers);
            let sender = intake::sender(peer.unwrap_or(exchange.sender.peer), &fields, &self.trusted_proxies);
            intake::note_sender(exchange, sender, &fields);
            let head = RequestHead::read(header.method.as_str(), header.raw_path(), &fields, exchange.sender.client);
            let body = if head.fault.is_some() { Body::Chunked } else { head.body };
            (self.admit(&head, &live, (exchange.started, &exchange.patience)).await, body)
        };
        exchange.notes = verdict.notes;
        exchange.spending = verdict.spending;
        let permit = match verdict.outcome {
            Ok(permit) => permit,
            Err((problem, cause)) => {
                respond::refuse(session, exchange, &problem, cause, body).await?;
                return Ok(true);
            }
        };
        let route = live.snapshot.route(permit.realm(), permit.route());
        exchange.body_limit = route.map_or(0, |route| route.body_size);
        let reply = match permit.destination() {
            Destination::Upstream(index) => match forward::ask(live.upstreams.find(index)) {
                Ok(pass) => {
                    exchange.upstream.pass = pass;
                    exchange.permit = Some(permit);
                    return Ok(false);
                }
                Err(problem) => Err(Halt::Refuse(problem, "the breaker of the upstream is open")),
            },
            Destination::Login => self.log_in(session, exchange, &permit).await,
            Destination::Logout => self.log_out(exchange, &permit).await,
        };
        match reply {
            Ok(reply) => respond::answer(session, exchange, &reply, body, false).await?,
            Err(Halt::Refuse(problem, cause)) => respond::refuse(session, exchange, &problem, cause, body).await?,
            Err(Halt::Gone(error)) => return Err(error),
        }
        Ok(true)
    }
}
