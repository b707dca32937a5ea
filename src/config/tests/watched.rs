//! Which files a configuration depends on: all that it names, and in a refused one those that it got to.

use super::*;
use crate::config::load::Disk;
use crate::config::watched::{Noted, Watched};

fn named(watched: &[Watched], folder: &Path) -> Vec<String> {
    let name = |file: &Watched| file.path.strip_prefix(folder).unwrap().display().to_string();
    let mut names: Vec<String> = watched.iter().map(name).collect();
    names.sort();
    names
}

#[test]
fn every_file_that_is_read_is_noted_even_of_a_refused_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let secret = |key: &str, name: &str| format!("{key} = {{ file = \"{name}\" }}");
    let front = format!(
        "[server]\n{}\n[token]\nkeys = [{{ id = \"k\", {} }}]\n[store]\n{}\ntls = {{ ca = \"ca.pem\" }}\n[directory]\n\
         url = \"https://h/d\"\n{}\nclient_certificate = \"cert.pem\"\nclient_key = \"key.pem\"\n",
        secret("admin_token", "admin"),
        secret("secret", "key"),
        secret("url", "url"),
        secret("token", "token"),
    );
    for (name, text) in [
        ("key", "0123456789abcdef0123456789abcdef"),
        ("admin", "a"),
        ("token", "t"),
        ("p.toml", POLICY),
        ("ca.pem", ""),
    ] {
        write(name, text);
    }
    let policies = "include = [\"p.toml\", \"gone.toml\"]\ncandidate = [\"p.toml\", \"next.toml\"]";
    write("gateway.toml", &format!("{front}{}", GATEWAY.replace("include = [\"p.toml\"]", policies)));
    let (disk, path) = (Disk { secrets: true }, folder.path().join("gateway.toml"));
    let noted = Noted::new(&disk);
    assert!(load(&path, &noted).faults.any_fault());
    let watched = noted.into_seen();
    let expected = [
        "admin",
        "ca.pem",
        "cert.pem",
        "gateway.toml",
        "gone.toml",
        "key",
        "key.pem",
        "next.toml",
        "p.toml",
        "token",
        "url",
    ];
    assert_eq!(named(&watched, folder.path()), expected);
    assert!(watched.iter().all(Watched::is_unchanged));
    write("gone.toml", POLICY);
    let changed: Vec<Watched> = watched.into_iter().filter(|file| !file.is_unchanged()).collect();
    assert_eq!(named(&changed, folder.path()), ["gone.toml"]);
    // Who starts no gateway reads no secret.
    let disk = Disk { secrets: false };
    let noted = Noted::new(&disk);
    drop(load(&path, &noted));
    assert_eq!(named(&noted.into_seen(), folder.path()), ["gateway.toml", "gone.toml", "next.toml", "p.toml"]);
}
