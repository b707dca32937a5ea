//! `account` and `credential` as real processes: on a file alone, several at a time, and beside a running gateway.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::accounts::Accounts;
use crate::harness::gateway::{Exit, run_alone};
use crate::harness::lab::Lab;
use crate::harness::request::get;
use crate::harness::wait::eventually;

/// From the end of a verb until a running gateway goes by it.
const SEEN: Duration = Duration::from_secs(2);

const EXIT_FAILED: i32 = 1;
const EXIT_USAGE: i32 = 64;
const EXIT_BAD_FILES: i32 = 65;

/// A folder with the lab's accounts and, where a test wants them, settings and a policy.
struct Desk {
    folder: TempDir,
    accounts: PathBuf,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let accounts = folder.path().join("accounts.toml");
        fs::write(&accounts, format!("# kept\n{}", Accounts::lab().toml())).unwrap();
        Self { folder, accounts }
    }

    /// With settings of these lines for `[directory]`, and a realm of four roles.
    fn with_settings(directory: &str) -> Self {
        let desk = Self::new();
        let policy = "[realm]\nname = \"tree\"\nbase = \"/\"\nschemes = [\"basic\"]\nupstream = \"up\"\n\
                      roles = [\"administrator\", \"reseller\", \"customer\", \"user\"]\n\
                      [[route]]\nname = \"all\"\nmatch = \"GET /all\"\n\
                      allow = [\"administrator\", \"reseller\", \"customer\", \"user\"]\n";
        let settings = format!(
            "[directory]\n{directory}\n[upstreams.up]\nservers = [\"127.0.0.1:9\"]\n[policies]\ninclude = [\"tree.toml\"]\n"
        );
        fs::write(desk.folder.path().join("tree.toml"), policy).unwrap();
        fs::write(desk.folder.path().join("gateway.toml"), settings).unwrap();
        desk
    }

    /// Runs a verb on the file.
    fn on_file(&self, words: &[&str]) -> Exit {
        run_alone(&[words, &["--file", self.accounts.to_str().unwrap()]].concat(), "")
    }

    /// Runs a verb on what the settings name.
    fn by_settings(&self, words: &[&str]) -> Exit {
        by_settings(self.folder.path(), words)
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.accounts).unwrap()
    }
}

fn by_settings(folder: &Path, words: &[&str]) -> Exit {
    run_alone(&[words, &["-c", folder.join("gateway.toml").to_str().unwrap()]].concat(), "")
}

#[track_caller]
fn done(exit: Exit) -> String {
    assert_eq!(exit.code, 0, "{exit:?}");
    exit.stdout
}

#[track_caller]
fn refused(exit: &Exit, code: i32, words: &[&str]) {
    assert_eq!(exit.code, code, "{exit:?}");
    for word in words {
        assert!(exit.stderr.contains(word), "no {word:?} in {}", exit.stderr);
    }
}

/// API id and key as a verb prints them.
#[track_caller]
fn issued(stdout: &str) -> (String, String) {
    let after = |mark: &str| {
        let line = stdout.lines().find_map(|line| line.strip_prefix(mark));
        line.unwrap_or_else(|| panic!("no {mark:?} in {stdout}")).trim().to_owned()
    };
    (after("API ID"), after("API KEY"))
}

#[test]
fn two_processes_that_edit_at_once_lose_nothing() {
    let desk = Desk::new();
    let count = |mark: &str, text: &str| text.matches(mark).count();
    let (accounts, credentials) = (count("[[account]]", &desk.text()), count("[[credential]]", &desk.text()));
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..20 {
                done(desk.on_file(&["account", "add", &format!("new-{n}"), "--role", "user", "--parent", "cus-42"]));
            }
        });
        scope.spawn(|| {
            for n in 0..20 {
                done(desk.on_file(&["credential", "new", "--account", "usr-1", "--label", &format!("label-{n}")]));
            }
        });
    });
    let text = desk.text();
    assert_eq!(count("[[account]]", &text), accounts + 20);
    assert_eq!(count("[[credential]]", &text), credentials + 20);
    assert!((0..20).all(|n| text.contains(&format!("\"new-{n}\"")) && text.contains(&format!("\"label-{n}\""))));
    assert!(text.starts_with("# kept\n"));
}

#[test]
fn a_link_is_followed_and_mode_and_comments_stay() {
    let desk = Desk::new();
    fs::set_permissions(&desk.accounts, Permissions::from_mode(0o640)).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link.toml");
    symlink(&desk.accounts, &link).unwrap();
    let before = desk.text();
    done(run_alone(&["account", "suspend", "bob", "--file", link.to_str().unwrap()], ""));
    assert_eq!(fs::read_link(&link).unwrap(), desk.accounts);
    assert_eq!(fs::metadata(&desk.accounts).unwrap().permissions().mode() & 0o777, 0o640);
    done(desk.on_file(&["account", "resume", "bob"]));
    assert_eq!(desk.text(), before);
}

#[test]
fn a_file_that_is_broken_is_refused_and_not_touched() {
    let desk = Desk::new();
    let whole = desk.text();
    let half = &whole[..whole.len() - 20];
    let no_owner = whole.replace("account = \"usr-9\"", "account = \"nobody\"");
    let foreign_key = whole.replacen("status = \"active\"", "state = \"active\"", 1);
    for broken in [half, &no_owner, &foreign_key, "[[account]\n"] {
        assert_ne!(broken, whole);
        fs::write(&desk.accounts, broken).unwrap();
        let inode = fs::metadata(&desk.accounts).unwrap().ino();
        for words in [&["account", "suspend", "bob"][..], &["credential", "new", "--account", "bob"]] {
            refused(&desk.on_file(words), EXIT_BAD_FILES, &["accounts.toml: line ", "column "]);
        }
        assert_eq!((desk.text().as_str(), fs::metadata(&desk.accounts).unwrap().ino()), (broken, inode));
    }
}

/// Permissions do not bind root, so root runs the verb as somebody else.
#[test]
fn a_directory_that_cannot_be_written_to_is_named() {
    let desk = Desk::new();
    let own = env!("CARGO_BIN_EXE_portcullis");
    let binary = desk.folder.path().join("portcullis");
    fs::hard_link(own, &binary).or_else(|_| fs::copy(own, &binary).map(drop)).unwrap();
    fs::set_permissions(&desk.accounts, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(desk.folder.path(), Permissions::from_mode(0o555)).unwrap();
    let mut command = Command::new(&binary);
    command.args(["account", "suspend", "bob", "--file", "accounts.toml"]).current_dir(desk.folder.path());
    if fs::metadata(&desk.accounts).unwrap().uid() == 0 {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    fs::set_permissions(desk.folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(output.status.code(), Some(EXIT_FAILED), "{stderr}");
    let folder = format!("cannot write in the directory {}", desk.folder.path().display());
    assert!(stderr.contains(&folder) && stderr.contains("Permission denied"), "{stderr}");
    assert!(!desk.text().contains("suspended"));
}

#[test]
fn a_role_that_does_not_fit_below_its_parent_is_refused() {
    let desk = Desk::with_settings("url = \"file:accounts.toml\"");
    let before = desk.text();
    let add = ["account", "add", "res-9", "--role", "reseller", "--parent", "cus-42"];
    refused(&desk.by_settings(&add), EXIT_BAD_FILES, &["`res-9`", "`cus-42`", "realm `tree`", "further up"]);
    let move_up = ["account", "move", "res-8", "--parent", "res-7"];
    refused(&desk.by_settings(&move_up), EXIT_BAD_FILES, &["`res-8`", "`res-7`", "realm `tree`"]);
    refused(
        &desk.by_settings(&["account", "move", "root", "--parent", "usr-1"]),
        EXIT_BAD_FILES,
        &["subtree of `root`"],
    );
    let unknown = ["account", "add", "x", "--role", "reseler"];
    refused(&desk.by_settings(&unknown), EXIT_USAGE, &["did you mean `reseller`?"]);
    assert_eq!(desk.text(), before);
    assert!(done(desk.by_settings(&["account", "move", "cus-42", "--parent", "res-8"])).contains("moved cus-42"));
    assert!(done(desk.by_settings(&["account", "move", "cus-42", "--parent", "res-8"])).contains("already"));
    assert!(desk.on_file(&add).stderr.contains("not checked"));
}

#[test]
fn accounts_of_the_provisioning_service_are_not_edited_here() {
    let desk = Desk::with_settings("url = \"https://prov.example/directory\"");
    let before = desk.text();
    for words in [
        &["account", "list"][..],
        &["account", "add", "x", "--role", "user"],
        &["account", "suspend", "bob"],
        &["account", "resume", "bob"],
        &["account", "move", "bob", "--root"],
        &["credential", "list"],
        &["credential", "new", "--account", "bob"],
        &["credential", "rotate", "ak_bob"],
        &["credential", "revoke", "ak_bob"],
    ] {
        let exit = desk.by_settings(words);
        refused(&exit, EXIT_BAD_FILES, &["provisioning service", "https://prov.example/directory", "--file"]);
        assert_eq!(exit.stderr.lines().count(), 1, "{exit:?}");
    }
    assert_eq!(desk.text(), before);
    assert!(done(desk.on_file(&["account", "list"])).contains("usr-9"));
}

#[test]
fn the_first_pepper_of_the_settings_is_used_unless_told_otherwise() {
    let peppers = "url = \"file:accounts.toml\"\npeppers = [{ id = \"p2\", secret = { file = \"two\" } }, \
                   { id = \"p1\", secret = { file = \"one\" } }]";
    let desk = Desk::with_settings(peppers);
    fs::write(desk.folder.path().join("one"), "the first secret, of 32 bytes or more").unwrap();
    fs::write(desk.folder.path().join("two"), "the second secret, of 32 bytes or more").unwrap();
    let pepper_of = |words: &[&str]| {
        let (id, key) = issued(&done(desk.by_settings(words)));
        assert!(!desk.text().contains(&key));
        let rows = done(desk.by_settings(&["credential", "list", "--account", "bob", "--format", "json"]));
        let rows: serde_json::Value = serde_json::from_str(&rows).unwrap();
        let row = rows.as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap().clone();
        row["pepper"].as_str().map(str::to_owned)
    };
    assert_eq!(pepper_of(&["credential", "new", "--account", "bob"]).as_deref(), Some("p2"));
    assert_eq!(pepper_of(&["credential", "new", "--account", "bob", "--pepper", "p1"]).as_deref(), Some("p1"));
    assert_eq!(pepper_of(&["credential", "new", "--account", "bob", "--no-pepper"]), None);
    assert_eq!(pepper_of(&["credential", "rotate", "ak_bob"]).as_deref(), Some("p2"));
    assert!(desk.text().contains("key = \"hmac-sha256:p2:") && desk.text().contains("key = \"hmac-sha256:p1:"));
    refused(&desk.by_settings(&["credential", "new", "--account", "bob", "--pepper", "p3"]), EXIT_USAGE, &["`p3`"]);
}

#[test]
fn what_the_grammar_does_not_allow_is_a_usage_error_with_the_remedy() {
    let desk = Desk::new();
    let before = desk.text();
    let new = |more: &[&str]| desk.on_file(&[&["credential", "new", "--account", "bob"], more].concat());
    refused(&new(&["--not-after", "2099-01-01T00:00:00"]), EXIT_USAGE, &["no offset", "2099-01-01T00:00:00Z for UTC"]);
    refused(&new(&["--not-before", "tomorrow"]), EXIT_USAGE, &["2027-01-01T00:00:00Z"]);
    refused(&new(&["--label", &"x".repeat(201)]), EXIT_USAGE, &["1 to 200 printable"]);
    let rotate = |overlap| desk.on_file(&["credential", "rotate", "ak_bob", "--overlap", overlap]);
    refused(&rotate("1 day"), EXIT_USAGE, &["like 24h"]);
    refused(&desk.on_file(&["credential", "revoke", "ak_bop"]), EXIT_BAD_FILES, &["did you mean `ak_bob`?"]);
    refused(&desk.on_file(&["credential", "list", "--account", "bop"]), EXIT_BAD_FILES, &["did you mean `bob`?"]);
    assert_eq!(desk.text(), before);
}

#[test]
fn the_list_has_a_column_for_everything_but_the_key() {
    let desk = Desk::new();
    let new = ["credential", "new", "--account", "bob", "--realm", "ucaas", "--label", "billing"];
    let times = ["--not-before", "2026-01-01T00:00:00Z", "--not-after", "2099-01-01T00:00:00+01:00"];
    let (id, key) = issued(&done(desk.on_file(&[&new[..], &times].concat())));
    let text = done(desk.on_file(&["credential", "list", "--account", "bob"]));
    let words = |line: &str| line.split("  ").map(str::trim).filter(|w| !w.is_empty()).map(str::to_owned).collect();
    let rows: Vec<Vec<String>> = text.lines().map(words).collect();
    assert_eq!(rows[0], ["API ID", "account", "realms", "from", "until", "pepper", "label", "last used"]);
    let times = ["2026-01-01T00:00:00Z", "2099-01-01T00:00:00+01:00"];
    assert_eq!(rows[2], [&id, "bob", "ucaas", times[0], times[1], "-", "billing", "-"]);
    assert_eq!((rows.len(), text.contains(&key), text.contains("sha256")), (3, false, false));
}

#[test]
fn every_verb_shows_an_example() {
    for (noun, verbs) in [
        ("account", &["add", "suspend", "resume", "move", "list"][..]),
        ("credential", &["new", "rotate", "revoke", "list"]),
    ] {
        for verb in verbs {
            let help = done(run_alone(&[noun, verb, "--help"], ""));
            assert!(
                help.contains(&format!("  portcullis {noun} {verb}"))
                    || help.contains(&format!("| portcullis {noun} {verb}")),
                "{help}"
            );
        }
    }
}

#[test]
fn a_running_gateway_goes_by_an_edit_within_two_seconds() {
    let lab = Lab::start();
    let folder = lab.gateway.folder();
    let becomes = |id: &str, key: &str, status: u16| {
        let request = get("/orders/1").basic(id, key);
        eventually(&format!("{id} gets {status}"), SEEN, || {
            Some(lab.call(&request)).filter(|response| response.status == status)
        });
    };
    let now = |id: &str, key: &str| lab.call(&get("/orders/1").basic(id, key)).status;

    let (first, first_key) = issued(&done(by_settings(folder, &["credential", "new", "--account", "bob"])));
    becomes(&first, &first_key, 200);
    let told = done(by_settings(folder, &["credential", "rotate", &first]));
    let (second, second_key) = issued(&told);
    assert!(told.contains(&format!("The old key, {first}, is good until 20")), "{told}");
    becomes(&second, &second_key, 200);
    assert_eq!(now(&first, &first_key), 200, "both are good during the overlap");
    let (third, third_key) = issued(&done(by_settings(folder, &["credential", "rotate", &second, "--overlap", "0s"])));
    becomes(&second, &second_key, 401);
    assert_eq!((now(&third, &third_key), now(&first, &first_key)), (200, 200));
    done(by_settings(folder, &["credential", "revoke", &first]));
    becomes(&first, &first_key, 401);
    done(by_settings(folder, &["account", "suspend", "bob"]));
    becomes(&third, &third_key, 403);
    done(by_settings(folder, &["account", "resume", "bob"]));
    becomes(&third, &third_key, 200);
}
