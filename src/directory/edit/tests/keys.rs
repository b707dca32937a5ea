//! Keys made, replaced, and what of them is in the file.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use super::super::keys::{digest, hex};
use super::*;
use crate::config::secret::Secret;

const DAY: Duration = Duration::from_secs(86_400);

fn rotate(file: &mut AccountFile, id: &str, overlap: Duration) -> Rotated {
    file.rotate_credential(id, &Rotation { overlap, ..Rotation::default() }, now()).unwrap()
}

fn row(file: &AccountFile, id: &str) -> CredentialRow {
    file.credentials(now()).into_iter().find(|row| row.id == id).unwrap()
}

#[test]
fn stored_digest_is_of_the_key_and_the_key_is_not_in_the_file() {
    let mut file = open(FILE);
    let realms = ["ucaas".to_owned(), "cpaas".to_owned()];
    let new = NewCredential {
        account: "res-7",
        realms: &realms,
        label: Some("a \"b\" 'c' \\"),
        not_before: Some("2030-06-01T12:00:00+02:00"),
        not_after: Some("2030-06-01T12:00:00Z"),
        pepper: None,
    };
    let issued = file.add_credential(&new, now()).unwrap();
    assert_eq!((issued.id.len(), issued.key.len()), (32, 43));
    assert_eq!(URL_SAFE_NO_PAD.decode(&issued.key).unwrap().len(), 32);
    let text = file.text();
    assert!(!text.contains(&issued.key));
    assert!(!format!("{issued:?}{file:?}").contains(&issued.key));
    let digest = hex(&Sha256::digest(issued.key.as_bytes()));
    let block = format!(
        "\n\n[[credential]]\nid = \"{}\"\naccount = \"res-7\"\nkey = \"sha256:{digest}\"\nrealms = [\"ucaas\", \"cpaas\"]\n\
         not_before = 2030-06-01T12:00:00+02:00\nnot_after = 2030-06-01T12:00:00Z\nlabel = ",
        issued.id
    );
    assert!(text.starts_with(FILE) && text[FILE.len()..].starts_with(&block), "{text}");
    let row = row(&file, &issued.id);
    assert_eq!((row.label.as_deref(), row.realms.unwrap(), row.pepper), (new.label, realms.to_vec(), None));
}

#[test]
fn no_two_credentials_are_alike() {
    let mut file = open(FILE);
    let first = file.add_credential(&credential("root"), now()).unwrap();
    let second = file.add_credential(&credential("root"), now()).unwrap();
    assert!(first.id != second.id && first.key != second.key);
}

/// RFC 4231, section 4.3 (test case 2).
#[test]
fn a_peppered_digest_is_the_hmac_that_everyone_computes() {
    let secret = Secret::new(*b"Jefe");
    let digest = digest(b"what do ya want for nothing?", Some(Pepper { id: "p1", secret: &secret })).unwrap();
    let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(digest, format!("hmac-sha256:p1:{known}"));
}

#[test]
fn a_pepper_is_named_in_the_file_and_in_the_list_and_its_secret_in_neither() {
    let secret = Secret::new(*b"5ec2e7-5ec2e7-5ec2e7-5ec2e7-5ec2e7");
    let pepper = Some(Pepper { id: "p1", secret: &secret });
    let mut file = open(FILE);
    let issued = file.add_credential(&NewCredential { pepper, ..credential("root") }, now()).unwrap();
    let stored = digest(issued.key.as_bytes(), pepper).unwrap();
    assert!(stored.starts_with("hmac-sha256:p1:") && file.text().contains(&format!("key = \"{stored}\"\n")));
    assert_eq!(row(&file, &issued.id).pepper.as_deref(), Some("p1"));
    assert!(!format!("{}{:?}{pepper:?}", file.text(), row(&file, &issued.id)).contains("5ec2e7"));
}

#[test]
fn a_pepper_without_a_secret_or_a_name_is_refused() {
    let (empty, full) = (Secret::new(*b""), Secret::new(*b"0123456789abcdef"));
    let with = |id, secret| NewCredential { pepper: Some(Pepper { id, secret }), ..credential("root") };
    let error = refusal(FILE, |file| file.add_credential(&with("p1", &empty), now()));
    assert!(matches!(error, EditError::BadPepper { .. }), "{error}");
    let error = refusal(FILE, |file| file.add_credential(&with("p:1", &full), now()));
    assert!(matches!(error, EditError::BadName { .. }), "{error}");
}

#[test]
fn a_rotated_key_ends_after_the_overlap_and_nothing_else_of_it_changes() {
    let mut file = open(FILE);
    let rotated = rotate(&mut file, "aaaa", DAY);
    assert_eq!(rotated.old, OldKey::EndsAt("2026-01-02T00:00:00Z".to_owned()));
    assert_eq!(rotated.account, "cus-42");
    let new = row(&file, &rotated.issued.id);
    assert_eq!((new.account.as_str(), new.realms), ("cus-42", Some(vec!["ucaas".to_owned(), "cpaas".to_owned()])));
    assert_eq!((new.not_before, new.not_after, new.label), (None, None, None));
    // Take the new block away, and one line is left of the edit.
    drop(file.revoke_credential(&rotated.issued.id).unwrap());
    let ended = FILE.replacen("  \"cpaas\",\n]\n", "  \"cpaas\",\n]\nnot_after = 2026-01-02T00:00:00Z\n", 1);
    assert_ne!(ended, FILE);
    assert_eq!(file.text().trim_end(), ended);
}

#[test]
fn a_rotation_without_overlap_ends_the_old_key_in_the_same_second() {
    let mut file = open(FILE);
    let rotated = rotate(&mut file, "bbbb", Duration::ZERO);
    assert_eq!(rotated.old, OldKey::EndsAt("2026-01-01T00:00:00Z".to_owned()));
    assert!(row(&file, "bbbb").expired);
    assert_eq!(row(&file, &rotated.issued.id).label.as_deref(), Some("wall \"board\""));
}

#[test]
fn an_earlier_end_is_kept() {
    let mut file = open(FILE);
    let rotated = rotate(&mut file, "bbbb", DAY * 366);
    assert_eq!(rotated.old, OldKey::KeepsEnd("2027-01-01T00:00:00+01:00".to_owned()));
    let over = FILE.replace("2027-01-01T00:00:00+01:00", "2026-01-01T01:00:00+01:00");
    let mut file = open(&over);
    let rotated = rotate(&mut file, "bbbb", DAY);
    assert_eq!(rotated.old, OldKey::OverSince("2026-01-01T01:00:00+01:00".to_owned()));
    assert!(file.text().starts_with(&over));
}

#[test]
fn a_credential_that_is_good_nowhere_stays_so_and_one_that_is_good_everywhere_too() {
    let mut file = open(FILE);
    let nowhere = rotate(&mut file, "cccc", DAY).issued.id;
    let everywhere = rotate(&mut file, "bbbb", DAY).issued.id;
    assert_eq!((row(&file, &nowhere).realms, row(&file, &everywhere).realms), (Some(vec![]), None));
}

#[test]
fn a_rotation_that_would_leave_an_impossible_record_is_refused() {
    let later = FILE.replace("realms = []", "not_before = 2026-01-03T00:00:00Z");
    let turn = |overlap| Rotation { overlap, ..Rotation::default() };
    let error = refusal(&later, |file| file.rotate_credential("cccc", &turn(DAY * 2), now()));
    assert!(matches!(error, EditError::NotGoodYet { .. }), "{error}");
    drop(open(&later).rotate_credential("cccc", &turn(DAY * 3), now()).unwrap());
    let error = refusal(FILE, |file| file.rotate_credential("aaaa", &turn(Duration::MAX), now()));
    assert!(matches!(error, EditError::FarOverlap), "{error}");
    let past = Rotation { not_after: Some("2025-01-01T00:00:00Z"), ..turn(DAY) };
    let error = refusal(FILE, |file| file.rotate_credential("aaaa", &past, now()));
    assert!(matches!(error, EditError::Past { .. }), "{error}");
    let error = refusal(FILE, |file| file.rotate_credential("aaab", &turn(DAY), now()));
    assert!(error.to_string().ends_with("did you mean `aaaa`?"), "{error}");
}
