//! What is read from a file, and which files are not read.

use toml_edit::Datetime;

use super::super::grammar::unix_seconds;
use super::*;

fn fault(text: &str) -> (usize, usize, String) {
    match AccountFile::parse(text) {
        Err(EditError::Unreadable { line, column, what }) => (line, column, what),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn an_account_is_suspended_when_an_ancestor_is() {
    let mut file = open(FILE);
    file.set_status("res-7", true).unwrap();
    let rows = file.accounts();
    let seen: Vec<_> = rows.iter().map(|row| (row.id.as_str(), row.status, row.effective)).collect();
    use Status::{Active, Suspended};
    let expected = [
        ("root", Active, Active),
        ("res-7", Suspended, Suspended),
        ("cus-42", Active, Suspended),
        ("res-8", Suspended, Suspended),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn account_rows_tell_place_and_credentials() {
    let rows = open(FILE).accounts();
    let row = rows.into_iter().find(|row| row.id == "cus-42").unwrap();
    assert_eq!(
        (row.role.as_str(), row.parent.as_deref(), row.depth, row.credentials),
        ("customer", Some("res-7"), 3, 2)
    );
    assert_eq!(row.email, None);
}

#[test]
fn credential_expires_at_the_very_second() {
    // 2027-01-01T00:00:00+01:00
    let end = UNIX_EPOCH + Duration::from_secs(1_798_758_000);
    let expired = |now| -> Vec<bool> { open(FILE).credentials(now).iter().map(|row| row.expired).collect() };
    assert_eq!(expired(end - Duration::from_millis(1)), [false, false, false]);
    assert_eq!(expired(end), [false, true, false]);
}

#[test]
fn all_realms_and_no_realm_are_two_things() {
    let rows = open(&FILE.replace("realms = []", "")).credentials(UNIX_EPOCH);
    assert_eq!(rows[2].realms, None);
    let rows = open(FILE).credentials(UNIX_EPOCH);
    assert_eq!(rows[2].realms, Some(vec![]));
    assert_eq!(rows[1].not_after.as_deref(), Some("2027-01-01T00:00:00+01:00"));
    assert_eq!(rows[1].label.as_deref(), Some("wall \"board\""));
}

#[test]
fn times_are_counted_like_everyone_does() {
    let known = [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59Z", -1),
        ("2000-02-29T12:34:56Z", 951_827_696),
        ("2000-03-01T00:00:00Z", 951_868_800),
        ("2024-12-31T23:59:59.999-05:30", 1_735_709_399),
        ("2100-03-01T00:00:00Z", 4_107_542_400),
        ("0000-01-01T00:00:00Z", -62_167_219_200),
        ("9999-12-31T23:59:59Z", 253_402_300_799),
    ];
    for (text, seconds) in known {
        let time: Datetime = text.parse().unwrap();
        assert_eq!(unix_seconds(&time), Some(seconds), "{text}");
    }
}

#[test]
fn faults_name_line_and_column() {
    let block = "[[account]]\nid = \"a\"\nrole = \"r\"\n";
    let key = keyed("[[credential]]\nid='c'\naccount='a'\n");
    let cases = [
        ("x = 1\ny = ", 2, 5, "value"),
        ("[account]\nid = \"a\"", 1, 1, "[[account]]"),
        ("account = [{ id = \"a\", role = \"r\" }]", 1, 11, "[[account]]"),
        ("\u{feff}[[account]]\nrole = \"r\"", 1, 1, "no `id`"),
        ("[[account]]\nid = 7\nrole = \"r\"", 2, 6, "string"),
        (&format!("{block}status = \"off\""), 4, 10, "suspended"),
        (&format!("{block}parent = \"b\""), 4, 10, "no account `b`"),
        (&format!("{block}parent = \"a\""), 4, 10, "cycle"),
        (&format!("{block}{block}"), 5, 6, "used twice"),
        (&format!("{block}[account.more]\nx = 1"), 4, 1, "plain keys"),
        (&format!("{block}more.x = 1"), 4, 1, "plain keys"),
        (&format!("{block}[[credential]]\nid = \"c\""), 4, 1, "no `account`"),
        (&format!("{block}[[credential]]\nid='c'\naccount='a'"), 4, 1, "no `key`"),
        (&format!("{key}not_after = \"2027\""), 5, 13, "not_after"),
        (&format!("{key}not_before = 2027-01-01"), 5, 14, "not_before"),
        (&format!("{key}not_before = 2027-01-01T00:00:00Z\nnot_after = 2027-01-01T01:00:00+01:00"), 6, 13, "later"),
        (&format!("{key}realms = [1]"), 5, 10, "realms"),
        (&format!("{key}realm = [\"a\"]"), 5, 9, "`realm` is no key of [[credential]]"),
        (&format!("{block}mail = \"a@b\""), 4, 8, "`mail` is no key of [[account]]"),
        (&format!("{block}email = \"a\""), 4, 9, "not an e-mail"),
        (&format!("{block}email = \"a@b\"\n[[account]]\nid = \"b\"\nrole = \"r\"\nemail = \"A@B\""), 8, 9, "twice"),
        (&format!("{block}password = \"secret\""), 4, 12, "PHC"),
        ("[[account]]\nid = \"a b\"\nrole = \"r\"", 2, 6, "A-Z a-z"),
        ("[[account]]\nid = \"a\"\nrole = \"\"", 3, 8, "A-Z a-z"),
        (&key.replace("id='c'", "id='c c'"), 2, 4, "API ID"),
        (&key.replace("sha256:", "sha1:"), 4, 5, "no digest"),
        (&key, 3, 9, "no account `a`"),
        ("[[accounts]]\nid = \"a\"", 1, 1, "`accounts` has no meaning"),
    ];
    for (text, line, column, word) in cases {
        let (at_line, at_column, what) = fault(text);
        assert_eq!((at_line, at_column), (line, column), "{text:?}: {what}");
        assert!(what.contains(word), "{text:?}: {what}");
    }
}

#[test]
fn a_cycle_of_many_is_found() {
    let chain: String =
        (0..40).map(|n| format!("[[account]]\nid='a{n}'\nrole='r'\nparent='a{}'\n", (n + 1) % 40)).collect();
    assert!(fault(&chain).2.contains("cycle"));
}

#[test]
fn no_fault_repeats_what_the_file_holds_in_secret() {
    let secret = "5ec2e7d16e57";
    let broken = [
        format!("key = \"sha256:{secret}\nx = 1"),
        format!("key = sha256:{secret}"),
        format!("password = $argon2id${secret}"),
        format!("[[credential]]\nid = 1\nkey = \"sha256:{secret}\""),
        format!("[[credential]]\nkey = \"{secret}\"\nkey = \"{secret}\""),
        format!("[[credential]]\nkey = '{secret}' '{secret}'"),
        format!("[[credential]]\nid='c'\naccount='a'\nkey = '{secret}'"),
        format!("[[credential]]\nid='c'\naccount='a'\nkey = 'hmac-sha256:{secret}:{secret}'"),
        format!("[[credential]]\nid='{secret}+'\naccount='a'\nkey = 'x'"),
        format!("[[account]]\nid='c'\nrole='a'\npassword = '{secret}'"),
    ];
    for text in broken {
        let error = AccountFile::parse(&text).err().unwrap();
        assert!(!format!("{error} {error:?}").contains(secret), "{error:?}");
    }
}

#[test]
fn a_key_given_for_an_api_id_is_not_repeated() {
    let mut file = open(FILE);
    let issued = file.add_credential(&credential("root"), now()).unwrap();
    let error = file.revoke_credential(&issued.key).err().unwrap();
    assert!(!format!("{error} {error:?}").contains(&issued.key));
}

#[test]
fn nothing_printed_for_debugging_holds_a_hash() {
    let new = NewAccount { password: Some("$argon2id$5ec2e7"), ..account("new", None) };
    let text = format!("{new:?} {:?}", open(FILE));
    assert!(!text.contains("5ec2e7") && !text.contains("1111"), "{text}");
}
