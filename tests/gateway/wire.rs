//! The path judged is the path sent: random targets from the pieces that path attacks are made of, the rules of
//! contract section 7 written a second time, and the upstream as the witness.

use std::collections::HashMap;

use crate::harness::client::{Broken, Client};
use crate::harness::lab::Lab;
use crate::harness::request::{Request, get};
use crate::harness::response::Response;
use crate::harness::seed::Random;

const ROUNDS: usize = 2500;

const STARTS: [&str; 8] = ["/public", "/public", "/public", "/public/a", "/public/b", "/orders", "/t", ""];

const HARMLESS: [&str; 18] = [
    "a",
    "b1",
    "...",
    ".a",
    "a.",
    "~",
    "*",
    "@:!$&'()+,=",
    "-_",
    "%20",
    "%3f",
    "%3B",
    "%c3%a9",
    "%E2%82%AC",
    "%40",
    "%25",
    "A",
    "admin",
];

const HARMFUL: [&str; 28] = [
    "..",
    ".",
    "%2e",
    "%2E%2e",
    ".%2e",
    "%2f",
    "%2F",
    "%5c",
    "%5C",
    "%00",
    "%0a",
    "%0d%0a",
    "%7f",
    "%2541",
    "%252e",
    "%252f",
    "%zz",
    "%2",
    "%",
    "%u002e",
    "%41",
    "%7e",
    "\\",
    ";x=1",
    "..;",
    "\u{e9}",
    "\u{ff0e}\u{ff0e}",
    "#",
];

const QUERIES: [&str; 12] = ["", "a=b", "&", "=", "..", "/../", "//", "\\", ";", "%2f%2e%2e", "%C3%A9", "+%20"];

/// A random target: mostly harmless, since one harmful piece refuses the whole.
fn target(random: &mut Random) -> String {
    let mut text = random.pick(&STARTS).to_owned();
    for _ in 0..=random.below(4) {
        let slashes = random.pick(&["/", "/", "/", "/", "/", "/", "", "//"]);
        let pieces: &[&str] = if random.below(6) == 0 { &HARMFUL } else { &HARMLESS };
        text.push_str(slashes);
        text.push_str(random.pick(pieces));
    }
    if random.below(8) == 0 {
        text.push('/');
    }
    if random.below(3) == 0 {
        text.push('?');
        for _ in 0..random.below(4) {
            text.push_str(random.pick(&QUERIES));
        }
    }
    if text.starts_with('/') { text } else { format!("/{text}") }
}

/// Whether the contract calls a target malformed; nothing where it leaves that open, which is for escapes that spell no
/// UTF-8.
fn judge(target: &str) -> Option<bool> {
    let malformed = is_malformed(target);
    (malformed || spells_utf8(path_of(target).as_bytes())).then_some(malformed)
}

fn is_malformed(target: &str) -> bool {
    let path = path_of(target);
    let visible = target.bytes().all(|byte| (0x21..=0x7e).contains(&byte));
    let plain = !path.contains("//") && !path.contains(['\\', ';', '#']);
    let dots = path.split('/').any(|segment| segment == "." || segment == "..");
    !visible || !plain || dots || has_bad_escape(path.as_bytes())
}

fn has_bad_escape(path: &[u8]) -> bool {
    let digit = |at: usize| path.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    (0..path.len()).filter(|at| path[*at] == b'%').any(|at| {
        let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else { return true };
        let Ok(byte) = u8::try_from(high * 16 + low) else { return true };
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let twice = byte == b'%' && digit(at + 3).is_some() && digit(at + 4).is_some();
        unreserved || byte.is_ascii_control() || b"/\\".contains(&byte) || twice
    })
}

/// Whether a path of good escapes is UTF-8 when they are decoded.
fn spells_utf8(path: &[u8]) -> bool {
    let mut decoded = Vec::new();
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        let digit = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(u8::try_from(high * 16 + low).expect("two digits"));
                rest = &tail[2..];
            }
            _ => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(decoded).is_ok()
}

fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

/// A keep-alive client that connects again when a refusal closed its connection.
fn send(lab: &Lab, client: &mut Client, request: &Request) -> Response {
    match client.try_send(request) {
        Ok(response) => response,
        Err(Broken::Closed) => {
            *client = lab.gateway.client();
            client.send(request)
        }
        Err(broken) => panic!("{}: {broken:?}", request.line()),
    }
}

#[test]
fn path_that_the_rules_saw_is_the_path_on_the_wire() {
    let mut random = Random::announced("path_that_the_rules_saw_is_the_path_on_the_wire");
    let lab = Lab::start();
    let mut client = lab.gateway.client();
    let mut permitted = HashMap::new();
    let mut refused = 0;
    for _ in 0..ROUNDS {
        let sent = target(&mut random);
        let response = send(&lab, &mut client, &get(&sent));
        let judged = judge(&sent);
        if response.status == 200 {
            assert_ne!(judged, Some(true), "{sent:?} passed");
            permitted.insert(response.request_id(), sent);
        } else if judged == Some(true) {
            assert_eq!(response.status, 400, "{sent:?}: {response}");
            response.assert_denied(400, "1002", "request_malformed");
            refused += 1;
        } else if judged == Some(false) {
            assert_ne!(response.reason(), "request_malformed", "{sent:?} is well-formed");
        }
    }
    assert!(permitted.len() > ROUNDS / 10, "only {} permitted", permitted.len());
    assert!(refused > ROUNDS / 10, "only {refused} refused");

    let seen = lab.upstream.seen();
    assert_eq!(seen.len(), permitted.len(), "what reached the upstream is what was permitted");
    for request in &seen {
        let sent = &permitted[&request.request_id()];
        assert_eq!(&request.target, sent);
        assert!(!is_malformed(&request.target), "{request:?}");
    }
    let mut logged = 0;
    for line in lab.gateway.access_lines(ROUNDS) {
        if let Some(sent) = permitted.get(&line.text("request_id")) {
            line.assert(&[("path", path_of(sent)), ("outcome", "permitted"), ("route", "public")]);
            logged += 1;
        }
    }
    assert_eq!(logged, permitted.len());
}
