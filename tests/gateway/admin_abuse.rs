//! What strangers and accidents may do to the admin listener and its verbs: hold connections, send heads with two
//! readings, call it by a foreign name, answer in its place, take the output away.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::accounts::Accounts;
use crate::harness::client::Client;
use crate::harness::fleet::wait_until_heard;
use crate::harness::gateway::{BUILT, run_alone};
use crate::harness::lab::Lab;
use crate::harness::redis::RedisServer;
use crate::harness::request::{get, post};
use crate::harness::toxic::{Mood, Toxic};
use crate::harness::wait::{PATIENCE, eventually};

/// Connections that the admin listener holds at once.
const CONNECTIONS: usize = 256;

/// A head has to be there then; idle time counts.
const HEAD: Duration = Duration::from_secs(10);

/// Whether the other side has closed.
fn is_closed(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let read = (&*stream).read(&mut [0; 1024]);
    !read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

#[test]
fn connections_to_the_admin_listener_are_bounded_in_number_and_time() {
    let lab = Lab::start();
    let mut kept = Client::connect(lab.gateway.admin());
    kept.send(&get("/livez")).assert_ok();
    let before = Instant::now();
    let mut held = Vec::new();
    for number in 0..2 * CONNECTIONS {
        let mut stream = TcpStream::connect(lab.gateway.admin()).unwrap();
        if number % 2 == 0 {
            // One that is closed already says so when it is looked at.
            let _ = stream.write_all(b"GET /livez HTTP/1.1\r\nX: ");
        }
        held.push(stream);
    }
    let open = || held.iter().filter(|stream| !is_closed(stream)).count();
    eventually("those beyond the bound are closed", HEAD / 2, || (open() <= CONNECTIONS).then_some(()));
    assert!(before.elapsed() >= HEAD || open() > CONNECTIONS / 2, "within the bound they may stay: {}", open());
    lab.call(&get("/public/a")).assert_ok();
    let rest = (HEAD + PATIENCE).saturating_sub(before.elapsed());
    eventually("none outlives the time for a head", rest, || (open() == 0).then_some(()));
    assert!(before.elapsed() >= HEAD / 2, "they were not all refused");
    lab.gateway.admin_get("/livez").assert_ok();
    kept.assert_closes();
}

#[test]
fn connection_to_the_admin_listener_carries_request_after_request() {
    let lab = Lab::start();
    let own = lab.gateway.admin().to_string();
    let mut client = Client::connect(lab.gateway.admin());
    for _ in 0..3 {
        client.send(&get("/livez")).assert_ok();
        client.send(&post("/revocations").host(&own).json(&json!({ "jti": "x" }))).assert_ok();
    }
    // A request that comes in pieces is one request.
    for piece in ["GET /li", "vez HTTP/1.1\r\nHost: x\r", "\n\r\n"] {
        client.write(piece.as_bytes());
        thread::sleep(Duration::from_millis(20));
    }
    client.read().assert_ok();
}

#[test]
fn heads_with_two_readings_or_without_measure_are_refused_and_closed() {
    let lab = Lab::start();
    let own = format!("Host: {}\r\n", lab.gateway.admin());
    let behind = format!("0\r\n\r\nGET /sessions?account=alice HTTP/1.1\r\n{own}\r\n");
    let json = "Content-Type: application/json\r\n";
    let long = "a".repeat(17 << 10);
    for (rest, status) in [
        (format!("{json}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n{behind}"), 400),
        (format!("{json}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n{behind}"), 400),
        (format!("{json}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"), 400),
        (format!("{json}Content-Length: 0\nX: y\r\n\r\n"), 400),
        (format!("{json}X: {long}\r\nContent-Length: 0\r\n\r\n"), 431),
    ] {
        let mut client = Client::connect(lab.gateway.admin());
        client.write(format!("POST /revocations HTTP/1.1\r\n{own}{rest}").as_bytes());
        let answer = client.read().assert_status(status);
        assert!(answer.json()["error"].is_string(), "{answer}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer}");
        client.assert_closes();
    }
}

#[test]
fn on_loopback_people_are_told_of_under_our_own_name_only() {
    let lab = Lab::start();
    let port = lab.gateway.admin().port();
    let ask = |path: &str, host: &str| Client::connect(lab.gateway.admin()).send(&get(path).host(host)).status;
    for path in ["/sessions?account=alice", "/lockouts", "/credentials"] {
        for host in ["evil.example".to_owned(), format!("evil.example:{port}")] {
            assert_eq!(ask(path, &host), 421, "{path} {host}");
        }
        for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}")] {
            assert_eq!(ask(path, &host), 200, "{path} {host}");
        }
        let mut nameless = Client::connect(lab.gateway.admin());
        nameless.write(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        nameless.read().assert_status(421);
    }
    for path in ["/livez", "/readyz", "/metrics", "/policy"] {
        assert_eq!(ask(path, "gateway.internal"), 200, "{path}");
    }
}

/// Answers every request with 200 and this body, as long as the test runs.
fn impostor(body: &'static str) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            // The request fits into one segment; what is in it does not matter.
            let _ = stream.read(&mut [0; 4096]);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
            let _ = stream.read(&mut [0; 4096]);
        }
    });
    url
}

#[test]
fn server_that_is_no_gateway_is_exit_69_and_named() {
    for url in [impostor("{}"), impostor("[{}]"), impostor("null"), impostor("it works")] {
        for verb in [
            &["token", "list", "--account", "a"][..],
            &["token", "revoke", "--account", "a"],
            &["lockout", "list"],
            &["lockout", "clear", "network:10.0.0.1"],
            &["lockout", "clear", "--all"],
            &["reload", "--wait"],
        ] {
            for format in ["text", "json"] {
                let exit = run_alone(&[verb, &["--admin", &url, "--format", format]].concat(), "");
                assert_eq!((exit.code, exit.stdout.as_str()), (69, ""), "{verb:?} {exit:?}");
                assert!(exit.stderr.contains(&format!("{url} is not the admin listener of a portcullis")), "{exit:?}");
            }
        }
    }
}

#[test]
fn key_that_nobody_saw_is_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("accounts.toml");
    std::fs::write(&path, Accounts::lab().toml()).unwrap();
    let before = std::fs::read_to_string(&path).unwrap();
    let file = path.to_str().unwrap();
    let closed_pipe = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    let device = |name: &str| Stdio::from(OpenOptions::new().write(true).open(name).unwrap());
    for words in [
        &["credential", "new", "--account", "bob", "--file", file][..],
        &["credential", "rotate", "ak_bob", "--file", file],
    ] {
        for (out, stdout) in
            [("full", device("/dev/full")), ("null", device("/dev/null")), ("a closed pipe", closed_pipe())]
        {
            let output = Command::new(BUILT).args(words).stdout(stdout).stderr(Stdio::piped()).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!((output.status.code(), stderr.lines().count()), (Some(1), 1), "{out}: {stderr}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), before, "{out}");
        }
        let shell = format!("exec '{BUILT}' {} >&-", words.join(" "));
        let output = Command::new("sh").args(["-c", &shell]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), before);
        // And one that can be written is.
        let log = folder.path().join("out");
        let done = Command::new(BUILT).args(words).stdout(File::create(&log).unwrap()).status().unwrap();
        assert!(done.success() && std::fs::read_to_string(&log).unwrap().contains("API KEY"));
        assert_ne!(std::fs::read_to_string(&path).unwrap(), before);
        std::fs::write(&path, &before).unwrap();
    }
}

#[test]
fn many_lock_outs_are_forgotten_side_by_side() {
    const KEYS: usize = 2000;
    let redis = RedisServer::start();
    let toxic = Toxic::before(redis.address());
    let lab = Lab::with(|builder| builder.store_with(&toxic.url(), "budget = \"2s\""));
    let until = crate::harness::wait::now_ms() + 600_000;
    let news: Vec<Vec<String>> = (0..KEYS)
        .map(|n| format!("lock 9 {until} pair:user-{n}@10.{}.{}.1", n / 250, n % 250))
        .map(|text| vec!["PUBLISH".to_owned(), "portcullis:invalidations".to_owned(), text])
        .collect();
    let listed = || lab.gateway.admin_get("/lockouts").assert_ok().json().as_array().map_or(0, Vec::len);
    // Told once: what is told again could arrive when all is forgotten, and lock anew.
    wait_until_heard(&lab.gateway);
    redis.connect().pipeline(&news);
    eventually("the gateway has heard of all", PATIENCE, || (listed() == KEYS).then_some(()));
    // One after the other they would take 40 s.
    toxic.set(Mood::Delay(Duration::from_millis(20)));
    let started = Instant::now();
    let answer = lab.gateway.admin_json("DELETE", "/lockouts", &json!({})).assert_ok().json();
    assert_eq!(answer, json!({ "cleared": KEYS }));
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    toxic.heal();
    assert_eq!(lab.gateway.admin_get("/lockouts").assert_ok().json(), Value::Array(Vec::new()));
}
