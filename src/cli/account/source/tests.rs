//! What the settings say about accounts and peppers.
#![allow(clippy::unwrap_used, reason = "a step that fails fails the test")]

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::cli::args::ConfigArgs;

const PEPPERS: &str = "[directory]\npeppers = [\n  { id = \"p2\", secret = { file = \"two\" } },\n  \
                       { id = \"p1\", secret = { file = \"one\" } },\n  { id = \"p0\", secret = { file = \"gone\" } },\n]\n";

/// A folder with these settings, and the arguments that name them.
fn lab(settings: &str) -> (TempDir, FileArgs) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    fs::write(folder.path().join("one"), "secret of one").unwrap();
    fs::write(folder.path().join("two"), "secret of two").unwrap();
    let args = FileArgs { config: ConfigArgs { config: folder.path().join("gateway.toml") }, file: None };
    (folder, args)
}

#[track_caller]
fn stopped<T>(outcome: Result<T, Stop>, exit: Exit, words: &[&str]) {
    let stop = outcome.err().unwrap();
    assert_eq!(stop.exit, exit, "{}", stop.message);
    for word in words {
        assert!(stop.message.contains(word), "{}", stop.message);
    }
}

#[test]
fn the_file_is_beside_the_settings_that_name_it() {
    let (folder, args) = lab("[directory]\nurl = \"file:own/accounts.toml\"");
    assert_eq!(path(&args).unwrap(), folder.path().join("own/accounts.toml"));
    let (folder, args) = lab("[server]\nadmin = \"not even an address\"");
    assert_eq!(path(&args).unwrap(), folder.path().join("policies/accounts.toml"));
}

#[test]
fn a_directory_that_is_no_file_is_named_without_its_password() {
    for url in ["redis:", "https://prov.example/directory", "https://me:5ec2e7@prov.example/directory"] {
        let (_folder, args) = lab(&format!("[directory]\nurl = \"{url}\""));
        let shown = url.replace("me:5ec2e7@", "");
        let stop = path(&args).err().unwrap();
        assert!(!stop.message.contains("5ec2e7"), "{}", stop.message);
        stopped(path(&args), Exit::BadFiles, &["kept by the provisioning service", &shown, "`--file`"]);
        assert_eq!(path(&FileArgs { file: Some("own.toml".into()), ..args }).unwrap(), Path::new("own.toml"));
    }
}

#[test]
fn the_first_pepper_is_the_default_and_no_other_secret_is_read() {
    let (_folder, args) = lab(PEPPERS);
    let (id, secret) = pepper(&args, PepperChoice::First).unwrap().unwrap();
    assert_eq!((id.as_str(), secret.reveal()), ("p2", b"secret of two".as_slice()));
    let (id, secret) = pepper(&args, PepperChoice::Named("p1")).unwrap().unwrap();
    assert_eq!((id.as_str(), secret.reveal()), ("p1", b"secret of one".as_slice()));
    assert!(pepper(&args, PepperChoice::Plain).unwrap().is_none());
    stopped(pepper(&args, PepperChoice::Named("p0")), Exit::BadFiles, &["pepper `p0`", "gone"]);
    stopped(pepper(&args, PepperChoice::Named("p3")), Exit::Usage, &["no pepper `p3`", "did you mean `p"]);
}

#[test]
fn settings_without_peppers_ask_for_none_and_broken_ones_are_not_taken_for_such() {
    let (folder, args) = lab("[directory]\n");
    assert!(pepper(&args, PepperChoice::First).unwrap().is_none());
    stopped(pepper(&args, PepperChoice::Named("p1")), Exit::Usage, &["no pepper `p1`", "[directory] peppers"]);
    fs::write(&args.config.config, "[directory]\npeppers = [{ id = \"p1\", secret = \"5ec2e7\" }]").unwrap();
    let stop = pepper(&args, PepperChoice::First).err().unwrap();
    assert!(stop.message.contains("--no-pepper") && !stop.message.contains("5ec2e7"), "{}", stop.message);
    assert!(pepper(&args, PepperChoice::Plain).unwrap().is_none());
    fs::remove_file(folder.path().join("gateway.toml")).unwrap();
    assert!(pepper(&args, PepperChoice::First).unwrap().is_none());
}
