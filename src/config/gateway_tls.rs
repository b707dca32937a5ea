//! PEM files that `gateway.toml` names: read at load like secrets, and judged there.
//!
//! Called by `gateway_store` and `gateway_directory`. No connection is made; whether a key belongs to its certificate is
//! told by whoever makes one.

use super::spanned::Spanned;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::diag::Faults;
use super::gateway_file::Reader;
use super::plain_file::{LONGEST_FILE, read_bytes, remedy};
use super::secret::Secret;
use super::settings::TlsFiles;

/// A key of the file by its full name, with the path it was given.
pub(super) type Named = (&'static str, Option<Spanned<String>>);

/// The three keys of one end of TLS.
pub(super) struct TlsKeys {
    pub ca: Named,
    pub certificate: Named,
    pub key: Named,
}

impl Reader<'_> {
    /// Reads what is named; a file that is missing or is not what it should be is a fault.
    pub(super) fn tls_files(&self, keys: TlsKeys, faults: &mut Faults) -> TlsFiles {
        for ((alone, path), (other, missing)) in [(&keys.certificate, &keys.key), (&keys.key, &keys.certificate)] {
            if let (Some(path), None) = (path, missing) {
                let message = format!("`{alone}` without `{other}`");
                faults.fault(self.source, path.span(), message, "a certificate and its key belong together");
            }
        }
        let mut certificates = |(key, path): Named| {
            let bytes = self.pem(path.as_ref()?, faults)?;
            let good = CertificateDer::pem_slice_iter(&bytes).collect::<Result<Vec<_>, _>>();
            let found = good.is_ok_and(|certificates| !certificates.is_empty());
            if !found {
                faults.fault(self.source, path?.span(), format!("`{key}`: no certificates in PEM in this file"), PEM);
            }
            found.then_some(bytes)
        };
        let (ca, certificate) = (certificates(keys.ca), certificates(keys.certificate));
        let (name, path) = keys.key;
        let key = path.and_then(|path| {
            let bytes = self.pem(&path, faults)?;
            let good = PrivateKeyDer::from_pem_slice(&bytes).is_ok();
            if !good {
                faults.fault(self.source, path.span(), format!("`{name}`: no private key in PEM in this file"), PEM);
            }
            good.then(|| Secret::new(bytes))
        });
        TlsFiles { ca, certificate, key }
    }

    /// The bytes of a file; `None` also where secrets are not read, since only a gateway that starts needs them.
    fn pem(&self, path: &Spanned<String>, faults: &mut Faults) -> Option<Vec<u8>> {
        if !self.secrets {
            return None;
        }
        let whole = self.folder().join(path.get_ref());
        self.files.about_to_read(&whole);
        let read = read_bytes(&whole, LONGEST_FILE);
        read.map_err(|error| {
            let message = format!("cannot read `{}`: {error}", whole.display());
            let hint = remedy(&error).unwrap_or("check path and permissions");
            faults.fault(self.source, path.span(), message, hint);
        })
        .ok()
    }
}

const PEM: &str = "it begins with a line like -----BEGIN CERTIFICATE----- or -----BEGIN PRIVATE KEY-----";
