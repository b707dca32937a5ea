//! Secrets: read from the environment or a file, never shown.

use std::fmt;
use std::path::Path;

use super::plain_file::{LONGEST_FILE, read_bytes, remedy};
use super::value::SecretSource;

/// The bytes of a secret. They leave it only through [`Secret::reveal`].
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// From bytes that are at hand already: a key made at start, a test's.
    #[must_use]
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// Reads a secret; a relative path is relative to `folder`.
    ///
    /// # Errors
    /// What is wrong and how to put it right, without a byte of the secret.
    pub fn read(source: &SecretSource, folder: &Path) -> Result<Self, (String, String)> {
        match source {
            SecretSource::Env(name) => match std::env::var_os(name) {
                Some(value) => Ok(Self(std::os::unix::ffi::OsStringExt::into_vec(value).into())),
                None => Err((
                    format!("the environment variable `{name}` is not set"),
                    format!("start the gateway with {name}=…"),
                )),
            },
            SecretSource::File(path) => {
                let path = folder.join(path);
                read_bytes(&path, LONGEST_FILE).map(|bytes| Self(bytes.into())).map_err(|error| {
                    (
                        format!("cannot read the secret in `{}`: {error}", path.display()),
                        remedy(&error).unwrap_or("check path and permissions").to_owned(),
                    )
                })
            }
        }
    }

    /// The bytes, for the one place that computes with them.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_raw_bytes_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("key"), b"bytes \n").unwrap();
        let secret = Secret::read(&SecretSource::File("key".into()), folder.path()).unwrap();
        assert_eq!(secret.reveal(), b"bytes \n");
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn a_missing_secret_names_its_source() {
        let missing = SecretSource::Env("PORTCULLIS_NO_SUCH_VARIABLE".into());
        let (message, _) = Secret::read(&missing, Path::new(".")).unwrap_err();
        assert!(message.contains("PORTCULLIS_NO_SUCH_VARIABLE"));
    }
}
