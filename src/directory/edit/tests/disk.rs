//! What an edit does to the file on disk.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::PathBuf;
use std::sync::Barrier;
use std::thread;

use tempfile::TempDir;

use super::*;

/// A directory with `accounts.toml` in it.
struct Lab {
    directory: TempDir,
    file: PathBuf,
}

impl Lab {
    fn empty() -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("accounts.toml");
        Self { directory, file }
    }

    fn new() -> Self {
        let lab = Self::empty();
        fs::write(&lab.file, FILE).unwrap();
        lab
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap()
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn suspend(file: &mut AccountFile) -> Result<Change, EditError> {
    file.set_status("root", true)
}

#[test]
fn writers_at_once_lose_nothing() {
    let lab = Lab::new();
    let start = Barrier::new(20);
    thread::scope(|scope| {
        for n in 0..20 {
            let (lab, start) = (&lab, &start);
            scope.spawn(move || {
                start.wait();
                let id = format!("new-{n}");
                edit_file(&lab.file, |file| file.add_account(&account(&id, Some("root")))).unwrap();
            });
        }
    });
    let ids: Vec<_> = open(&lab.text()).accounts().into_iter().map(|row| row.id).collect();
    assert_eq!(ids.len(), 24);
    assert!((0..20).all(|n| ids.contains(&format!("new-{n}"))), "{ids:?}");
    assert_eq!(lab.names(), [".accounts.toml.lock", "accounts.toml"]);
}

#[test]
fn writers_at_once_make_one_file() {
    let lab = Lab::empty();
    thread::scope(|scope| {
        for n in 0..8 {
            let lab = &lab;
            scope.spawn(move || {
                edit_file(&lab.file, |file| file.add_account(&account(&format!("a{n}"), None))).unwrap();
            });
        }
    });
    assert_eq!(open(&lab.text()).accounts().len(), 8);
}

#[test]
fn a_symlink_stays_one_and_its_file_is_edited() {
    let lab = Lab::new();
    let elsewhere = TempDir::new().unwrap();
    let link = elsewhere.path().join("link.toml");
    symlink(&lab.file, &link).unwrap();
    edit_file(&link, suspend).unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), lab.file);
    assert_eq!(open(&lab.text()).accounts()[0].status, Status::Suspended);
    assert_eq!(lab.names(), [".accounts.toml.lock", "accounts.toml"]);
}

#[test]
fn a_symlink_to_nowhere_is_not_filled() {
    let lab = Lab::empty();
    symlink(lab.directory.path().join("gone.toml"), &lab.file).unwrap();
    let error = edit_file(&lab.file, |file| file.add_account(&account("a", None))).err().unwrap();
    assert!(matches!(error, EditError::Io { .. }), "{error}");
    assert_eq!(lab.names(), ["accounts.toml"]);
}

#[test]
fn a_directory_is_refused_and_gets_no_lock_file() {
    let lab = Lab::empty();
    fs::create_dir(&lab.file).unwrap();
    let error = edit_file(&lab.file, suspend).err().unwrap();
    assert!(matches!(error, EditError::Io { .. }), "{error}");
    assert_eq!(lab.names(), ["accounts.toml"]);
}

#[test]
fn a_failed_edit_leaves_the_file_untouched() {
    let lab = Lab::new();
    let before = fs::metadata(&lab.file).unwrap();
    let outcome = edit_file(&lab.file, |file| {
        file.set_status("root", true)?;
        file.move_account("root", Some("cus-42"))
    });
    assert!(matches!(outcome, Err(EditError::Cycle { .. })));
    let after = fs::metadata(&lab.file).unwrap();
    assert_eq!((after.ino(), after.mtime_nsec(), lab.text().as_str()), (before.ino(), before.mtime_nsec(), FILE));
    assert_eq!(lab.names(), [".accounts.toml.lock", "accounts.toml"]);
}

#[test]
fn a_file_that_cannot_be_read_as_accounts_is_left_alone() {
    let lab = Lab::new();
    fs::write(&lab.file, "[[account]\n").unwrap();
    assert!(matches!(edit_file(&lab.file, suspend), Err(EditError::Unreadable { line: 1, .. })));
    assert_eq!(lab.text(), "[[account]\n");
}

#[test]
fn an_edit_that_changes_nothing_does_not_replace_the_file() {
    let lab = Lab::new();
    let before = fs::metadata(&lab.file).unwrap().ino();
    assert_eq!(edit_file(&lab.file, |file| file.set_status("root", false)).unwrap(), Change::Already);
    assert_eq!(fs::metadata(&lab.file).unwrap().ino(), before);
}

#[test]
fn mode_is_kept_and_a_new_file_is_private() {
    let mode = |lab: &Lab| fs::metadata(&lab.file).unwrap().permissions().mode() & 0o7777;
    let lab = Lab::new();
    fs::set_permissions(&lab.file, Permissions::from_mode(0o640)).unwrap();
    edit_file(&lab.file, suspend).unwrap();
    assert_eq!(mode(&lab), 0o640);
    let lab = Lab::empty();
    edit_file(&lab.file, |file| file.add_account(&account("a", None))).unwrap();
    assert_eq!(mode(&lab), 0o600);
}

/// Only root can give a file away, so elsewhere than in a container this shows nothing.
#[test]
fn owner_is_kept_when_root_edits() {
    let lab = Lab::new();
    if chown(&lab.file, Some(1234), Some(1235)).is_err() {
        return;
    }
    edit_file(&lab.file, suspend).unwrap();
    let owners = |name: &str| fs::metadata(lab.directory.path().join(name)).map(|it| (it.uid(), it.gid())).unwrap();
    assert_eq!(owners("accounts.toml"), (1234, 1235));
    assert_eq!(owners(".accounts.toml.lock"), (1234, 1235));
}

#[test]
fn what_a_crash_left_behind_is_cleared() {
    let lab = Lab::new();
    fs::write(lab.directory.path().join(".accounts.toml.new"), "half a fi").unwrap();
    edit_file(&lab.file, suspend).unwrap();
    assert_eq!(open(&lab.text()).accounts()[0].status, Status::Suspended);
    assert_eq!(lab.names(), [".accounts.toml.lock", "accounts.toml"]);
}

#[test]
fn only_an_added_account_begins_a_file() {
    let lab = Lab::empty();
    let missing = |error: Option<EditError>| assert!(matches!(error, Some(EditError::Missing { .. })), "{error:?}");
    missing(edit_file(&lab.file, suspend).err());
    missing(edit_file(&lab.file, |file| file.move_account("a", None)).err());
    missing(edit_file(&lab.file, |file| file.add_credential(&credential("a"), now())).err());
    missing(edit_file(&lab.file, |file| file.revoke_credential("a")).err());
    missing(edit_file(&lab.file, |file| Ok(file.accounts())).err());
    missing(read_file(&lab.file).err());
    let refused = edit_file(&lab.file, |file| file.add_account(&account("a b", None)));
    assert!(matches!(refused, Err(EditError::BadName { .. })));
    assert!(!lab.file.exists());
    edit_file(&lab.file, |file| file.add_account(&account("a", None))).unwrap();
    let text = lab.text();
    assert!(text.starts_with("# Accounts and credentials"), "{text}");
    assert!(text.ends_with("\n\n[[account]]\nid = \"a\"\nrole = \"customer\"\n"), "{text}");
    assert_eq!(read_file(&lab.file).unwrap().accounts().len(), 1);
}
