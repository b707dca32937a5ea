//! Reads a file that an operator named, whatever stands there.
//!
//! Called for settings, policies, secrets, certificates and accounts, by the verbs and by the gateway while it runs. A pipe
//! that nobody writes to would hold its reader for ever, and a device may never end, so neither is read. Text is not judged
//! here.

use std::fs::OpenOptions;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// More is no file of settings, policies or certificates, but a mistake.
pub const LONGEST_FILE: u64 = 32 << 20;

/// The bytes of a regular file that is not longer than `longest`.
///
/// # Errors
/// Why they cannot be had.
pub fn read_bytes(path: &Path, longest: u64) -> Result<Vec<u8>> {
    // Opening a pipe would wait for whoever writes to it; of a regular file the flag changes nothing.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !meta.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "it is a pipe, a socket or a device, not a file"));
    }
    let mut bytes = Vec::with_capacity(usize::try_from(meta.len().min(longest)).unwrap_or_default());
    // The length is no promise: some files of the kernel say none, and others grow meanwhile.
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(Error::new(ErrorKind::FileTooLarge, format!("it is longer than {} MiB", longest >> 20)));
    }
    Ok(bytes)
}

/// The same, of a file that is text.
///
/// # Errors
/// Why it cannot be had.
pub fn read_text(path: &Path, longest: u64) -> Result<String> {
    String::from_utf8(read_bytes(path, longest)?).map_err(|error| {
        let place = error.utf8_error().valid_up_to();
        Error::new(ErrorKind::InvalidData, format!("not UTF-8 at byte {place}"))
    })
}

/// What puts it right, where the kind of error tells; of a file that is not there, only who named it can say.
#[must_use]
pub fn remedy(error: &Error) -> Option<&'static str> {
    #[allow(clippy::wildcard_enum_match_arm, reason = "the standard library's kinds, which grow")]
    match error.kind() {
        ErrorKind::IsADirectory => Some("name a file in it"),
        ErrorKind::InvalidInput => Some("name a regular file"),
        ErrorKind::InvalidData => Some("save it as UTF-8"),
        ErrorKind::FileTooLarge => Some("see whether it is the right file"),
        ErrorKind::PermissionDenied => Some("let the user read it who runs the gateway"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    /// The complaint about a path, which comes at once.
    fn complaint(path: &Path) -> String {
        let (told, outcome) = channel();
        let path = path.to_owned();
        std::thread::spawn(move || told.send(read_text(&path, 1 << 20)));
        outcome.recv_timeout(Duration::from_secs(20)).expect("nobody waits for ever").unwrap_err().to_string()
    }

    #[test]
    fn only_a_file_that_ends_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::os::unix::fs::symlink(at("loop"), at("loop")).unwrap();
        std::fs::write(at("long"), vec![b'x'; (1 << 20) + 1]).unwrap();
        std::fs::write(at("latin"), b"caf\xe9").unwrap();
        std::fs::write(at("whole"), vec![b'x'; 1 << 20]).unwrap();
        let odd = "it is a pipe, a socket or a device, not a file";
        assert_eq!(complaint(&at("pipe")), odd);
        assert_eq!(complaint(Path::new("/dev/zero")), odd);
        assert_eq!(complaint(&at("long")), "it is longer than 1 MiB");
        assert_eq!(complaint(&at("latin")), "not UTF-8 at byte 3");
        assert!(complaint(folder.path()).contains("directory"), "{}", complaint(folder.path()));
        assert!(complaint(&at("loop")).contains("symbolic link"), "{}", complaint(&at("loop")));
        assert!(complaint(&at("gone")).contains("No such file"));
        assert_eq!(read_text(&at("whole"), 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_remedy_is_of_the_kind_of_error() {
        let folder = tempfile::tempdir().unwrap();
        let long = folder.path().join("long");
        std::fs::write(&long, vec![b'x'; 9]).unwrap();
        assert_eq!(remedy(&read_bytes(&long, 8).unwrap_err()), Some("see whether it is the right file"));
        assert_eq!(remedy(&read_bytes(folder.path(), 8).unwrap_err()), Some("name a file in it"));
        assert_eq!(remedy(&read_bytes(Path::new("/dev/zero"), 8).unwrap_err()), Some("name a regular file"));
        let closed = Error::from(ErrorKind::PermissionDenied);
        assert_eq!(remedy(&closed), Some("let the user read it who runs the gateway"));
        let gone = read_bytes(&folder.path().join("gone"), 8).unwrap_err();
        assert_eq!(remedy(&gone), None, "where else it may be is for whoever named it");
    }
}
