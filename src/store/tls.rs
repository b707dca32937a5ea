//! TLS to the store: which certificates are trusted, and which one is shown. Used when a store is made, and for each
//! server that is found out later. Reads no file: the PEM texts are handed in.

use std::fmt;

use redis::{Client, ClientTlsConfig, ConnectionInfo, TlsCertificates};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::address::is_tls;
use super::error::StoreUrlError;

/// PEM texts, as `store.tls` names their files.
#[derive(Clone, Default)]
pub struct TlsFiles {
    /// The only authorities that are trusted; left out, those of the system.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate, with the chain below its authority.
    pub certificate: Option<Vec<u8>>,
    /// The key of `certificate`.
    pub key: Option<Vec<u8>>,
}

/// One of them is a secret.
impl fmt::Debug for TlsFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsFiles").finish_non_exhaustive()
    }
}

/// Certificates that were found to be usable.
#[derive(Clone)]
pub(super) struct Certificates {
    files: Option<TlsCertificates>,
}

impl Certificates {
    /// Reads the files for servers that are reached like `example`.
    pub(super) fn parse(files: Option<TlsFiles>, example: &ConnectionInfo) -> Result<Self, StoreUrlError> {
        if !is_tls(example) {
            return if files.is_some() { Err(StoreUrlError::TlsWithoutNeed) } else { Ok(Self { files: None }) };
        }
        // Two crates that bring rustls would make it choose between two sets of algorithms, which it refuses to do.
        // Where another part of the program was first, it chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let Some(TlsFiles { ca, certificate, key }) = files else {
            return Ok(Self { files: None });
        };
        let roots = match &ca {
            Some(ca) => authorities(ca)?,
            None => RootCertStore::empty(),
        };
        let own = match (certificate, key) {
            (None, None) => None,
            (Some(client_cert), Some(client_key)) => Some(ClientTlsConfig { client_cert, client_key }),
            (Some(_), None) | (None, Some(_)) => return Err(StoreUrlError::Certificate),
        };
        if let Some(ClientTlsConfig { client_cert, client_key }) = &own {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(client_cert).collect();
            let chain = chain.map_err(|_| StoreUrlError::Certificate)?;
            let key = PrivateKeyDer::from_pem_slice(client_key).map_err(|_| StoreUrlError::Certificate)?;
            let builder = ClientConfig::builder().with_root_certificates(roots);
            builder.with_client_auth_cert(chain, key).map_err(|_| StoreUrlError::Certificate)?;
        }
        Ok(Self { files: Some(TlsCertificates { client_tls: own, root_cert: ca }) })
    }

    /// A client for one server.
    pub(super) fn client(&self, server: ConnectionInfo) -> Result<Client, StoreUrlError> {
        match &self.files {
            Some(files) => Client::build_with_tls(server, files.clone()).map_err(|_| StoreUrlError::Certificate),
            None => Client::open(server).map_err(|_| StoreUrlError::Unparsable),
        }
    }
}

/// At least one: with none, nobody would be trusted, and nothing would say why.
fn authorities(pem: &[u8]) -> Result<RootCertStore, StoreUrlError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|_| StoreUrlError::Ca)?;
        roots.add(certificate).map_err(|_| StoreUrlError::Ca)?;
    }
    if roots.is_empty() { Err(StoreUrlError::Ca) } else { Ok(roots) }
}
