//! Which store URLs and certificates are taken, and that a refusal repeats nothing of them.

use redis::ConnectionAddr;

use super::CALM;
use super::certificates::Authority;
use crate::store::address::Place;
use crate::store::{RedisSettings, Store, StoreUrlError, TlsFiles};

fn settings(url: &str, tls: Option<TlsFiles>) -> RedisSettings {
    RedisSettings { url: url.to_owned(), prefix: String::new(), budget: CALM, replicas: 0, tls }
}

#[test]
fn an_odd_url_is_refused_and_not_repeated() {
    let cases = [
        ("memory:", StoreUrlError::Scheme),
        ("", StoreUrlError::Scheme),
        ("redis:/h", StoreUrlError::Scheme),
        ("redis+unix:///tmp/s3cret", StoreUrlError::Scheme),
        ("rediss+sentinel://h/s3cret", StoreUrlError::Scheme),
        ("redis://", StoreUrlError::Host),
        ("redis:///0", StoreUrlError::Host),
        ("redis://0.0.0.0", StoreUrlError::Host),
        ("redis://h:0", StoreUrlError::Host),
        ("redis://h1,h2", StoreUrlError::Host),
        ("rediss://", StoreUrlError::Host),
        ("redis://h:99999", StoreUrlError::Unparsable),
        ("redis://:s3cret/x@h", StoreUrlError::Unparsable),
        ("redis://s3cret@h", StoreUrlError::UserWithoutPassword),
        ("rediss://s3cret@h", StoreUrlError::UserWithoutPassword),
        ("redis://h/x", StoreUrlError::Database),
        ("redis://h/-1", StoreUrlError::Database),
        ("redis://h/1/2", StoreUrlError::Database),
        ("redis://h?protocol=resp3", StoreUrlError::Options),
        ("redis://:s3cret#x@h", StoreUrlError::Unparsable),
        ("redis://h#s3cret", StoreUrlError::Options),
        ("rediss://h#insecure", StoreUrlError::Options),
        ("redis+sentinel://h1,h2", StoreUrlError::Primary),
        ("redis+sentinel://h1,h2/", StoreUrlError::Primary),
        ("redis+sentinel:///name", StoreUrlError::Host),
        ("redis+sentinel://h1,,h2/name", StoreUrlError::Host),
        ("redis+sentinel://h1:26379,h2:0/name", StoreUrlError::Host),
        ("redis+sentinel://h1/name/x", StoreUrlError::Database),
        ("redis+sentinel://s3cret@h1/name", StoreUrlError::UserWithoutPassword),
        ("redis+sentinel://:s3cret/@h1/name", StoreUrlError::Unparsable),
        ("redis+sentinel://h1/name?sentinel_user=s3cret", StoreUrlError::UserWithoutPassword),
        ("redis+sentinel://h1/name?sentinel_password=s3/cret", StoreUrlError::Unparsable),
        ("redis+sentinel://h1/name?tls=maybe", StoreUrlError::Options),
        ("redis+sentinel://h1/name?password=s3cret", StoreUrlError::Options),
        ("redis+sentinel://h1/name#s3cret", StoreUrlError::Options),
        ("redis+cluster://", StoreUrlError::Host),
        ("redis+cluster://h1,", StoreUrlError::Host),
        ("redis+cluster://h1,h2/1", StoreUrlError::Database),
        ("redis+cluster://h1,h2?sentinel_password=s3cret", StoreUrlError::Options),
        ("redis+cluster://s3cret@h1,h2", StoreUrlError::UserWithoutPassword),
    ];
    for (url, wrong) in cases {
        assert!(!format!("{:?}", settings(url, None)).contains("s3cret"));
        let error = Store::redis(settings(url, None)).err().unwrap_or_else(|| panic!("{url} was accepted"));
        assert_eq!(error, wrong, "{url}");
        assert!(!format!("{error:?} {error}").contains("s3cret"));
    }
    for url in GOOD {
        assert_eq!(Store::redis(settings(url, None)).err(), None, "{url}");
    }
}

#[test]
fn sentinels_and_their_primary_have_logins_of_their_own() {
    let url = "redis+sentinel://gate:p%2F1@h1:7,[::1]/main/3?sentinel_user=watch&sentinel_password=w%3A2";
    let Ok(Place::Sentinels { sentinels, name, login }) = Place::parse(url) else {
        panic!("not Sentinel");
    };
    assert_eq!(name, "main");
    let addresses: Vec<_> = sentinels.iter().map(|sentinel| sentinel.addr().clone()).collect();
    let tcp = |host: &str, port| ConnectionAddr::Tcp(host.to_owned(), port);
    assert_eq!(addresses, [tcp("h1", 7), tcp("::1", 26379)]);
    for sentinel in &sentinels {
        let login = sentinel.redis_settings();
        assert_eq!((login.username(), login.password(), login.db()), (Some("watch"), Some("w:2"), 0));
    }
    let login = login.redis_settings();
    assert_eq!((login.username(), login.password(), login.db()), (Some("gate"), Some("p/1"), 3));
}

#[test]
fn tls_makes_every_host_of_a_url_one_over_tls() {
    for url in ["redis+sentinel://h1,h2/main?tls=true", "redis+cluster://h1,h2?tls=true"] {
        let servers = match Place::parse(url).ok().unwrap() {
            Place::Sentinels { mut sentinels, login, .. } => {
                sentinels.push(*login);
                sentinels
            }
            Place::Cluster(seeds) => seeds,
            Place::Server(_) => panic!("{url} is no server"),
        };
        assert!(servers.len() >= 2);
        for server in servers {
            assert!(matches!(server.addr(), ConnectionAddr::TcpTls { insecure: false, .. }), "{url}");
        }
    }
}

#[test]
fn certificates_that_cannot_be_used_are_refused_at_once() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue("gate");
    let (_, other) = authority.issue("gate");
    let files = |ca: &[u8], certificate: Option<&[u8]>, key: Option<&[u8]>| {
        let own = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
        Some(TlsFiles { ca: Some(ca.to_vec()), certificate: own(certificate), key: own(key) })
    };
    let ca = authority.certificate();
    let refusal = |url: &str, tls| Store::redis(settings(url, tls)).err();
    let url = "rediss://h";
    assert_eq!(refusal(url, files(&ca, Some(&certificate), Some(&key))), None);
    assert_eq!(refusal(url, Some(TlsFiles::default())), None);
    assert_eq!(refusal("redis://h", files(&ca, None, None)), Some(StoreUrlError::TlsWithoutNeed));
    assert_eq!(refusal("redis+cluster://h", files(&ca, None, None)), Some(StoreUrlError::TlsWithoutNeed));
    assert_eq!(refusal(url, files(b"", None, None)), Some(StoreUrlError::Ca));
    assert_eq!(refusal(url, files(&key, None, None)), Some(StoreUrlError::Ca));
    assert_eq!(refusal(url, files(&ca, Some(&certificate), None)), Some(StoreUrlError::Certificate));
    assert_eq!(refusal(url, files(&ca, None, Some(&key))), Some(StoreUrlError::Certificate));
    assert_eq!(refusal(url, files(&ca, Some(b"x"), Some(&key))), Some(StoreUrlError::Certificate));
    assert_eq!(refusal(url, files(&ca, Some(&certificate), Some(&other))), Some(StoreUrlError::Certificate));
    let shown = format!("{:?}", settings(url, files(&ca, Some(&certificate), Some(&key))));
    assert!(!shown.contains("BEGIN") && !shown.contains("45, 45"), "{shown}");
}

const GOOD: [&str; 10] = [
    "redis://h",
    "redis://h/",
    "redis://h:7000/15",
    "redis://:p@[::1]:1",
    "redis://u:p@h.example/0",
    "rediss://u:p%40@h.example:6380/3",
    "redis+sentinel://h1/name",
    "redis+sentinel://u:p@h1:1,[::1],h3/name/7?tls=true&sentinel_user=u&sentinel_password=p",
    "redis+cluster://h1",
    "redis+cluster://u:p@h1:1,[::1]:2,h3/?tls=true",
];
