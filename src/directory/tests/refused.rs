//! Answers that are none, records that are none, and a far side that is not the one: always "cannot tell", never
//! "unknown", and nothing of it spoils what is good.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::book::{PASSWORD, key_of};
use super::fixture::{CACHE, Fixture, Kind, TOKEN, calls, records};
use super::{account, proved, usual, whose};
use crate::config::secret::Secret;
use crate::config::settings::{DirectoryCalls, DirectorySource, TlsFiles};
use crate::directory::https::CallsError;
use crate::directory::sample::{Call, Sample};
use crate::directory::{Directory, Surroundings, Unavailable};
use crate::store::Store;
use crate::telemetry::metrics::Metrics;

const UNREADABLE: Unavailable = Unavailable("a record of the directory cannot be read");

#[tokio::test]
async fn an_answer_that_is_neither_a_record_nor_404_is_not_unknown() {
    let mut fixture = Fixture::start(Kind::Https).await;
    let path = "/accounts/usr-1";
    let large = format!("{{\"id\":\"usr-1\",\"role\":\"user\",\"x\":\"{}\"}}", "x".repeat(70_000));
    let answers = [
        (200, "", false),
        (200, "<html>", false),
        (200, "{\"id\":\"usr-2\",\"role\":\"user\"}", false),
        (200, "{\"id\":\"usr-1\",\"role\":\"user\",\"role\":\"administrator\"}", false),
        (200, &large, false),
        (204, "", true),
        (302, "", true),
        (401, "{}", true),
        (403, "{}", true),
        (410, "{}", true),
        (429, "{}", true),
        (500, "{}", false),
        (503, "{}", true),
    ];
    for (status, body, is_outage) in answers {
        fixture.far().answer(path, Some((status, body)));
        fixture.directory.forget(["account:usr-1"]);
        let told = account(&fixture.directory, "usr-1").await;
        assert!(told.is_err(), "{status} {body:.20}: {told:?}");
        assert_eq!(fixture.directory.is_up(), !is_outage, "{status}");
        fixture.far().answer(path, None);
        fixture.directory.forget(["account:usr-1"]);
        let give_up = Instant::now() + Duration::from_secs(3);
        while account(&fixture.directory, "usr-1").await.is_err() {
            assert!(Instant::now() < give_up, "{status}: not well again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert_eq!(fixture.far().calls("/elsewhere"), 0, "a redirect was followed");
}

const USER: &str = "root/res-7/cus-42/usr-1";

/// What a load balancer says, an answer that was cut, one of another, one that is endless.
fn no_records() -> [String; 5] {
    [
        "<html>We will be back soon</html>".to_owned(),
        "{\"error\":\"maintenance\"}".to_owned(),
        "{\"id\":\"usr-1\",\"role\":".to_owned(),
        "{\"id\":\"usr-2\",\"role\":\"user\"}".to_owned(),
        format!("{{\"id\":\"usr-1\",\"role\":\"user\",\"x\":\"{}\"}}", "x".repeat(200_000)),
    ]
}

#[tokio::test]
async fn an_answer_that_is_no_record_leaves_what_is_known_in_use_and_is_forgotten_with_the_repair() {
    let mut fixture = Fixture::start(Kind::Https).await;
    let paths = ["/accounts/usr-1", "/accounts/res-7", "/credentials/ak_cus-42"];
    let known = async |fixture: &Fixture| {
        let lineage = account(&fixture.directory, "usr-1").await.map(|found| found.map(|found| found.0));
        assert_eq!(lineage, Ok(Some(USER.to_owned())));
        assert!(proved(&fixture.directory, "ak_cus-42", "x").await.unwrap().is_some());
    };
    known(&fixture).await;
    for body in no_records() {
        paths.iter().for_each(|path| fixture.far().answer(path, Some((200, &body))));
        fixture.far().answer("/accounts/usr-9", Some((200, &body)));
        let stale = fixture.came("stale");
        tokio::time::sleep(CACHE).await;
        for _ in 0..3 {
            known(&fixture).await;
        }
        assert!(fixture.came("stale") > stale, "{body:.20}: what is known was too old not to be asked for");
        assert!(account(&fixture.directory, "usr-9").await.is_err(), "{body:.20}: what is not known is not unknown");
        paths.iter().for_each(|path| fixture.far().answer(path, None));
        fixture.far().answer("/accounts/usr-9", None);
        known(&fixture).await;
        assert_eq!(account(&fixture.directory, "usr-9").await, Ok(None), "{body:.20}: it is asked for again at once");
        fixture.directory.forget(["account:usr-9"]);
    }
    let errors = fixture.metrics.directory_errors.with_label_values(&["account", "no_record"]).get();
    assert!(errors >= 10, "{errors}");
}

#[tokio::test]
async fn what_is_known_is_used_no_longer_than_stale_while_answers_are_no_records() {
    let mut fixture = Fixture::with_stale(Kind::Https, Duration::from_millis(800), |_| {}).await;
    assert!(account(&fixture.directory, "usr-1").await.unwrap().is_some());
    fixture.far().answer("/accounts/usr-1", Some((200, "<html>")));
    let (started, mut last) = (Instant::now(), Duration::ZERO);
    while account(&fixture.directory, "usr-1").await.is_ok() {
        last = started.elapsed();
        assert!(last < Duration::from_secs(4), "still used");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(last > Duration::from_millis(500), "used for {last:?} only");
    fixture.far().answer("/accounts/usr-1", None);
    assert!(account(&fixture.directory, "usr-1").await.unwrap().is_some(), "nothing is remembered of it");
}

#[tokio::test]
async fn a_record_that_breaks_its_rules_does_not_leave_the_one_before_it_in_use() {
    let mut fixture = Fixture::start(Kind::Https).await;
    assert!(account(&fixture.directory, "usr-1").await.unwrap().is_some());
    // The far side says something new of the account; that it cannot be read is no reason to go on as before.
    let blocked = "{\"id\":\"usr-1\",\"role\":\"user\",\"parent\":\"cus-42\",\"status\":\"blocked\"}";
    fixture.far().answer("/accounts/usr-1", Some((200, blocked)));
    tokio::time::sleep(CACHE).await;
    assert_eq!(account(&fixture.directory, "usr-1").await, Err(UNREADABLE));
}

#[tokio::test]
async fn an_odd_record_is_not_unknown_and_spoils_no_other() {
    let mut fixture = Fixture::start(Kind::Redis).await;
    let records = [
        ("account:usr-1", r#"{"id":"usr-1""#),
        ("account:usr-1", r#"{"id":"usr-1","role":"user","parent":"usr-1"}"#),
        ("account:usr-1", r#"{"id":"usr-1","role":"user","parent":"nobody"}"#),
        ("account:usr-1", r#"{"id":"usr-1","role":"user","parent":"cus-42","status":"sleeping"}"#),
        ("account:cus-42", r#"{"id":"cus-42","role":"customer","parent":"usr-1"}"#),
        ("account:root", r#"{"id":"root","role":"a role"}"#),
        ("account:res-7", ""),
    ];
    for (key, record) in records {
        let good = fixture.book().keys()[key].clone();
        fixture.server().put(key, Some(record));
        fixture.server().announce(key);
        let give_up = Instant::now() + Duration::from_secs(1);
        while account(&fixture.directory, "usr-1").await.is_ok() {
            assert!(Instant::now() < give_up, "{record} is still not seen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let up = fixture.directory.is_up();
        assert!(up, "{record}");
        assert!(key == "account:root" || account(&fixture.directory, "cus-9").await.unwrap().is_some(), "{record}");
        fixture.server().put(key, Some(&good));
        fixture.server().announce(key);
        let give_up = Instant::now() + Duration::from_secs(1);
        while account(&fixture.directory, "usr-1").await.is_err() {
            assert!(Instant::now() < give_up, "{record} is still seen");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn credentials_and_e_mails_that_cannot_be_read_are_not_unknown() {
    let mut fixture = Fixture::start(Kind::Redis).await;
    let strange = format!("hmac-sha256:p9:{}", "0".repeat(64));
    let record = format!(r#"{{"id":"strange","account":"usr-1","key":"{strange}"}}"#);
    fixture.server().put("credential:strange", Some(&record));
    assert!(proved(&fixture.directory, "strange", "key").await.is_err(), "of an unknown pepper");
    let pasted = key_of("pasted");
    let record = format!(r#"{{"id":"pasted","account":"usr-1","key":"{pasted}"}}"#);
    fixture.server().put("credential:pasted", Some(&record));
    assert_eq!(proved(&fixture.directory, "pasted", &pasted).await, Err(UNREADABLE));
    fixture.server().tell(&["LPUSH", "portcullis:credential:list", "x"]);
    assert_eq!(proved(&fixture.directory, "list", "key").await, Err(UNREADABLE));
    fixture.server().put("email:odd@book.example", Some("no id"));
    assert_eq!(whose(&fixture.directory, "odd@book.example", PASSWORD).await, Err(UNREADABLE));
    let errors = fixture.metrics.directory_errors.with_label_values(&["credential", "unreadable"]).get();
    assert_eq!(errors, 2, "each was read once");
    fixture.server().put("email:left@book.example", Some("usr-1"));
    fixture.server().put("email:gone@book.example", Some("gone"));
    for left_over in ["left@book.example", "gone@book.example"] {
        assert_eq!(whose(&fixture.directory, left_over, PASSWORD).await, Ok(None), "{left_over}");
    }
}

#[tokio::test]
async fn seventeen_levels_are_too_many() {
    let mut fixture = Fixture::start(Kind::Redis).await;
    for level in 1..=17 {
        let parent = if level == 1 { String::new() } else { format!(r#","parent":"l{}""#, level - 1) };
        let record = format!(r#"{{"id":"l{level}","role":"user"{parent}}}"#);
        fixture.server().put(&format!("account:l{level}"), Some(&record));
    }
    assert!(account(&fixture.directory, "l17").await.is_err());
    assert_eq!(account(&fixture.directory, "l16").await.unwrap().unwrap().0.split('/').count(), 16);
}

#[tokio::test]
async fn a_password_check_that_fails_is_not_a_wrong_password() {
    let mut fixture = Fixture::start(Kind::Https).await;
    let path = "/passwords/verify";
    for (status, body) in [(500, "{}"), (404, "{}"), (200, "{}"), (200, "{\"account\":\"a b\"}"), (403, "{}")] {
        let give_up = Instant::now() + Duration::from_secs(3);
        while whose(&fixture.directory, "usr-1@book.example", PASSWORD).await != Ok(Some("usr-1".to_owned())) {
            assert!(Instant::now() < give_up);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        fixture.far().answer(path, Some((status, body)));
        assert!(whose(&fixture.directory, "usr-1@book.example", PASSWORD).await.is_err(), "{status} {body}");
        fixture.far().answer(path, None);
    }
    fixture.far().answer(path, Some((200, "{\"account\":\"nobody\"}")));
    tokio::time::sleep(Duration::from_millis(300)).await;
    let told = whose(&fixture.directory, "usr-1@book.example", PASSWORD).await;
    assert!(told.is_err(), "of an account that is not there: {told:?}");
    assert!(fixture.directory.user("usr-1@book.example").await.is_err(), "e-mails are not shown");
}

fn directory(calls: &DirectoryCalls) -> Result<Directory, CallsError> {
    let (store, metrics) = (Arc::new(Store::memory()), Metrics::new().unwrap());
    let stale = Duration::from_secs(1);
    let around = Surroundings { store: &store, prefix: "portcullis:", stale, metrics: &metrics };
    Directory::https(&Fixture::settings(), calls, around)
}

#[tokio::test]
async fn a_bearer_token_is_sent_and_one_that_is_refused_is_not_unknown() {
    let mut fixture = Fixture::start(Kind::Https).await;
    let url = format!("http://{}", fixture.far().address);
    let other = DirectoryCalls { token: Some(Secret::new(*b"another-token")), ..calls(&url) };
    for refused in [other, DirectoryCalls { token: None, ..calls(&url) }] {
        let directory = directory(&refused).unwrap();
        assert_eq!(account(&directory, "usr-1").await, Err(Unavailable("the directory refused to answer")));
    }
    assert!(account(&directory(&calls(&url)).unwrap(), "usr-1").await.unwrap().is_some());
    for odd in [&b"two words"[..], b"line\n", b""] {
        let odd = DirectoryCalls { token: Some(Secret::new(odd)), ..calls(&url) };
        assert_eq!(directory(&odd).err(), Some(CallsError::Token));
    }
}

#[tokio::test]
async fn over_tls_the_own_authority_and_our_certificate_count() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for name in ["ours", "theirs"] {
        openssl(
            folder,
            &format!(
                "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem"
            ),
        );
    }
    for name in ["server", "client"] {
        openssl(
            folder,
            &format!(
                "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2 -subj /CN={name} -keyout {name}.key -out {name}.pem -CA ours.pem -CAkey ours.key -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE"
            ),
        );
    }
    let read = |name: &str| Some(std::fs::read(folder.join(name)).unwrap());
    let url = serve(folder);
    let key = || read("client.key").map(Secret::new);
    let good = TlsFiles { ca: read("ours.pem"), certificate: read("client.pem"), key: key() };
    let told = account(&directory(&DirectoryCalls { tls: good.clone(), ..calls(&url) }).unwrap(), "usr-1").await;
    assert!(told.as_ref().is_ok_and(Option::is_some), "{told:?}");
    let other = TlsFiles { ca: read("theirs.pem"), ..good.clone() };
    let nameless = TlsFiles { certificate: None, key: None, ..good.clone() };
    for refused in [other, nameless, TlsFiles::default()] {
        let told = account(&directory(&DirectoryCalls { tls: refused, ..calls(&url) }).unwrap(), "usr-1").await;
        assert_eq!(told, Err(Unavailable("the directory cannot be reached")));
    }
    let renewed = directory(&DirectoryCalls { tls: TlsFiles::default(), ..calls(&url) }).unwrap();
    assert!(account(&renewed, "usr-1").await.is_err());
    let of = |tls: &TlsFiles| DirectorySource::Https(Box::new(DirectoryCalls { tls: tls.clone(), ..calls(&url) }));
    let secrets = renewed.prepare_calls(&of(&good)).unwrap().unwrap();
    renewed.replace_secrets(secrets);
    let give_up = Instant::now() + Duration::from_secs(3);
    while account(&renewed, "usr-1").await.is_err() {
        assert!(Instant::now() < give_up, "the new certificates are not used");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let broken = TlsFiles { ca: Some(b"no PEM".to_vec()), ..good.clone() };
    assert_eq!(renewed.prepare_calls(&of(&broken)).err(), Some(CallsError::Authority));
    assert!(renewed.prepare_calls(&DirectorySource::Redis).is_ok_and(|prepared| prepared.is_none()));
    assert_eq!(directory(&DirectoryCalls { tls: broken, ..calls(&url) }).err(), Some(CallsError::Authority));
    let broken = TlsFiles { key: Some(Secret::new(*b"no key")), ..good };
    assert_eq!(directory(&DirectoryCalls { tls: broken, ..calls(&url) }).err(), Some(CallsError::Certificate));
}

fn openssl(folder: &Path, words: &str) {
    let mut command = Command::new("openssl");
    command.args(words.split(' ')).current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
    assert!(command.status().expect("openssl").success(), "{words}");
}

/// The sample behind TLS, for clients with a certificate of ours; a reply a connection. Ends with the test's process.
fn serve(folder: &Path) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("ours.pem")).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let chain = vec![CertificateDer::from_pem_file(folder.join("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.join("server.key")).unwrap();
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(builder.with_client_cert_verifier(verifier).with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let sample = Sample::new(records(&usual()), Some(TOKEN));
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let server = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(server, connection.unwrap());
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|length| length == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let Some(path) = head.split(' ').nth(1) else { continue };
            let bearer = head.lines().find_map(|line| line.strip_prefix("authorization: "));
            let authorization = bearer.map(str::as_bytes);
            let call = Call { method: "GET", path, authorization, content_type: None, body: b"" };
            let reply = sample.answer(&call);
            let (status, length) = (reply.status, reply.body.len());
            let head = format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
            let _ = stream.write_all(&[head.as_bytes(), &reply.body].concat());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    url
}
