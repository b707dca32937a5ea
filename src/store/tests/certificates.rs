//! Certificates for one test, made by the openssl command line in a directory of their own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// An authority that nobody else trusts.
pub(super) struct Authority {
    directory: PathBuf,
}

impl Authority {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("portcullis-ca-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let authority = Self { directory };
        authority.openssl(&["req", "-x509", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2"]);
        authority
    }

    /// A certificate for 127.0.0.1, and its key.
    pub(super) fn issue(&self, name: &str) -> (Vec<u8>, Vec<u8>) {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        self.openssl(&[
            "req",
            "-x509",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-days",
            "2",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
        ]);
        (self.read(&certificate), self.read(&key))
    }

    pub(super) fn certificate(&self) -> Vec<u8> {
        self.read("ca.pem")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.file(name)).unwrap()
    }

    fn openssl(&self, arguments: &[&str]) {
        run(&self.directory, arguments);
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn run(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("openssl");
    command.args(arguments).args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    let output = command.current_dir(directory).stdin(Stdio::null()).output().expect("openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
