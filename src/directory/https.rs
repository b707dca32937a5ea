//! The three calls to the provisioning service's directory, as `deploy/directory-openapi.yaml` describes them.
//!
//! Called by `remote` through its source. Every call is bounded in time and size, follows no redirect and no proxy of
//! the environment. Our bearer token stands in no error and no log; passwords and e-mails travel in a body only.

use std::error::Error as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Certificate, Client, Identity, RequestBuilder, Response, StatusCode, redirect};
use thiserror::Error;

use super::source::{Kind, SourceError};
use super::wire::{self, Unreadable, Verified};
use crate::config::settings::DirectoryCalls;

/// Why the calls cannot be made; none shows a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CallsError {
    /// It has to be visible ASCII to stand in a header.
    #[error("`directory.token` cannot stand in a header")]
    Token,
    /// Not PEM, or no certificate in it.
    #[error("`directory.ca` holds no certificate in PEM form")]
    Authority,
    /// Not PEM, or certificate and key do not belong together.
    #[error("`directory.client_certificate` and its key cannot be used")]
    Certificate,
    /// The system's authorities cannot be read, or the client cannot be made for another reason.
    #[error("no client for the calls of the directory can be made")]
    Client,
}

/// The calls, over a pool of connections.
pub(super) struct Calls {
    /// Replaced when its token or certificates are; a call that is under way ends with the one it began with.
    client: ArcSwap<Client>,
    url: String,
    /// Whether the cause of the present outage was logged.
    told: AtomicBool,
    /// When it was last logged that an answer is no record.
    complained: Mutex<Option<Instant>>,
}

/// The token and certificates of a reload, found usable and not yet used.
#[derive(Debug)]
pub struct NewSecrets(Client);

impl NewSecrets {
    /// Makes no connection.
    pub(super) fn prepare(settings: &DirectoryCalls) -> Result<Self, CallsError> {
        Calls::client(settings).map(Self)
    }
}

impl Calls {
    pub(super) fn new(settings: &DirectoryCalls) -> Result<Self, CallsError> {
        let client = ArcSwap::from_pointee(Self::client(settings)?);
        Ok(Self { client, url: settings.url.clone(), told: AtomicBool::new(false), complained: Mutex::default() })
    }

    /// From the next call on. Connections of the old client are not used any more: they were let in by the old secrets.
    pub(super) fn replace(&self, NewSecrets(client): NewSecrets) {
        self.client.store(Arc::new(client));
        self.told.store(false, Ordering::Relaxed);
    }

    fn client(settings: &DirectoryCalls) -> Result<Client, CallsError> {
        static PROVIDER: Once = Once::new();
        // An error means that another part of the process installed one, which is as good.
        PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(token) = &settings.token {
            let token = token.reveal();
            let visible = !token.is_empty() && token.iter().all(u8::is_ascii_graphic);
            let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok().filter(|_| visible);
            let mut value = value.ok_or(CallsError::Token)?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = Client::builder()
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .no_proxy()
            .redirect(redirect::Policy::none())
            .https_only(settings.url.starts_with("https:"))
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE);
        if let Some(ca) = &settings.tls.ca {
            let authorities = Certificate::from_pem_bundle(ca).ok().filter(|found| !found.is_empty());
            builder = builder.tls_certs_only(authorities.ok_or(CallsError::Authority)?);
        }
        if let Some((certificate, key)) = settings.tls.certificate.as_ref().zip(settings.tls.key.as_ref()) {
            let pem = [certificate, &b"\n"[..], key.reveal()].concat();
            builder = builder.identity(Identity::from_pem(&pem).map_err(|_| CallsError::Certificate)?);
        }
        builder.build().map_err(|_| CallsError::Client)
    }

    /// The bytes of an account or a credential; `None` when there is none. A body that is not a record of this id, such
    /// as the page of a load balancer, says nothing about the record: the source has failed over it.
    pub(super) async fn record(&self, kind: Kind, id: &str, within: Duration) -> Result<Option<Vec<u8>>, SourceError> {
        let folder = match kind {
            Kind::Account => "accounts",
            Kind::Credential => "credentials",
            // There is no such call: whose an e-mail is comes out with the password only.
            Kind::Email => return Err(SourceError::Refused),
        };
        // Ids need no escapes. These two are ids as well, but no URL can name them, escaped or not.
        if id == "." || id == ".." {
            return Ok(None);
        }
        let request = self.client.load().get(format!("{}/{folder}/{id}", self.url));
        let no_record = |fault| {
            self.complain(kind, id, fault);
            SourceError::NoRecord(fault)
        };
        match self.answer(request, within).await {
            Ok((StatusCode::OK, record)) => wire::is_of(id, &record).map(|()| Some(record)).map_err(no_record),
            Ok((StatusCode::NOT_FOUND, _)) => Ok(None),
            Ok((status, _)) => Err(refusal(status)),
            // Larger than any record.
            Err(SourceError::Unreadable(fault)) => Err(no_record(fault)),
            Err(error) => Err(error),
        }
    }

    /// Whose e-mail and password these are; `None` when they are nobody's.
    pub(super) async fn verify(
        &self,
        email: &str,
        password: &str,
        within: Duration,
    ) -> Result<Option<Verified>, SourceError> {
        let request = self.client.load().post(format!("{}/passwords/verify", self.url));
        let request = request.json(&serde_json::json!({ "email": email, "password": password }));
        match self.answer(request, within).await? {
            (StatusCode::OK, account) => Ok(Some(wire::verified(&account)?)),
            (StatusCode::UNAUTHORIZED, _) => Ok(None),
            (status, _) => Err(refusal(status)),
        }
    }

    async fn answer(&self, request: RequestBuilder, within: Duration) -> Result<(StatusCode, Vec<u8>), SourceError> {
        let whole = async {
            let response = request.send().await.map_err(|error| self.failure(error))?;
            let status = response.status();
            // Read even where nobody looks at it: a connection with an unread body is of no further use.
            let body = self.body(response).await?;
            self.told.store(false, Ordering::Relaxed);
            Ok((status, body))
        };
        tokio::time::timeout(within, whole).await.unwrap_or(Err(SourceError::TimedOut))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, SourceError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(error))? {
            if body.len() + chunk.len() > LARGEST {
                return Err(Unreadable::TooLarge.into());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Logs that an answer is no record; now and then, since who stands in front of a directory answers every call alike.
    fn complain(&self, kind: Kind, id: &str, fault: Unreadable) {
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY) {
            *last = Some(Instant::now());
            drop(last);
            tracing::warn!(%id, "an answer of the directory, {}, is no record: {fault}", kind.name());
        }
    }

    /// What a failure of the client means. Its words are logged once an outage: a certificate that is not accepted
    /// cannot be told from a closed port otherwise.
    fn failure(&self, error: reqwest::Error) -> SourceError {
        let error = error.without_url();
        if !self.told.swap(true, Ordering::Relaxed) {
            let mut words = error.to_string();
            let mut cause = error.source();
            while let Some(deeper) = cause {
                words = format!("{words}: {deeper}");
                cause = deeper.source();
            }
            tracing::warn!("a call of the directory failed: {words}");
        }
        if error.is_timeout() { SourceError::TimedOut } else { SourceError::Unreachable }
    }
}

/// What a status means that is neither an answer nor "unknown".
fn refusal(status: StatusCode) -> SourceError {
    let of_this_record = status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE;
    if of_this_record { SourceError::Failed } else { SourceError::Refused }
}

/// The largest body that is read, in bytes.
const LARGEST: usize = 64 << 10;

/// Between two lines of the log about answers that are no records.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// An unused connection is closed after this long, before the far side may do it under a request.
const IDLE: Duration = Duration::from_secs(20);
