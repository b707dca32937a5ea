//! The house rules of the sources: floors, doors, file sizes, headers.
//!
//! It reads `src` as text, so it also holds for code that is compiled out; sizes and headers hold for tests, benches and
//! examples as well. The floors are those of the table in `src/lib.rs`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Module → floor; `main` stands above all.
const FLOORS: &[(&str, u8)] = &[
    ("reason", 0),
    ("policy", 1),
    ("telemetry", 2),
    ("problem", 3),
    ("store", 3),
    ("config", 4),
    ("directory", 5),
    ("limits", 5),
    ("upstream", 5),
    ("identity", 6),
    ("proxy", 7),
    ("cli", 7),
    ("admin", 8),
    ("app", 9),
    ("demo", 10),
    ("main", 11),
];

/// A word, and the only modules that may name it.
const DOORS: &[(&str, &[&str])] = &[("redis::", &["store"]), ("pingora::", &["proxy", "admin", "app", "demo"])];

/// What the pure core may not name.
const NOT_IN_POLICY: &[&str] = &[
    "tokio",
    "pingora",
    "redis",
    "serde",
    "tracing",
    "std::fs",
    "std::env",
    "Instant::now",
    "SystemTime::now",
    "async fn",
];

const LONGEST_FILE: usize = 400;

struct SourceFile {
    path: PathBuf,
    module: String,
    text: String,
}

impl SourceFile {
    fn floor(&self) -> u8 {
        floor(&self.module).unwrap_or_else(|| panic!("{} has no floor: add it to the table", self.path.display()))
    }

    /// The text without comments, which may speak of anything.
    fn code(&self) -> String {
        let code = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
        self.text.lines().map(code).collect::<Vec<_>>().join("\n")
    }
}

fn floor(module: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

fn sources() -> Vec<SourceFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files: Vec<_> = below(&root).into_iter().map(|path| source(&root, &path)).collect();
    assert!(files.len() > 40, "only {} files were read", files.len());
    files
}

fn source(root: &Path, path: &Path) -> SourceFile {
    let inside = path.strip_prefix(root).unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    let module = first.trim_end_matches(".rs").to_owned();
    SourceFile { path: inside.to_owned(), module, text: fs::read_to_string(path).unwrap() }
}

/// The Rust files of a folder and of those in it.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut open = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// The modules of this crate that a file names.
fn used(code: &str) -> BTreeSet<String> {
    let word =
        |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default().to_owned();
    let named = ["crate::", "portcullis::"].into_iter().flat_map(|root| code.split(root).skip(1));
    named.map(word).filter(|module| !module.is_empty()).collect()
}

#[test]
fn modules_use_lower_floors_only() {
    let mut uses = 0;
    for file in sources().iter().filter(|file| file.module != "lib") {
        for module in used(&file.code()).into_iter().filter(|module| *module != file.module) {
            let below = floor(&module).unwrap_or_else(|| panic!("{}: `{module}` has no floor", file.path.display()));
            assert!(
                below < file.floor(),
                "{} (floor {}) uses {module} (floor {below})",
                file.path.display(),
                file.floor()
            );
            uses += 1;
        }
    }
    assert!(uses > 50, "only {uses} uses were seen");
}

#[test]
fn the_floors_are_those_of_the_map() {
    let map = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    for (module, floor) in FLOORS.iter().filter(|(module, _)| *module != "main") {
        assert!(
            map.contains(&format!("//! | {floor} | [`{module}`] |")),
            "src/lib.rs does not show {module} on floor {floor}"
        );
        assert!(map.contains(&format!("\npub mod {module};")), "src/lib.rs has no module {module}");
    }
}

#[test]
fn doors_are_used_by_their_owners_only() {
    for file in sources() {
        for (word, owners) in DOORS {
            let code = file.code();
            let starts_a_path =
                |place: usize| !code[..place].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
            let named = code.match_indices(word).any(|(place, _)| starts_a_path(place));
            assert!(!named || owners.contains(&&*file.module), "{} names `{word}`", file.path.display());
        }
    }
}

#[test]
fn the_core_is_pure() {
    let core: Vec<_> = sources().into_iter().filter(|file| file.module == "policy").collect();
    assert!(core.len() > 10);
    for file in core {
        for word in NOT_IN_POLICY {
            assert!(!file.code().contains(word), "{} names `{word}`", file.path.display());
        }
    }
}

#[test]
fn nothing_is_imported_by_glob_or_exported_from_the_root() {
    for file in sources() {
        // So many steps up from a file lead to the root, past the floors.
        let up = "super::".repeat(file.path.components().count());
        let file = SourceFile { text: file.text.split("#[cfg(test)]").next().unwrap_or_default().to_owned(), ..file };
        if file.path.components().any(|part| part.as_os_str().to_string_lossy().trim_end_matches(".rs") == "tests") {
            continue;
        }
        for escape in ["use crate::*", "crate::{", &up] {
            assert!(!file.code().contains(escape), "{} names others by `{escape}`", file.path.display());
        }
        assert!(file.module != "lib" || !file.code().contains("pub use"), "the root re-exports something");
    }
}

#[test]
fn files_are_short_and_say_what_they_are() {
    for folder in ["src", "tests", "benches", "deploy"] {
        let files = below(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder));
        assert!(!files.is_empty(), "no file of {folder} was read");
        for path in files {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().count();
            assert!(lines <= LONGEST_FILE, "{} has {lines} lines", path.display());
            assert!(text.starts_with("//! "), "{} does not say what it is", path.display());
        }
    }
}

#[test]
fn nobody_writes_a_carrier_reply_but_respond() {
    for file in sources().iter().filter(|file| file.module == "proxy") {
        let writes = file.code().contains("write_response_header");
        assert!(!writes || file.path.ends_with("respond.rs"), "{} writes a reply", file.path.display());
    }
}
