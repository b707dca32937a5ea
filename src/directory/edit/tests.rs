//! Facts about edits of a text, and the harness. What is refused, read and put on disk is in the modules below.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

mod disk;
mod keys;
mod rank;
mod reading;
mod refusals;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::*;

/// Written by hands that differ: every habit in it has to survive.
const FILE: &str = r#"# Directory of the test gateway.

[[account]]   # the operator
id = "root"
role = 'administrator'

# ---- resellers ----

# Signed in 2024.
[[account]]
  id = "res-7"
  role = "reseller"     # not a customer
  parent = "root"  # by contract
  email = "Ops@Reseller.example"
  # password = "later"

[[account]]
role="customer"
id="cus-42"
status = "active"   # ask billing first
parent="res-7"
[[account]]
id = "res-8"
role = "reseller"
parent = "root"
status = "suspended" # unpaid
# notes on res-8

# ---- credentials ----

# The billing system.
[[credential]]
id = "aaaa"
account = "cus-42"
key = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
realms = [
  "ucaas", # calls
  "cpaas",
]
# rotated yearly

# The wallboard.
[[credential]]
id = "bbbb"
account = "cus-42"
key = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
not_after = 2027-01-01T00:00:00+01:00
label = "wall \"board\""
# The meeting bot.
[[credential]]
id = "cccc"
account = "res-8"
key = "sha256:3333333333333333333333333333333333333333333333333333333333333333"
realms = []
# end of file"#;

fn open(text: &str) -> AccountFile {
    AccountFile::parse(text).unwrap()
}

fn account<'a>(id: &'a str, parent: Option<&'a str>) -> NewAccount<'a> {
    NewAccount { id, role: "customer", parent, email: None, password: None }
}

fn credential(account: &str) -> NewCredential<'_> {
    NewCredential { account, ..NewCredential::default() }
}

/// 2026-01-01T00:00:00Z
fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

/// The text with a digest in every credential that begins with these two lines.
fn keyed(text: &str) -> String {
    let line = format!("key='sha256:{}'\n", "0".repeat(64));
    text.replace("id='c'\naccount='a'\n", &format!("id='c'\naccount='a'\n{line}"))
}

/// The edit turns the one place `from` into `to` and leaves every other byte.
#[track_caller]
fn changes(start: &str, edit: impl FnOnce(&mut AccountFile), from: &str, to: &str) {
    let mut file = open(start);
    edit(&mut file);
    assert_eq!(start.matches(from).count(), 1, "{from:?} has to be one place");
    assert_eq!(file.text(), start.replacen(from, to, 1));
}

#[track_caller]
fn refusal<T>(start: &str, edit: impl FnOnce(&mut AccountFile) -> Result<T, EditError>) -> EditError {
    let mut file = open(start);
    let error = edit(&mut file).err().unwrap();
    assert_eq!(file.text(), start, "a refused edit changes nothing");
    error
}

#[test]
fn new_account_stands_after_the_last_one_and_its_notes() {
    let new = NewAccount {
        id: "usr-1",
        role: "user",
        parent: Some("cus-42"),
        email: Some("Ann@Customer.Example"),
        password: Some("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g"),
    };
    changes(
        FILE,
        |file| file.add_account(&new).unwrap(),
        "# notes on res-8\n",
        "# notes on res-8\n\n[[account]]\nid = \"usr-1\"\nrole = \"user\"\nparent = \"cus-42\"\n\
         email = \"ann@customer.example\"\npassword = \"$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2g\"\n",
    );
}

#[test]
fn new_block_gets_a_blank_line_on_both_sides() {
    let tight = &keyed("[[account]]\nid=\"a\"\nrole=\"r\"\n# of the credential\n[[credential]]\nid='c'\naccount='a'\n");
    let added = "role=\"r\"\n\n[[account]]\nid = \"b\"\nrole = \"customer\"\n\n";
    changes(tight, |file| file.add_account(&account("b", None)).unwrap(), "role=\"r\"\n", added);
}

#[test]
fn suspending_and_resuming_touch_one_value() {
    let suspend = |id| move |file: &mut AccountFile| assert_eq!(file.set_status(id, true).unwrap(), Change::Changed);
    changes(FILE, suspend("cus-42"), r#"status = "active""#, r#"status = "suspended""#);
    changes(FILE, suspend("res-7"), "# by contract\n", "# by contract\n  status = \"suspended\"\n");
    changes(FILE, suspend("root"), "'administrator'\n", "'administrator'\nstatus = \"suspended\"\n");
    let resume = |file: &mut AccountFile| assert_eq!(file.set_status("res-8", false).unwrap(), Change::Changed);
    changes(FILE, resume, r#"status = "suspended" # unpaid"#, r#"status = "active" # unpaid"#);
}

#[test]
fn setting_the_status_it_has_changes_nothing() {
    let mut file = open(FILE);
    for (id, suspended) in [("root", false), ("cus-42", false), ("res-8", true)] {
        assert_eq!(file.set_status(id, suspended).unwrap(), Change::Already);
    }
    assert_eq!(file.text(), FILE);
}

#[test]
fn moving_touches_one_value_and_keeps_its_comment() {
    let put =
        |id, parent| move |file: &mut AccountFile| assert_eq!(file.move_account(id, parent).unwrap(), Change::Changed);
    changes(FILE, put("cus-42", Some("res-8")), "parent=\"res-7\"", "parent=\"res-8\"");
    changes(FILE, put("res-7", None), "parent = \"root\"  # by contract", "# by contract");
    changes(FILE, put("cus-42", None), "parent=\"res-7\"\n", "");
    changes(FILE, put("res-7", Some("res-8")), "\"root\"  # by", "\"res-8\"  # by");
    let two = "[[account]]\nid='a'\n\trole='r' # x\n[[account]]\nid='b'\nrole='s'";
    changes(two, put("a", Some("b")), "# x\n", "# x\n\tparent = \"b\"\n");
    changes(two, put("b", Some("a")), "role='s'", "role='s'\nparent = \"a\"\n");
    changes(two, |file| assert_eq!(file.move_account("b", None).unwrap(), Change::Already), two, two);
}

#[test]
fn revoking_takes_the_block_with_its_comments_and_no_others() {
    let revoke = |id| move |file: &mut AccountFile| drop(file.revoke_credential(id).unwrap());
    let cut = |from: &str, to: &str| {
        let start = FILE.find(from).unwrap();
        FILE[start..start + FILE[start..].find(to).unwrap()].to_owned()
    };
    changes(FILE, revoke("aaaa"), &cut("# The billing", "# The wallboard"), "");
    changes(FILE, revoke("bbbb"), &cut("# The wallboard", "# The meeting"), "");
    changes(FILE, revoke("cccc"), &FILE[FILE.find("# The meeting").unwrap()..], "");
}

#[test]
fn a_hash_sign_inside_a_value_is_no_comment() {
    let digest = format!("key='sha256:{}'", "0".repeat(64));
    let first =
        format!("[[account]]\nid='a'\nrole='r'\n[[credential]]\nid='d'\naccount='a'\n{digest}\nlabel='''\n# x'''\n");
    let second = format!("[[credential]]\nid='c'\naccount='a'\n{digest}\nlabel='# y'\n");
    changes(&(first + &second), |file| drop(file.revoke_credential("c").unwrap()), &second, "");
}

#[test]
fn the_comment_a_file_begins_with_outlives_the_first_block() {
    let credential = keyed("[[credential]]\nid='c'\naccount='a'\n");
    let text = format!("# About this file.\n{credential}\n[[account]]\nid='a'\nrole='r'\n");
    changes(&text, |file| drop(file.revoke_credential("c").unwrap()), &credential, "");
}

#[test]
fn revoking_a_new_credential_restores_the_file() {
    let crlf = FILE.replace('\n', "\r\n") + "\r\n";
    let accounts_only = "[[account]]\nid='a'\nrole='r'\n";
    let starts = [
        (FILE.to_owned() + "\n", "root"),
        (FILE.to_owned() + "\n\n\n# more\n", "root"),
        (crlf, "root"),
        (accounts_only.to_owned(), "a"),
        (format!("\u{feff}{accounts_only}\n# [[credential]]\n# id = ''\n"), "a"),
        (keyed(&format!("[[credential]]\nid='c'\naccount='a'\n\n{accounts_only}")), "a"),
    ];
    for (start, owner) in starts {
        let mut file = open(&start);
        let issued = file.add_credential(&credential(owner), now()).unwrap();
        assert_ne!(file.text(), start);
        file.revoke_credential(&issued.id).unwrap();
        assert_eq!(file.text(), start);
    }
}

#[test]
fn line_endings_and_byte_order_mark_stay() {
    let start = format!("\u{feff}{}", FILE.replace('\n', "\r\n"));
    let mut file = open(&start);
    file.add_account(&account("new", Some("root"))).unwrap();
    file.set_status("root", true).unwrap();
    file.move_account("res-7", None).unwrap();
    file.revoke_credential("aaaa").unwrap();
    let text = file.text();
    assert!(text.starts_with("\u{feff}# Directory"));
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert!(text.contains("\r\n\r\n[[account]]\r\nid = \"new\"\r\n"), "{text}");
}
