//! Sets by their names: files, folders, revisions, and what is said where there is none.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;

const POLICY: &str = "[realm]\nname = \"r\"\nbase = \"/r\"\nroles = [\"high\"]\nschemes = [\"basic\"]\nupstream = \"one\"\n\
    [[route]]\nname = \"get\"\nmatch = \"GET /x\"\nallow = [\"high\"]\nupstream = \"odd.name\"\n";
const SETTINGS: &str = "[upstreams.other]\nservers = [\"a:1\"]\n[upstreams.one]\nservers = [\"a:1\"]\n\
    [upstreams.\"odd.name\"]\nservers = [\"a:1\"]\n[policies]\ninclude = [\"policies/p.toml\"]\n";

/// A folder with settings that include a policy.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("gateway.toml"), SETTINGS).unwrap();
    fs::write(folder.path().join("policies/p.toml"), POLICY).unwrap();
    folder
}

fn named(name: impl AsRef<Path>, settings: &Path) -> PolicySet {
    read(name.as_ref().to_str().unwrap(), settings).unwrap_or_else(|error| panic!("{error}: {error:?}"))
}

fn answered(set: &PolicySet) -> &str {
    let crate::policy::route::Destination::Upstream(index) = set.snapshot.realms()[0].routes[0].destination else {
        panic!("an upstream's route")
    };
    &set.upstreams[usize::from(index.0)]
}

fn git_in(folder: &Path, words: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"];
    let output = Command::new("git").arg("-C").arg(folder).args(identity).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_set_is_a_gateway_file_a_folder_or_policies_alone() {
    let folder = folder();
    let settings = folder.path().join("gateway.toml");
    for name in ["gateway.toml", "", "policies", "policies/p.toml"] {
        let set = named(folder.path().join(name), &settings);
        assert_eq!(answered(&set), "odd.name", "{name}");
        assert_eq!(set.snapshot.realms()[0].routes[0].location.line, 7, "{name}");
    }
}

#[test]
fn a_revision_is_what_was_committed_then_with_what_it_included() {
    let folder = folder();
    let settings = folder.path().join("gateway.toml");
    git_in(folder.path(), &["init", "--quiet"]);
    git_in(folder.path(), &["add", "."]);
    git_in(folder.path(), &["commit", "--quiet", "-m", "first"]);
    fs::write(folder.path().join("policies/p.toml"), POLICY.replace("\"get\"", "\"renamed\"")).unwrap();
    let name = |set: &PolicySet| set.snapshot.realms()[0].routes[0].name.to_string();
    assert_eq!(name(&named(&settings, &settings)), "renamed");
    let policy = folder.path().join("policies/p.toml");
    let sub = folder.path().join("policies");
    for path in [policy.display().to_string(), sub.display().to_string(), folder.path().display().to_string()] {
        assert_eq!(name(&named(format!("git:HEAD:{path}"), &settings)), "get", "{path}");
    }
    assert_eq!(name(&named("git:HEAD", &settings)), "get");
    // Even where the folder is no more.
    fs::remove_dir_all(folder.path().join("policies")).unwrap();
    assert_eq!(name(&named("git:HEAD", &settings)), "get");
    let error = read("git:nosuch", &settings).unwrap_err().to_string();
    assert!(error.contains("no revision `nosuch`") && error.contains("git log"), "{error}");
    let error = read("git:--output=x", &settings).unwrap_err().to_string();
    assert!(error.contains("no revision `--output=x`"), "{error}");
    let gone = folder.path().join("nosuch.toml");
    let error = read(&format!("git:HEAD:{}", gone.display()), &settings).unwrap_err().to_string();
    assert!(error.contains("nosuch.toml cannot be read: path 'nosuch.toml' does not exist"), "{error}");
}

#[test]
fn what_is_no_set_is_refused_with_its_remedy() {
    let empty = tempfile::tempdir().unwrap();
    let settings = empty.path().join("gateway.toml");
    let error = read(empty.path().to_str().unwrap(), &settings).unwrap_err().to_string();
    assert!(error.contains("neither a gateway.toml nor a policy file"), "{error}");
    let error = read(settings.to_str().unwrap(), &settings).unwrap_err().to_string();
    assert!(error.contains("gateway.toml cannot be read: "), "{error}");
    let error = read("git:HEAD", &settings).unwrap_err().to_string();
    assert!(error.contains("no git repository"), "{error}");
    let broken = empty.path().join("broken.toml");
    fs::write(&broken, format!("{POLICY}[[route]]\nname = 7\nmatch = \"GET /x\"\n= oops\n")).unwrap();
    let Err(SetError::Faults(faults)) = read(broken.to_str().unwrap(), &settings) else { panic!("read") };
    let shown: Vec<String> = faults.iter().map(ToString::to_string).collect();
    assert!(shown[0].contains("broken.toml:15:"), "{shown:?}");
}
