//! Certificates of an authority that nobody else trusts, made by the openssl command line. Used where the store is
//! reached over TLS; what is done with them is the tests' part.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The authority; its files go with it.
pub(crate) struct Authority(TempDir);

impl Authority {
    /// A new one, in `ca.pem`.
    pub(crate) fn new() -> Self {
        let authority = Self(tempfile::Builder::new().prefix("portcullis-ca-").tempdir().expect("a directory"));
        authority.openssl(&["-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem"]);
        authority
    }

    /// Issues a certificate for 127.0.0.1, `NAME.pem`, and its key, `NAME.key`.
    pub(crate) fn issue(&self, name: &str) {
        let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
        let signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-subj", &subject, "-keyout", &key, "-out", &certificate];
        let what = ["-addext", "subjectAltName=IP:127.0.0.1", "-addext", "basicConstraints=critical,CA:FALSE"];
        self.openssl(&[&signed[..], &what].concat());
    }

    /// The path of one of its files.
    pub(crate) fn file(&self, name: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        path.to_str().expect("a path of ours is UTF-8").to_owned()
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(["req", "-x509", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .expect("openssl is installed (make test does it)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
