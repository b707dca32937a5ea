//! When a change of files is taken for one: once they rest.
//!
//! Used by whoever follows files, each at its own pace: the reload's watch, and the directory for its accounts. It
//! compares versions; it looks at no disk and reads nothing.

use super::watched::{Version, Watched};

/// So many looks in a row have to find a change the same before it is read: a file that is being written piece by piece
/// is left alone until it rests.
const RESTING: u32 = 2;

/// The same where a file has gone or become empty, since most programs that do so write it anew at once.
const MISSING: u32 = 8;

/// What was seen of files that differ from what was read.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Vec<Version>,
    /// Looks that found this again.
    again: u32,
}

impl Watch {
    /// Takes note of what stands on the disk now. `true`: it is other than what was read, and has just come to rest. One
    /// state of the files is reported once, whatever came of its reading.
    #[must_use]
    pub fn look(&mut self, read: &[Watched], now: Vec<Version>) -> bool {
        if read.iter().map(|file| &file.version).eq(&now) {
            *self = Self::default();
            return false;
        }
        if self.seen != now {
            *self = Self { seen: now, again: 0 };
            return false;
        }
        self.again = self.again.saturating_add(1);
        let gone = |(file, now): (&Watched, &Version)| file.version != *now && now.is_empty();
        self.again == if read.iter().zip(&now).any(gone) { MISSING } else { RESTING }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions of two files that are replaced, written, emptied and removed.
    struct Files {
        folder: tempfile::TempDir,
        read: Vec<Watched>,
        watch: Watch,
    }

    impl Files {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let mut files = Self { folder, read: Vec::new(), watch: Watch::default() };
            files.write("a", "one");
            files.write("b", "two");
            files.take();
            files
        }

        fn write(&self, name: &str, text: &str) {
            // Another file each time, so that no two versions are alike however quick this is.
            let next = self.folder.path().join("next");
            std::fs::write(&next, text).unwrap();
            std::fs::rename(next, self.folder.path().join(name)).unwrap();
        }

        fn remove(&self, name: &str) {
            std::fs::remove_file(self.folder.path().join(name)).unwrap();
        }

        /// As if everything were read.
        fn take(&mut self) {
            self.read = ["a", "b"].map(|name| Watched::now(&self.folder.path().join(name))).into();
        }

        fn look(&mut self) -> bool {
            let now = self.read.iter().map(|file| Version::of(&file.path)).collect();
            self.watch.look(&self.read, now)
        }

        /// After how many looks a change is reported.
        fn looks(&mut self) -> Option<u32> {
            (1..=20).find(|_| self.look())
        }
    }

    #[test]
    fn a_change_is_reported_once_when_it_rests() {
        let mut files = Files::new();
        assert_eq!(files.looks(), None, "nothing has changed");
        files.write("b", "three");
        assert_eq!(files.looks(), Some(1 + RESTING));
        assert_eq!(files.looks(), None, "it was reported, whatever came of it");
        files.write("a", "four");
        assert_eq!(files.looks(), Some(1 + RESTING));
        files.take();
        assert_eq!(files.looks(), None);
    }

    #[test]
    fn what_goes_on_changing_is_left_alone() {
        let mut files = Files::new();
        for piece in 0..20 {
            files.write("a", &"x".repeat(piece + 1));
            assert!(!files.look() && !files.look());
        }
        assert_eq!(files.looks(), Some(1), "the last piece was looked at twice");
    }

    #[test]
    fn a_file_that_is_gone_or_empty_has_time_to_come_back() {
        let mut files = Files::new();
        files.remove("a");
        assert!((0..MISSING).all(|_| !files.look()));
        files.write("a", "again");
        assert_eq!(files.looks(), Some(1 + RESTING));
        files.take();
        files.write("b", "");
        assert_eq!(files.looks(), Some(1 + MISSING));
        files.take();
        // One that was missing already makes nobody wait for another.
        files.remove("b");
        assert_eq!(files.looks(), Some(1 + MISSING));
        files.take();
        files.write("a", "mended");
        assert_eq!(files.looks(), Some(1 + RESTING));
    }
}
