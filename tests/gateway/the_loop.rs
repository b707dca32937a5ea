//! The README's transcript of an edit, from the editor to `diff`: each command is run on the shipped files, and prints what is
//! shown. The steps behind it need a gateway and traffic; `shadow` and `reload` show those.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::gateway::BUILT;

/// Runs a verb where `live` and `next` stand; what it prints.
fn portcullis(folder: &Path, words: &[&str]) -> String {
    let output = Command::new(BUILT).args(words).current_dir(folder).output().expect("the binary runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// What the README shows below a command, the times in it taken out; one text for each time that the command stands there.
fn shown(readme: &str, command: &str) -> Vec<String> {
    let blocks = readme.split("\n$ ").filter(|block| block.lines().next() == Some(command));
    let body = |block: &str| {
        block.split_once('\n').map_or("", |(_, body)| body).split("\n```").next().unwrap_or("").to_owned()
    };
    blocks.map(|block| timeless(&body(block))).collect()
}

/// Without what is another at every run.
fn timeless(text: &str) -> String {
    let lines = text.trim().lines().map(|line| match line.rfind(" (0.") {
        Some(place) if line.ends_with(" s)") => &line[..place],
        Some(_) | None => line.trim_end(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_readmes_edit_prints_what_the_readme_shows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let folder = tempfile::tempdir().expect("a folder");
    for place in ["live", "next"] {
        let place = folder.path().join(place);
        fs::create_dir_all(place.join("policies")).expect("a folder of ours");
        for name in ["gateway.toml", "policies/ucaas.toml", "policies/cpaas.toml", "policies/accounts.toml"] {
            fs::copy(root.join(name), place.join(name)).expect("a shipped file");
        }
    }
    let edited = folder.path().join("next/policies/ucaas.toml");
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(&edited).expect("the edited file");
        assert!(text.contains(from), "no {from}");
        fs::write(&edited, text.replacen(from, to, 1)).expect("the edited file");
    };
    let allow = "allow = { administrator = \"subtree\", reseller = \"below\" }\ntarget = \"path.customer_id\"";
    edit(allow, &allow.replace("\"below\" }", "\"below\", customer = \"onw\" }"));
    let check = shown(&readme, "portcullis check -c next/gateway.toml");
    let judged = shown(&readme, "portcullis test -c next/gateway.toml --mutate");
    let differs = shown(&readme, "portcullis diff live next");
    assert_eq!((check.len(), judged.len(), differs.len()), (1, 3, 1), "the README has the transcript");
    let run = |words: &[&str]| timeless(&portcullis(folder.path(), words));
    let words = ["test", "-c", "next/gateway.toml", "--mutate"];

    assert_eq!(run(&["check", "-c", "next/gateway.toml"]), check[0]);
    edit("\"onw\"", "\"own\"");
    assert_eq!(run(&words), judged[0]);
    edit(
        "    \"GET /customers/cus-42\", \"GET /customers\", \"POST /customers\",\n    \"PATCH /customers/cus-42\", \"DELETE /customers/cus-42\",\n]\nexpect = \"role_forbidden\"",
        "    \"GET /customers\", \"POST /customers\",\n    \"PATCH /customers/cus-42\", \"DELETE /customers/cus-42\",\n]\nexpect = \"role_forbidden\"\n\n[[test]]\nas = \"customer:cus-42\"\ncall = \"GET /customers/cus-42\"\nexpect = \"permit\"\n",
    );
    assert_eq!(run(&words), judged[1]);
    let kept = "\n[[test]]\nas = \"customer:cus-42\"\ncall = \"GET /customers/usr-1\"\nexpect = \"scope_forbidden\"\n";
    let text = fs::read_to_string(&edited).expect("the edited file");
    fs::write(&edited, text + kept).expect("the edited file");
    assert_eq!(run(&words), judged[2]);
    assert_eq!(run(&["diff", "live", "next"]), differs[0]);
}
