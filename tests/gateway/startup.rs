//! Bad input at the start: one clear line or all the faults, the right exit code, and nothing that listens (contract
//! sections 2 and 3).

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::harness::accounts::Accounts;
use crate::harness::builder::{Builder, SECRET_VARIABLE};
use crate::harness::gateway::{Gateway, run_alone};
use crate::harness::lab::{LAB_POLICY, Lab, builder};
use crate::harness::ports;
use crate::harness::request::get;

/// "Below one second", with slack for an unoptimised build beside other tests.
const AT_ONCE: Duration = Duration::from_secs(2);

/// A whole configuration whose upstream is never asked.
fn whole() -> Builder {
    builder().upstream("lab", ports::refusing())
}

/// `FILE:LINE:` of the line of `text` that holds `part`.
fn place(file: &str, text: &str, part: &str) -> String {
    let line = text.lines().position(|line| line.contains(part)).unwrap_or_else(|| panic!("no {part} in {text}"));
    format!("{file}:{}:", line + 1)
}

/// Asserts that a place is followed by a column.
#[track_caller]
fn assert_points_at(output: &str, place: &str) {
    let column = output.split(place).nth(1).and_then(|rest| rest.chars().next());
    assert!(column.is_some_and(|column| column.is_ascii_digit()), "no {place}COLUMN in {output}");
}

fn anywhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

#[test]
fn whole_configuration_passes_its_check() {
    let exit = whole().verb(&["check", "-c", "gateway.toml"]);
    assert_eq!(exit.code, 0, "{exit:?}");
}

#[test]
fn ready_gateway_takes_connections() {
    for _ in 0..8 {
        let gateway = whole().start_until_ready();
        gateway.call(&get("/orders/1")).assert_denied(400, "400", "header_missing");
    }
}

#[test]
fn port_in_use_is_one_clear_line_and_exit_1_at_once() {
    let taken = TcpListener::bind(ports::free()).expect("a free port");
    let address = taken.local_addr().expect("its address");
    let exit = whole().listen(address).start_expecting_exit();
    assert_eq!(exit.code, 1, "{exit:?}");
    assert!(exit.took < AT_ONCE, "{exit:?}");
    let naming = exit.stderr.lines().filter(|line| line.contains(&address.to_string())).count();
    assert_eq!(naming, 1, "one line names {address}: {}", exit.stderr);
    assert!(!exit.stderr.contains("panicked"), "{exit:?}");
}

#[test]
fn second_gateway_on_the_same_port_ends_and_leaves_the_first_alone() {
    let lab = Lab::start();
    let exit = whole().listen(lab.gateway.address()).start_expecting_exit();
    assert_eq!(exit.code, 1, "{exit:?}");
    for _ in 0..5 {
        lab.call(&get("/public/ping")).assert_ok();
    }
}

#[test]
fn missing_secret_is_exit_65_and_names_the_variable_and_the_place() {
    let text = whole().toml(anywhere());
    let exit = whole().without_secret().start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.took < AT_ONCE, "{exit:?}");
    assert!(exit.stderr.contains(SECRET_VARIABLE), "{exit:?}");
    assert_points_at(&exit.stderr, &place("gateway.toml", &text, SECRET_VARIABLE));
}

#[test]
fn short_secret_is_refused_without_being_shown() {
    for secret in ["", "secret", "sixteen-bytes-xx", "thirty-one-bytes-are-too-few-xx"] {
        let exit = whole().env(SECRET_VARIABLE, secret).start_expecting_exit();
        assert_eq!(exit.code, 65, "{exit:?}");
        assert!(exit.stderr.contains(SECRET_VARIABLE), "{exit:?}");
        assert!(secret.len() < 16 || !exit.stderr.contains(secret), "{exit:?}");
    }
}

#[test]
fn broken_toml_is_65_from_serve_and_2_from_check_and_nothing_listens() {
    let text = whole().toml(anywhere());
    let cut = &text[..text.find(SECRET_VARIABLE).expect("the variable") + 5];
    let broken = whole().file("gateway.toml", cut);
    let served = broken.clone().start_expecting_exit();
    assert_eq!(served.code, 65, "{served:?}");
    assert!(served.took < AT_ONCE, "{served:?}");
    let checked = broken.verb(&["check", "-c", "gateway.toml"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    for output in [served.stderr, format!("{}{}", checked.stdout, checked.stderr)] {
        assert_points_at(&output, &place("gateway.toml", &text, SECRET_VARIABLE));
    }
}

#[test]
fn broken_policy_never_starts_a_gateway() {
    let address = ports::free();
    let cut = &LAB_POLICY[..LAB_POLICY.rfind("forward_authorization").expect("a key") + 10];
    let exit = whole().listen(address).file("lab.toml", cut).start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("lab.toml:"), "{exit:?}");
    assert!(TcpStream::connect(address).is_err(), "something listens on {address}");
}

#[test]
fn missing_files_are_refused_by_name() {
    let absent = whole().toml(anywhere()).replace("tree.toml", "absent.toml");
    let exit = whole().file("gateway.toml", &absent).start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("absent.toml"), "{exit:?}");
    let exit = Gateway::builder().verb(&["serve", "-c", "nowhere.toml"]);
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("nowhere.toml"), "{exit:?}");
}

#[test]
fn empty_policy_is_refused() {
    let exit = whole().file("tree.toml", "").start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("tree.toml"), "{exit:?}");
}

#[test]
fn unknown_keys_are_refused_by_name() {
    let exit = whole().server("colour = \"red\"").start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("colour"), "{exit:?}");
    let exit = whole().toml_extra("[colours]\nred = true").start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("colours"), "{exit:?}");
    let exit = whole().file("lab.toml", &LAB_POLICY.replace("public = true", "pubic = true")).start_expecting_exit();
    assert_eq!(exit.code, 65, "{exit:?}");
    assert!(exit.stderr.contains("pubic"), "{exit:?}");
}

#[test]
fn several_faults_are_all_reported_in_one_run() {
    let faulty = r#"
[realm]
name = "lab"
base = "/"
roles = ["administrator", "user"]
schemes = ["basic", "token"]
upstream = "lab"

[[route]]
name = "first"
match = "GET /first"
allow = ["adminn"]

[[route]]
name = "second"
match = "GET /second"
allow = ["user"]
upstream = "moon"

[[route]]
name = "third"
match = "GET /third/{a}"
allow = ["user"]

[[route]]
name = "fourth"
match = "GET /third/{b}"
allow = ["administrator"]

[[route]]
name = "fifth"
match = "GET /fifth"
allow = ["user"]
quotas = ["nothing"]
"#;
    let accounts = Accounts::lab().change("bob", |account| account.parent = Some("missing-parent".to_owned()));
    let broken = Gateway::builder().policy("lab", faulty).accounts(&accounts).upstream("lab", ports::refusing());
    let checked = broken.clone().verb(&["check", "-c", "gateway.toml"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    let served = broken.start_expecting_exit();
    assert_eq!(served.code, 65, "{served:?}");
    let report = format!("{}{}", checked.stdout, checked.stderr);
    for output in [&report, &served.stderr] {
        for part in ["[\"adminn\"]", "\"moon\"", "[\"nothing\"]"] {
            assert_points_at(output, &place("lab.toml", faulty, part));
        }
        // Two equal routes are one fault, which may point at either and names the other.
        let equal = [place("lab.toml", faulty, "/third/{a}"), place("lab.toml", faulty, "/third/{b}")];
        assert!(equal.iter().any(|place| output.contains(place)), "{equal:?} in {output}");
        assert!(output.contains("third"), "{output}");
    }
    assert!(report.contains("accounts.toml:") && report.contains("missing-parent"), "{report}");
}

#[test]
fn faults_can_be_read_by_a_machine() {
    let faulty = LAB_POLICY.replace("[\"administrator\"]", "[\"adminn\"]");
    let exit = whole().file("lab.toml", &faulty).verb(&["check", "-c", "gateway.toml", "--format", "json"]);
    assert_eq!(exit.code, 2, "{exit:?}");
    let report: serde_json::Value =
        serde_json::from_str(&exit.stdout).unwrap_or_else(|error| panic!("{error}: {exit:?}"));
    assert!(report.to_string().contains("adminn"), "{report}");
}

#[test]
fn usage_errors_are_64() {
    for words in [&["fly"][..], &["serve", "--no-such-flag"], &["check", "--format", "xml"], &["password", "surplus"]] {
        let exit = run_alone(words, "");
        assert_eq!(exit.code, 64, "{words:?}: {exit:?}");
        assert!(!exit.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn a_verb_without_its_choice_names_every_choice() {
    for (words, choices) in
        [(["lockout", "clear"], &["KEY", "--all"][..]), (["token", "revoke"], &["--jti", "--account", "--subtree"])]
    {
        let exit = run_alone(&words, "");
        assert_eq!(exit.code, 64, "{words:?}: {exit:?}");
        // Clap's "tip" and the help would name them as well; what is missing has to.
        let (missing, _) = exit.stderr.split_once("Usage:").unwrap_or_else(|| panic!("{exit:?}"));
        for choice in choices {
            assert!(missing.contains(choice), "{words:?} without {choice}: {missing}");
        }
    }
}

#[test]
fn password_makes_a_fresh_argon2id_record_without_its_newline() {
    let first = run_alone(&["password"], "a password\n");
    let second = run_alone(&["password"], "a password");
    for exit in [&first, &second] {
        assert_eq!(exit.code, 0, "{exit:?}");
        assert!(exit.stdout.starts_with("$argon2id$v=19$"), "{exit:?}");
    }
    assert_ne!(first.stdout, second.stdout, "the salt is fresh");
}
