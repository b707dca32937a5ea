//! What every source of the directory does alike: one list of facts, run against a file, a real redis-server and the
//! sample of the far side over a socket. What only sources without a file do is in the files beside it.

mod abroad;
mod book;
mod far;
mod fixture;
mod redis_server;
mod refused;

use std::time::{Duration, Instant};

use self::book::{Book, PASSWORD, key_of};
use self::fixture::{Fixture, Kind};
use super::{Directory, PasswordCheck, Unavailable};

/// How long a change may take to be seen.
const SEEN: Duration = Duration::from_secs(1);

/// Asks again until the answer is the one expected.
async fn eventually<T: PartialEq + std::fmt::Debug>(expected: T, mut ask: impl AsyncFnMut() -> T) {
    let give_up = Instant::now() + SEEN;
    loop {
        let answer = ask().await;
        if answer == expected {
            return;
        }
        assert!(Instant::now() < give_up, "still {answer:?} instead of {expected:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lineage with roles, and whether it is suspended; `None` for an unknown account.
async fn account(directory: &Directory, id: &str) -> Result<Option<(String, String, bool)>, Unavailable> {
    let account = directory.account(id).await?;
    Ok(account.map(|account| {
        let roles: Vec<&str> = account.lineage.nodes().map(|(_, role)| role).collect();
        (account.lineage.as_str().to_owned(), roles.join("/"), account.suspended)
    }))
}

fn is(lineage: &str, roles: &str, suspended: bool) -> Result<Option<(String, String, bool)>, Unavailable> {
    Ok(Some((lineage.to_owned(), roles.to_owned(), suspended)))
}

/// Whose e-mail and password these are, whoever compares them.
async fn whose(directory: &Directory, email: &str, password: &str) -> Result<Option<String>, Unavailable> {
    let user = match directory.check_password(email, password).await? {
        PasswordCheck::There(account) => return Ok(account.map(|account| account.lineage.id().to_owned())),
        PasswordCheck::Here(user) => user,
    };
    Ok(user.filter(|user| book::fits(password, &user.password)).map(|user| user.account.to_string()))
}

async fn proved(directory: &Directory, id: &str, key: &str) -> Result<Option<bool>, Unavailable> {
    let credential = directory.credential(id).await?;
    Ok(credential.map(|credential| directory.proves(Some(&credential), key.as_bytes())))
}

macro_rules! facts {
    ($($name:ident)+) => {
        mod file { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::start(super::Kind::File).await).await; })+ }
        mod redis { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::start(super::Kind::Redis).await).await; })+ }
        mod https { $(#[tokio::test] async fn $name() { super::$name(super::Fixture::start(super::Kind::Https).await).await; })+ }
    };
}

facts! {
    what_is_not_there_is_unknown
    an_account_is_told_with_its_lineage
    suspension_reaches_everybody_below_at_once
    a_moved_account_takes_those_below_along
    another_role_is_seen
    records_come_and_go
    the_tree_may_have_sixteen_levels
    a_credential_is_told_with_all_that_limits_it
    keys_prove_themselves_plain_and_peppered
    last_use_survives_a_change_of_the_record
    a_password_is_compared_and_its_change_is_another_mark
    e_mails_are_handed_on
    an_outage_is_told_and_what_was_known_stays
}

async fn what_is_not_there_is_unknown(fixture: Fixture) {
    let directory = &fixture.directory;
    for _ in 0..2 {
        assert_eq!(account(directory, "nobody").await, Ok(None));
        assert_eq!(directory.credential("nothing").await, Ok(None));
        assert_eq!(whose(directory, "nobody@book.example", PASSWORD).await, Ok(None));
    }
    for odd in [".", "..", "~", "x".repeat(64).as_str()] {
        assert_eq!(account(directory, odd).await, Ok(None), "{odd}");
        assert_eq!(directory.credential(odd).await, Ok(None), "{odd}");
    }
    assert!(directory.is_up());
}

async fn an_account_is_told_with_its_lineage(fixture: Fixture) {
    let directory = &fixture.directory;
    for _ in 0..2 {
        let user = account(directory, "usr-1").await;
        assert_eq!(user, is("root/res-7/cus-42/usr-1", "administrator/reseller/customer/user", false));
        assert_eq!(account(directory, "root").await, is("root", "administrator", false));
        assert_eq!(account(directory, "cus-9").await, is("root/res-8/cus-9", "administrator/reseller/customer", false));
    }
    assert_eq!(account(directory, "USR-1").await, Ok(None), "ids compare byte by byte");
}

async fn suspension_reaches_everybody_below_at_once(mut fixture: Fixture) {
    let everybody = ["res-7", "cus-42", "usr-1", "cus-9"];
    let suspended = async |fixture: &Fixture| {
        let mut found = Vec::new();
        for id in everybody {
            found.push(account(&fixture.directory, id).await.unwrap().unwrap().2);
        }
        found
    };
    assert_eq!(suspended(&fixture).await, [false; 4]);
    let book = fixture.book().account("res-7", |row| row.suspended = true);
    fixture.put(book).await;
    eventually(vec![true, true, true, false], async || suspended(&fixture).await).await;
    let book = fixture.book().account("res-7", |row| row.suspended = false);
    fixture.put(book).await;
    eventually(vec![false; 4], async || suspended(&fixture).await).await;
}

async fn a_moved_account_takes_those_below_along(mut fixture: Fixture) {
    let moved = "root/res-8/cus-42/usr-1";
    assert_ne!(account(&fixture.directory, "usr-1").await.unwrap().unwrap().0, moved);
    let book = fixture.book().account("cus-42", |row| row.parent = Some("res-8"));
    fixture.put(book).await;
    eventually(moved.to_owned(), async || account(&fixture.directory, "usr-1").await.unwrap().unwrap().0).await;
}

async fn another_role_is_seen(mut fixture: Fixture) {
    assert_eq!(account(&fixture.directory, "usr-1").await.unwrap().unwrap().1, "administrator/reseller/customer/user");
    let book = fixture.book().account("cus-42", |row| row.role = "partner");
    fixture.put(book).await;
    let roles = async || account(&fixture.directory, "usr-1").await.unwrap().unwrap().1;
    eventually("administrator/reseller/partner/user".to_owned(), roles).await;
}

async fn records_come_and_go(mut fixture: Fixture) {
    assert_eq!(account(&fixture.directory, "new").await, Ok(None));
    assert_eq!(fixture.directory.credential("ak_new").await, Ok(None));
    let without = fixture.book();
    let with = without.clone().with("new", "user", "cus-9").with_credential("ak_new", "new");
    fixture.put(with).await;
    eventually(is("root/res-8/cus-9/new", "administrator/reseller/customer/user", false), async || {
        account(&fixture.directory, "new").await
    })
    .await;
    eventually(Ok(Some(true)), async || proved(&fixture.directory, "ak_new", &key_of("ak_new")).await).await;
    fixture.put(without).await;
    eventually(Ok(None), async || account(&fixture.directory, "new").await).await;
    eventually(Ok(None), async || proved(&fixture.directory, "ak_new", &key_of("ak_new")).await).await;
}

async fn the_tree_may_have_sixteen_levels(mut fixture: Fixture) {
    let ids: Vec<String> = (1..=16).map(|level| format!("level-{level}")).collect();
    let mut book = fixture.book().root("level-1");
    for pair in ids.windows(2) {
        book = book.with(&pair[1], "user", &pair[0]);
    }
    fixture.put(book).await;
    eventually(Ok(Some(ids.join("/"))), async || {
        Ok(account(&fixture.directory, "level-16").await?.map(|account| account.0)) as Result<_, Unavailable>
    })
    .await;
}

async fn a_credential_is_told_with_all_that_limits_it(mut fixture: Fixture) {
    let book = fixture.book().credential("ak_cus-42", |row| {
        row.realms = Some(vec!["ucaas".to_owned()]);
        row.not_before = Some("2026-01-01T00:00:00Z");
        row.not_after = Some("2027-01-01T01:00:00+01:00");
    });
    fixture.put(book).await;
    eventually(Some(1_798_761_600), async || {
        let credential = fixture.directory.credential("ak_cus-42").await.unwrap().unwrap();
        assert_eq!((&*credential.id, &*credential.account), ("ak_cus-42", "cus-42"));
        credential.not_after
    })
    .await;
    let credential = fixture.directory.credential("ak_cus-42").await.unwrap().unwrap();
    assert!(credential.is_for("ucaas") && !credential.is_for("cpaas"));
    assert!(!credential.is_current(1_767_225_599) && credential.is_current(1_767_225_600));
    assert!(credential.is_current(1_798_761_599) && !credential.is_current(1_798_761_600));
    assert!(fixture.directory.credential("ak_usr-1").await.unwrap().unwrap().is_for("cpaas"), "no realms are all");
}

async fn keys_prove_themselves_plain_and_peppered(fixture: Fixture) {
    let directory = &fixture.directory;
    for id in ["ak_cus-42", "ak_peppered"] {
        let key = key_of(id);
        assert_eq!(proved(directory, id, &key).await, Ok(Some(true)), "{id}");
        for wrong in ["", &key[1..], &format!("{key} "), &key_of("ak_usr-1")] {
            assert_eq!(proved(directory, id, wrong).await, Ok(Some(false)), "{id}");
        }
    }
    assert!(!directory.proves(None, key_of("ak_cus-42").as_bytes()));
    directory.replace_peppers(&[]);
    assert!(directory.credential("ak_peppered").await.is_err(), "not known as wrong, for want of its pepper");
    assert_eq!(proved(directory, "ak_cus-42", &key_of("ak_cus-42")).await, Ok(Some(true)));
}

async fn last_use_survives_a_change_of_the_record(mut fixture: Fixture) {
    assert!(fixture.directory.last_used().is_empty());
    fixture.directory.credential("ak_cus-42").await.unwrap().unwrap().last_used.note(1_700_000_000);
    fixture.directory.credential("ak_usr-1").await.unwrap().unwrap();
    let book = fixture.book().credential("ak_cus-42", |row| row.realms = Some(Vec::new()));
    fixture.put(book).await;
    eventually(false, async || fixture.directory.credential("ak_cus-42").await.unwrap().unwrap().is_for("ucaas")).await;
    assert_eq!(fixture.directory.last_used(), [("ak_cus-42".into(), 1_700_000_000)]);
    fixture.directory.credential("ak_cus-42").await.unwrap().unwrap().last_used.note(1_700_000_001);
    assert_eq!(fixture.directory.last_used(), [("ak_cus-42".into(), 1_700_000_001)]);
}

async fn a_password_is_compared_and_its_change_is_another_mark(mut fixture: Fixture) {
    let directory = &fixture.directory;
    let mark = async |fixture: &Fixture| fixture.directory.account("usr-1").await.unwrap().unwrap().password_mark;
    assert_eq!(whose(directory, "usr-1@book.example", PASSWORD).await, Ok(Some("usr-1".to_owned())));
    assert_eq!(whose(directory, "usr-1@book.example", "another password").await, Ok(None));
    assert_eq!(whose(directory, "cus-42@book.example", PASSWORD).await, Ok(None), "an e-mail without a password");
    let before = mark(&fixture).await;
    assert_eq!(before, mark(&fixture).await);
    let found = directory.check_password("usr-1@book.example", PASSWORD).await.unwrap();
    if let PasswordCheck::Here(user) = &found {
        assert_eq!(user.as_ref().map(|user| user.password_mark), Some(before), "as the account's record says");
    }
    let book = fixture.book().account("usr-1", |row| row.password = Some(book::record_of("another password")));
    fixture.put(book).await;
    eventually(false, async || mark(&fixture).await == before).await;
    eventually(Ok(None), async || whose(&fixture.directory, "usr-1@book.example", PASSWORD).await).await;
    assert_eq!(whose(&fixture.directory, "usr-1@book.example", "another password").await, Ok(Some("usr-1".to_owned())));
    if let PasswordCheck::Here(user) = fixture.directory.check_password("usr-1@book.example", "").await.unwrap() {
        assert_eq!(user.map(|user| user.password_mark), Some(mark(&fixture).await), "as the new record says");
    }
}

async fn e_mails_are_handed_on(mut fixture: Fixture) {
    let login = "usr-1@book.example";
    assert_eq!(whose(&fixture.directory, login, PASSWORD).await, Ok(Some("usr-1".to_owned())));
    assert_eq!(whose(&fixture.directory, "first@book.example", PASSWORD).await, Ok(None));
    let book = fixture.book().account("usr-1", |row| row.email = Some("First@Book.example".to_owned()));
    fixture
        .put(book.with("usr-2", "user", "cus-42").account("usr-2", |row| {
            row.email = Some(login.to_owned());
            row.password = Some(book::record_of(PASSWORD));
        }))
        .await;
    eventually(Ok(Some("usr-2".to_owned())), async || whose(&fixture.directory, login, PASSWORD).await).await;
    let first = async || whose(&fixture.directory, "first@book.example", PASSWORD).await;
    eventually(Ok(Some("usr-1".to_owned())), first).await;
}

async fn an_outage_is_told_and_what_was_known_stays(mut fixture: Fixture) {
    let known = account(&fixture.directory, "usr-1").await;
    fixture.directory.credential("ak_cus-42").await.unwrap().unwrap();
    assert!(fixture.directory.is_up());
    fixture.cut().await;
    eventually(false, async || {
        // A look-up of something that is not known is what finds it out at once.
        let unknown = fixture.directory.account("never asked before").await;
        assert!(unknown.is_err() || fixture.knows_everything(), "{unknown:?}");
        fixture.directory.is_up()
    })
    .await;
    // Longer than a record is believed without being asked for again.
    tokio::time::sleep(fixture::CACHE + Duration::from_millis(50)).await;
    assert_eq!(account(&fixture.directory, "usr-1").await, known);
    assert_eq!(proved(&fixture.directory, "ak_cus-42", &key_of("ak_cus-42")).await, Ok(Some(true)));
    fixture.mend().await;
    let give_up = Instant::now() + Duration::from_secs(2);
    while !fixture.directory.is_up() {
        assert!(Instant::now() < give_up, "not up two seconds after the repair");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(account(&fixture.directory, "never-asked-before").await, Ok(None));
    assert_eq!(account(&fixture.directory, "usr-1").await, known);
}

/// The records that every test begins with.
fn usual() -> Book {
    Book::default()
        .root("root")
        .with("res-7", "reseller", "root")
        .with("res-8", "reseller", "root")
        .with("cus-42", "customer", "res-7")
        .with("cus-9", "customer", "res-8")
        .with("usr-1", "user", "cus-42")
        .account("cus-42", |row| row.email = Some("cus-42@book.example".to_owned()))
        .account("usr-1", |row| {
            row.email = Some("usr-1@book.example".to_owned());
            row.password = Some(book::record_of(PASSWORD));
        })
        .with_credential("ak_cus-42", "cus-42")
        .with_credential("ak_usr-1", "usr-1")
        .with_credential("ak_peppered", "cus-42")
        .credential("ak_peppered", |row| row.key = book::peppered("ak_peppered"))
}
