//! The verbs `test` and `routes` as a CI job meets them: exit codes, reports, nothing for people where nobody looks; and
//! the colours of all verbs.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use crate::harness::builder::Builder;
use crate::harness::gateway::{BUILT, Gateway};

const POLICY: &str = r#"
[realm]
name = "shop"
base = "/shop"
roles = ["owner", "clerk"]
schemes = ["basic"]
upstream = "stock"

[[route]]
name = "price"
match = "GET /price"
allow = ["owner"]

[fixture]
accounts = ["root/anna"]

[[test]]
as = "owner:root"
call = "GET /price"
expect = "permit"
scope = "subtree"

[[test]]
as = "anonymous"
call = "GET /price"
expect = "header_missing"
"#;

const CLERK: &str = "[[test]]\nas = \"clerk:anna\"\ncall = \"GET /price\"\nexpect = \"role_forbidden\"\n";

fn shop(tests: &str) -> Builder {
    let nobody: SocketAddr = "127.0.0.1:1".parse().unwrap();
    Gateway::builder().upstream("stock", nobody).policy("shop", &format!("{POLICY}{tests}"))
}

#[test]
fn a_survivor_is_exit_1_with_its_place_and_the_test_to_add() {
    let verb = ["test", "-c", "gateway.toml", "--mutate"];
    let good = shop(CLERK).verb(&verb);
    assert_eq!((good.code, good.stderr.as_str()), (0, ""), "{good:?}");
    assert!(good.stdout.contains("mutants: 5 of 5 noticed, 0 survived"), "{}", good.stdout);

    let weak = shop("").verb(&verb);
    assert_eq!((weak.code, weak.stderr.as_str()), (1, ""), "no bar where nobody looks: {weak:?}");
    assert!(weak.stdout.contains("shop.toml:9: price: let role clerk in\n"), "{}", weak.stdout);
    let add = "  add: as = \"clerk:anna\", call = \"GET /price\", expect = \"role_forbidden\"\n";
    assert!(weak.stdout.contains(add) && !weak.stdout.contains('\x1b'), "{}", weak.stdout);
    assert_eq!(shop("").verb(&["test", "-c", "gateway.toml"]).code, 0, "the tests themselves pass");
}

#[test]
fn too_little_coverage_or_a_failing_test_is_exit_1_and_bad_files_are_65() {
    assert_eq!(shop("").verb(&["test", "-c", "gateway.toml", "--min-coverage", "100"]).code, 1);
    assert_eq!(shop(CLERK).verb(&["test", "-c", "gateway.toml", "--min-coverage", "100"]).code, 0);
    let wrong = CLERK.replace("role_forbidden", "permit");
    let failed = shop(&wrong).verb(&["test", "-c", "gateway.toml", "--mutate", "--format", "json"]);
    assert_eq!(failed.code, 1);
    let report: serde_json::Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!((&report["failed"][0]["as"], &report["good"]), (&"clerk:anna".into(), &false.into()));
    let slip = CLERK.replace("role_forbidden", "role_forbiden");
    assert_eq!(shop(&slip).verb(&["test", "-c", "gateway.toml"]).code, 65);
    assert_eq!(shop(CLERK).verb(&["test", "--min-coverage", "101"]).code, 64);
}

#[test]
fn junit_is_written_beside_the_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("report.xml");
    let exit = shop("").verb(&["test", "-c", "gateway.toml", "--mutate", "--junit", path.to_str().unwrap()]);
    assert_eq!(exit.code, 1);
    let report = fs::read_to_string(&path).unwrap();
    let suites: Vec<&str> = report.lines().filter(|line| line.trim_start().starts_with("<testsuite ")).collect();
    assert_eq!(suites.len(), 2, "{report}");
    assert!(suites[0].contains("tests=\"2\"") && suites[0].contains("failures=\"0\""), "{report}");
    assert!(suites[1].contains("name=\"mutants\"") && suites[1].contains("failures=\"1\""), "{report}");
}

#[test]
fn routes_shows_the_matrix_and_refuses_what_is_not_there() {
    let shown = shop("").verb(&["routes", "-c", "gateway.toml", "--role", "owner"]);
    assert_eq!((shown.code, shown.stderr.as_str()), (0, ""), "{shown:?}");
    assert!(shown.stdout.contains("GET /price") && !shown.stdout.contains('\x1b'), "{}", shown.stdout);
    for (words, wanted) in [
        (["--role", "ovner"], "no realm has a role `ovner`; did you mean `owner`?"),
        (["--upstream", "stok"], "no upstream `stok`; did you mean `stock`?"),
    ] {
        let exit = shop("").verb(&["routes", "-c", "gateway.toml", words[0], words[1]]);
        assert_eq!(exit.code, 64, "{exit:?}");
        assert!(exit.stderr.contains(wanted), "{exit:?}");
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let root = env!("CARGO_MANIFEST_DIR");
    let cpaas = "policies/cpaas.toml";
    for verb in [&["explain", "GET", "/x"][..], &["diff", "policies/ucaas.toml", cpaas], &["check", "-c", cpaas]] {
        // A terminal is not there, so that colours have to be forced to see them go.
        for (wish, coloured) in
            [(&[][..], false), (&["CLICOLOR_FORCE"], true), (&["CLICOLOR_FORCE", "NO_COLOR"], false)]
        {
            let mut command = Command::new(BUILT);
            command.args(verb).current_dir(root).env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE");
            for name in wish {
                command.env(name, "1");
            }
            let output = command.output().unwrap();
            let shown = [output.stdout, output.stderr].concat();
            assert!(!shown.is_empty(), "{verb:?} says nothing");
            assert_eq!(shown.contains(&b'\x1b'), coloured, "{verb:?} {wish:?}: {}", String::from_utf8_lossy(&shown));
        }
    }
}
