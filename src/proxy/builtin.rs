//! Stage 3a: the routes that the gateway answers itself, login and logout.
//!
//! It reads the body within bounds and hands it to `identity`; what comes of it goes to `respond`.

use std::time::{Duration, Instant};

use bytes::BytesMut;
use pingora::prelude::Error;
use pingora::proxy::Session;

use super::Gateway;
use super::exchange::Exchange;
use super::intake::MapFields;
use crate::identity::login::{Grant, LoginForm, LoginRequest, Refusal};
use crate::policy::decision::{Denial, Hint};
use crate::policy::facts::Fields;
use crate::policy::ladder::{Permit, quota_exceeded};
use crate::policy::quota::{Charged, QuotaAnswer, Stage};
use crate::policy::route::Realm;
use crate::problem::envelope::{Challenge, Problem, Reply, json_reply};
use crate::reason::Reason;

/// Why a built-in route gives no reply of its own.
pub enum Halt {
    /// This is told instead, for this private cause.
    Refuse(Problem, &'static str),
    /// Nobody is there to be told.
    Gone(Box<Error>),
}

/// Why a body could not be read.
enum BodyEnd {
    Fault(Reason, &'static str),
    Gone(Box<Error>),
}

impl Gateway {
    /// Logs in; gives the reply, or what to refuse with.
    pub(super) async fn log_in(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        permit: &Permit,
    ) -> Result<Reply, Halt> {
        let live = exchange.live.clone();
        let Some(realm) = live.snapshot.realm(permit.realm()) else {
            return Err(Halt::Refuse(Problem::plain(Reason::Internal), "the permit's realm is gone"));
        };
        let answer = match self.read_body(session, exchange).await {
            Err(BodyEnd::Gone(error)) => return Err(Halt::Gone(error)),
            Err(BodyEnd::Fault(reason, cause)) => Err(Refusal::from((reason, cause))),
            Ok(body) => {
                let fields = MapFields(&session.req_header().headers);
                let api_id = fields.first("x-api-id").filter(|_| fields.values("x-api-id").nth(1).is_none());
                let content_type =
                    fields.first("content-type").filter(|_| fields.values("content-type").nth(1).is_none());
                match LoginForm::read(&LoginRequest { content_type, api_id, body: &body }) {
                    Ok(form) => self.log_in_with(form, exchange, permit, realm).await,
                    Err(refusal) => Err(refusal),
                }
            }
        };
        let outcome = answer.as_ref().map_or_else(|refusal| refusal.reason.name(), |_| "granted");
        self.metrics.logins.with_label_values(&[&realm.name, outcome]).inc();
        match answer {
            Ok(grant) => {
                exchange.notes.role = realm.role(grant.principal.account.lineage.role());
                exchange.notes.principal = Some(grant.principal.clone());
                Ok(json_reply(200, &grant, exchange.request_id.as_str()))
            }
            Err(Refusal { reason, cause, hint }) => {
                let challenge = Challenge { realm: realm.name.clone(), presented: None };
                Err(Halt::Refuse(Problem { reason, hint, challenge }, cause))
            }
        }
    }

    /// Charges a login, and then lets `identity` judge it: who has no quota left makes nobody look anything up.
    async fn log_in_with(
        &self,
        form: LoginForm,
        exchange: &mut Exchange,
        permit: &Permit,
        realm: &Realm,
    ) -> Result<Grant, Refusal> {
        let live = exchange.live.clone();
        let route = live.snapshot.route(permit.realm(), permit.route());
        let client = exchange.sender.client;
        let charges = Charged { realm, route, principal: None, client, login: form.email() }.due(Stage::Permitted);
        if !charges.is_empty() {
            let spending = &mut exchange.spending;
            // Its body may have taken long to arrive.
            let answer =
                self.charge(permit.realm(), &charges, &live, (Instant::now(), &exchange.patience), spending).await;
            if let QuotaAnswer::Refused { quota, retry_after } = answer {
                exchange.notes.quota = Some(quota);
                let Denial { reason, cause, hint } = quota_exceeded(retry_after);
                return Err(Refusal { reason, cause, hint });
            }
        }
        self.resolver.login(&self.passwords, realm, form, (client, &exchange.patience)).await
    }

    /// Ends the session that the permit was given for.
    pub(super) async fn log_out(&self, exchange: &Exchange, permit: &Permit) -> Result<Reply, Halt> {
        let (jti, account) =
            permit.principal().map_or(("", ""), |principal| (&*principal.credential, principal.account.lineage.id()));
        match self.resolver.sessions().end(jti, account, &exchange.patience).await {
            Ok(true) => Ok(json_reply(200, &serde_json::json!({ "result": "1" }), exchange.request_id.as_str())),
            Ok(false) => {
                let realm = exchange.live.snapshot.realm(permit.realm());
                let challenge =
                    Challenge { realm: realm.map_or_else(|| "".into(), |realm| realm.name.clone()), presented: None };
                let problem = Problem { reason: Reason::TokenRevoked, hint: Hint::None, challenge };
                Err(Halt::Refuse(problem, "another logout of the session came first"))
            }
            Err(cause) => Err(Halt::Refuse(Problem::plain(Reason::StoreUnavailable), cause)),
        }
    }

    /// The whole body: no longer than the route allows, with no longer gaps than the limits allow, and
    /// in no more time than four such gaps.
    async fn read_body(&self, session: &mut Session, exchange: &mut Exchange) -> Result<BytesMut, BodyEnd> {
        let head = session.req_header();
        let expects =
            head.headers.get("expect").is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        if expects && head.version == http::Version::HTTP_11 {
            let downstream = session.as_downstream_mut();
            downstream.set_close_on_response_before_downstream_finish(false);
            downstream.write_continue_response().await.map_err(|error| BodyEnd::Gone(error.into_down()))?;
        }
        let whole: Duration = self.bounds.body_timeout.saturating_mul(4);
        let limit = exchange.body_limit;
        let reading = async {
            let mut body = BytesMut::new();
            loop {
                match session.as_downstream_mut().read_request_body().await {
                    Ok(Some(chunk)) if body.len() as u64 + chunk.len() as u64 > limit => {
                        return Err(BodyEnd::Fault(Reason::BodyTooLarge, "the body is longer than the route allows"));
                    }
                    Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                    Ok(None) => return Ok(body),
                    Err(error) => {
                        // Where the next request would start is not known any more.
                        session.as_downstream_mut().set_keepalive(None);
                        return Err(match super::respond::body_fault(&error) {
                            Some((reason, cause)) => BodyEnd::Fault(reason, cause),
                            None => BodyEnd::Gone(error.into_down()),
                        });
                    }
                }
            }
        };
        let body = tokio::time::timeout(whole, reading).await;
        let body = body.unwrap_or(Err(BodyEnd::Fault(Reason::RequestTimeout, "the body took too long")))?;
        exchange.body_received = body.len() as u64;
        Ok(body)
    }
}
