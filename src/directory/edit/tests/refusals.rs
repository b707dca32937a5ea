//! What an edit refuses, and how it says so.

use super::*;

#[test]
fn a_move_into_the_own_subtree_is_refused() {
    for (id, parent) in [("root", "root"), ("root", "res-7"), ("root", "cus-42"), ("res-7", "cus-42")] {
        let error = refusal(FILE, |file| file.move_account(id, Some(parent)));
        assert!(matches!(error, EditError::Cycle { .. }), "{id} under {parent}: {error}");
    }
}

#[test]
fn the_tree_has_sixteen_levels_and_no_more() {
    let mut file = open("");
    file.add_account(&account("a1", None)).unwrap();
    file.add_account(&account("b1", None)).unwrap();
    file.add_account(&account("b2", Some("b1"))).unwrap();
    for level in 2..=16 {
        let (id, parent) = (format!("a{level}"), format!("a{}", level - 1));
        file.add_account(&account(&id, Some(&parent))).unwrap();
    }
    let text = file.text();
    let too_deep = |error| assert!(matches!(error, EditError::TooDeep { levels: 16, .. }), "{error}");
    too_deep(refusal(&text, |file| file.add_account(&account("a17", Some("a16")))));
    too_deep(refusal(&text, |file| file.move_account("b1", Some("a15"))));
    too_deep(refusal(&text, |file| file.move_account("a1", Some("b1"))));
    file.move_account("b1", Some("a14")).unwrap();
    assert_eq!(file.accounts().iter().find(|row| row.id == "b2").unwrap().depth, 16);
}

#[track_caller]
fn add(new: NewAccount<'_>) -> EditError {
    refusal(FILE, |file| file.add_account(&new))
}

#[track_caller]
fn issue(new: NewCredential<'_>) -> EditError {
    refusal(FILE, |file| file.add_credential(&new, now()))
}

#[test]
fn names_outside_the_grammar_are_refused() {
    for name in ["", "a b", "ä", "a/b", &"x".repeat(65)] {
        let role = NewAccount { role: name, ..account("new", None) };
        let realms = ["ucaas".to_owned(), name.to_owned()];
        let realms = NewCredential { realms: &realms, ..credential("root") };
        for error in [add(account(name, None)), add(role), issue(realms)] {
            assert!(matches!(error, EditError::BadName { .. }), "{name:?}: {error}");
        }
    }
    let longest = "aZ09._~-".repeat(8);
    open(FILE).add_account(&account(&longest, None)).unwrap();
}

#[test]
fn emails_outside_the_grammar_are_refused() {
    let too_long = format!("{}@b", "x".repeat(253));
    let bad = ["", "a", "@b", "a@", "a@b@c", " a@b", "a@b ", "a b@c", "ä@b", "a@b\n", &too_long];
    for email in bad {
        let error = add(NewAccount { email: Some(email), ..account("new", None) });
        assert!(matches!(error, EditError::BadEmail { .. }), "{email:?}: {error}");
    }
    let longest = NewAccount { email: Some(&too_long[1..]), ..account("new", None) };
    open(FILE).add_account(&longest).unwrap();
}

#[test]
fn ids_and_emails_are_unique() {
    assert!(matches!(add(account("res-7", None)), EditError::AccountExists { .. }));
    let taken = add(NewAccount { email: Some("OPS@reseller.example"), ..account("new", None) });
    assert!(matches!(taken, EditError::EmailTaken { account, .. } if account == "res-7"));
}

#[test]
fn a_password_that_is_no_hash_is_refused_and_not_repeated() {
    for password in ["", "secret", "$ecret", "a$b$c$d", "$argon2id$v=19$m= 1"] {
        let error = add(NewAccount { password: Some(password), ..account("new", None) });
        assert!(matches!(error, EditError::BadPassword), "{password:?}: {error}");
    }
}

#[test]
fn times_and_labels_outside_the_grammar_are_refused() {
    let times = ["", "tomorrow", "2027-01-01", "2027-01-01T00:00:00", "2027-01-01T00:00Z", "2027-02-30T00:00:00Z"];
    for time in times {
        let error = issue(NewCredential { not_after: Some(time), ..credential("root") });
        assert!(matches!(error, EditError::BadTime { .. }), "{time:?}: {error}");
    }
    let long = "ä".repeat(201);
    for label in ["", "  ", "two\nlines", "\u{1b}[31m", "a\u{202e}b", &long] {
        let error = issue(NewCredential { label: Some(label), ..credential("root") });
        assert!(matches!(error, EditError::BadLabel { .. }), "{label:?}: {error}");
    }
    let longest = NewCredential { label: Some(&long[2..]), ..credential("root") };
    drop(open(FILE).add_credential(&longest, now()).unwrap());
}

#[test]
fn a_time_without_an_offset_is_refused_with_the_remedy() {
    let say = |time| issue(NewCredential { not_after: Some(time), ..credential("root") }).to_string();
    let local = say("2027-01-01 08:00:00");
    assert!(local.contains("no offset") && local.ends_with("write one like 2027-01-01T08:00:00Z for UTC"), "{local}");
    assert!(say("2027-01-01").ends_with("write one like 2027-01-01T00:00:00Z"));
}

#[test]
fn a_key_that_would_never_be_good_is_not_made() {
    let from = Some("2027-01-01T01:00:00+01:00");
    let error =
        issue(NewCredential { not_before: from, not_after: Some("2027-01-01T00:00:00Z"), ..credential("root") });
    assert!(matches!(error, EditError::NeverGood { .. }), "{error}");
    let error = issue(NewCredential { not_after: Some("2026-01-01T00:00:00Z"), ..credential("root") });
    assert!(matches!(error, EditError::Past { .. }), "{error}");
    let next = NewCredential { not_after: Some("2026-01-01T00:00:01Z"), ..credential("root") };
    drop(open(FILE).add_credential(&next, now()).unwrap());
}

#[test]
fn unknown_names_come_with_the_nearest_known_one() {
    let say = |error: EditError| error.to_string();
    assert_eq!(say(refusal(FILE, |file| file.set_status("res-9", true))), "no account `res-9`; did you mean `res-7`?");
    let far = say(refusal(FILE, |file| file.move_account("nobody", None)));
    assert_eq!(far, "no account `nobody`; `portcullis account list` shows those there are");
    let parent = say(refusal(FILE, |file| file.add_account(&account("x", Some("rot")))));
    assert_eq!(parent, "no account `rot` to be the parent; did you mean `root`?");
    let issue = say(refusal(FILE, |file| file.add_credential(&credential("cus-24"), now())));
    assert!(issue.ends_with("did you mean `cus-42`?"), "{issue}");
    let revoke = say(refusal(FILE, |file| file.revoke_credential("aaab")));
    assert_eq!(revoke, "no credential has that API ID; did you mean `aaaa`?");
}
