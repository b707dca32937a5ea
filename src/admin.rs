//! The operators' own listener: health, metrics, policy; sessions, revocations, credentials; reload.
//!
//! Carried by `app` on a runtime of its own. On loopback it is open, elsewhere it asks for the admin token. It decides
//! about no request: what it changes, it changes through `identity`, `directory` and [`reload`].

mod door;
mod explain;
mod records;
pub mod reload;
mod reply;
mod started_anew;
mod state;
pub mod watch;

use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::Response;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use self::door::Place;
use self::reload::Reloader;
use self::reply::Refusal;
pub use self::state::Stage;
use crate::proxy::Gateway;
use crate::store::Store;

/// What the listener tells of, and works on.
pub struct Admin {
    /// Metrics, policies, sessions.
    pub gateway: Arc<Gateway>,
    /// Its state is part of readiness.
    pub store: Arc<Store>,
    /// Whether the process is up.
    pub stage: Arc<Stage>,
    /// Reads the files again; it knows the admin token in effect.
    pub reloader: Arc<Reloader>,
    /// Where the listener is.
    pub address: SocketAddr,
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let answer = self.answer(session).await.unwrap_or_else(Refusal::into_response);
        if !session.is_body_done() {
            // Where the next request would start is not known any more.
            session.set_keepalive(None);
        }
        answer
    }
}

impl Admin {
    async fn answer(&self, session: &mut ServerSession) -> Result<Response<Vec<u8>>, Refusal> {
        let head = session.req_header();
        let place = Place::of(head.uri.path());
        if !place.is_some_and(Place::is_open) {
            door::check_token(self.reloader.admin_token().as_deref(), &head.headers)?;
        }
        let place = place.ok_or(Refusal::NoSuchPath)?;
        let writes = place.admits(&head.method)?;
        if place.is_open() {
            return Ok(if place == Place::Live { reply::text("ok\n") } else { self.ready() });
        }
        if writes {
            door::check_content_type(&head.headers)?;
        }
        if place.is_private() {
            door::check_host(self.address, &head.headers)?;
        }
        let query = head.uri.query().unwrap_or_default().to_owned();
        if !writes {
            return match place {
                Place::Metrics => self.metrics(),
                Place::Policy => Ok(self.policy()),
                Place::Sessions => self.sessions(&query).await,
                Place::Credentials => Ok(self.credentials().await),
                Place::Lockouts => Ok(self.lockouts()),
                Place::Live | Place::Ready | Place::Revocations | Place::Changes | Place::Reload | Place::Explain => {
                    Err(Refusal::NoSuchPath)
                }
            };
        }
        let body = door::read_body(session).await?;
        match place {
            Place::Revocations => self.revoke(&body).await,
            Place::Changes => self.note_changes(&body),
            Place::Lockouts => self.clear_lockouts(&query).await,
            Place::Reload => self.reload().await,
            Place::Explain => self.explain(&body).await,
            Place::Live | Place::Ready | Place::Metrics | Place::Policy | Place::Sessions | Place::Credentials => {
                Err(Refusal::NoSuchPath)
            }
        }
    }
}
