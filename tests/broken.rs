//! The corpus of broken configurations: what `check` says of each, word for word.
//!
//! A file of tests/broken is one case. Behind what it is about stand sections: a file of the configuration each, and last
//! `--- findings`, all lines that are expected, in order. A file that a case leaves out is the one of sound.case. One whose name
//! has ` in latin-1` behind it is written in those letters, which are no UTF-8.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails loudly")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use portcullis::cli::report::{Loaded, read_all};
use portcullis::config::diag::Faults;
use serde_json::Value;

#[path = "broken/literals.rs"]
mod literals;

use literals::{holds, literals, parts};

struct Case {
    name: String,
    /// By their paths.
    files: BTreeMap<String, String>,
    findings: Vec<String>,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

fn case(path: &Path) -> Case {
    let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
    let text = fs::read_to_string(path).unwrap();
    let mut files = BTreeMap::new();
    let mut sections = text.split("\n--- ");
    assert!(!sections.next().unwrap().trim().is_empty(), "{name} does not say what it is about");
    for section in sections {
        let (file, text) = section.split_once('\n').unwrap_or((section, ""));
        let text = text.trim_end_matches('\n');
        let text = if text.is_empty() { String::new() } else { format!("{text}\n") };
        assert!(files.insert(file.trim().to_owned(), text).is_none(), "{name}: {file} stands twice");
    }
    let findings = files.remove("findings").unwrap_or_else(|| panic!("{name} has no findings"));
    let findings = findings.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    Case { name, files, findings }
}

/// All cases but the sound one, whose files stand in for what they leave out.
fn cases() -> Vec<Case> {
    let sound = case(&corpus().join("sound.case"));
    let mut cases: Vec<Case> = Vec::new();
    for entry in fs::read_dir(corpus()).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("literals.rs") {
            continue;
        }
        assert!(path.extension().is_some_and(|extension| extension == "case"), "{} is no case", path.display());
        let mut case = case(&path);
        for (file, text) in &sound.files {
            case.files.entry(file.clone()).or_insert_with(|| text.clone());
        }
        cases.push(case);
    }
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    cases
}

impl Case {
    fn named(name: &str) -> Self {
        cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"))
    }

    fn written(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (file, text) in &self.files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let latin = |text: &str| text.chars().map(|letter| u8::try_from(letter).unwrap()).collect::<Vec<_>>();
            match path.to_str().unwrap().strip_suffix(" in latin-1") {
                Some(path) => fs::write(path, latin(text)).unwrap(),
                None => fs::write(path, text).unwrap(),
            }
        }
        folder
    }

    fn judged(&self) -> (bool, Faults, String) {
        let folder = self.written();
        let here = format!("{}/", folder.path().display());
        match read_all(&folder.path().join("gateway.toml")) {
            Ok(Loaded { warnings, .. }) => (true, warnings, here),
            Err(faults) => (false, faults, here),
        }
    }

    fn checked(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        let folder = self.written();
        command.current_dir(folder.path()).arg("check").args(arguments).env_remove("PORTCULLIS_NOT_SET");
        command.output().unwrap()
    }
}

/// Findings without the folder that they were written to.
fn lines(faults: &Faults, here: &str) -> Vec<String> {
    faults.iter().map(|fault| fault.to_string().replace(here, "").replace('\n', " ")).collect()
}

#[test]
fn every_case_is_told_word_for_word_and_place_for_place() {
    let cases = cases();
    assert!(cases.len() > 100, "only {} cases", cases.len());
    let mut wrong = String::new();
    for case in &cases {
        let (good, faults, here) = case.judged();
        let found = lines(&faults, &here);
        if found != case.findings {
            wrong += &format!("== {}\n{}\n-- expected\n{}\n", case.name, found.join("\n"), case.findings.join("\n"));
        }
        if found.is_empty() != (case.name == "sound") {
            wrong += &format!("== {}: {} findings\n", case.name, found.len());
        }
        let refused = case.findings.iter().any(|line| line.contains(": fault: ") || line.starts_with("fault: "));
        if good == refused {
            wrong += &format!("== {}: only faults keep a gateway from starting\n", case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_binary_tells_programs_the_same_with_exit_code_2_for_faults() {
    let mut judged = 0;
    for case in cases().iter().step_by(9) {
        let output = case.checked(&["--format", "json"]);
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let found: Vec<String> = rows.iter().map(line).collect();
        assert_eq!(found, case.findings, "{}", case.name);
        let refused = rows.iter().any(|row| row["severity"] == "fault");
        assert_eq!(output.status.code(), Some(if refused { 2 } else { 0 }), "{}", case.name);
        judged += rows.len();
    }
    assert!(judged > 20, "only {judged} findings");
}

/// A row of the JSON form, as the log has it.
fn line(row: &Value) -> String {
    let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let hint = row["hint"].as_str().map(|hint| format!(" ({hint})")).unwrap_or_default();
    assert!((row["end_line"].as_u64(), row["end_column"].as_u64()) >= (row["line"].as_u64(), row["column"].as_u64()));
    format!("{}:{}:{}: {}: {}{hint}", text("file"), row["line"], row["column"], text("severity"), text("message"))
}

#[test]
fn the_binary_tells_people_like_a_compiler_does() {
    for (name, shown) in RENDERED {
        let output = Case::named(name).checked(&[]);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), shown, "{name}");
    }
    let warned = Case::named("route-hidden-method").checked(&[]);
    let shown = String::from_utf8(warned.stdout).unwrap();
    assert!(shown.starts_with("warning: `/meetings/permanent` hides `GET /meetings/{id}`"), "{shown}");
    assert!(
        shown.contains("\ngood: 1 realm, 2 routes, 1 test, ") && shown.ends_with("; 0 faults, 1 warning\n"),
        "{shown}"
    );
    assert_eq!(warned.status.code(), Some(0));
}

#[test]
fn settings_that_cannot_be_read_are_told_with_a_remedy_of_their_kind() {
    let case = Case::named("sound");
    for (place, hint) in [("gone.toml", "name the file with `-c`, or start in its folder"), (".", "name a file in it")]
    {
        let output = case.checked(&["-c", place]);
        let shown = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(2), "{shown}");
        assert!(shown.contains(&format!("cannot read `{place}`: ")), "{shown}");
        assert!(shown.contains(&format!("help: {hint}\n")), "{shown}");
    }
}

/// What cases paste where no secret belongs, or name as one.
const SECRETS: &[&str] = &["hunter2", "0123456789abcdef0123456789abcdef"];

#[test]
fn no_finding_shows_what_may_be_a_secret() {
    let mut holding = 0;
    for case in cases() {
        let files: String =
            case.files.iter().filter(|(name, _)| name.contains(".toml")).map(|(_, text)| &**text).collect();
        if !SECRETS.iter().any(|secret| files.contains(secret)) {
            continue;
        }
        holding += 1;
        for format in ["text", "json"] {
            let output = case.checked(&["--format", format]);
            let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(
                !shown.is_empty() && !SECRETS.iter().any(|secret| shown.contains(secret)),
                "{}: {shown}",
                case.name
            );
        }
    }
    assert!(holding >= 5, "only {holding} cases hold a secret");
}

/// A machine that is busy is given time; what grows with the square of the length would take hours.
const BOUNDED: Duration = Duration::from_secs(60);

#[test]
fn byte_order_mark_windows_line_ends_and_tabs_are_read() {
    let mut case = Case::named("sound");
    for text in case.files.values_mut() {
        *text = format!("\u{feff}{}", text.replace(" = ", "\t=\t").replace('\n', "\r\n"));
    }
    let output = case.checked(&[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // A fault of such a file has its place all the same.
    let policy = case.files.get_mut("policies/p.toml").unwrap();
    *policy = policy.replace("\"orders.get\"", "\"orders get\"");
    let output = case.checked(&[]);
    let shown = String::from_utf8(output.stdout).unwrap();
    assert!(shown.contains("policies/p.toml:18:8\n") && !shown.contains('\r'), "{shown}");
}

#[test]
fn ten_mebibytes_are_read_or_refused_in_bounded_time() {
    let sound = Case::named("sound").files["policies/p.toml"].clone();
    let route = |number: usize| {
        format!("\n[[route]]\nname = \"r{number}\"\nmatch = \"GET /r/{number}\"\nallow = [\"owner\"]\n")
    };
    let half_bad =
        |number: usize| route(number).replace("owner", if number.is_multiple_of(50) { "ownr" } else { "owner" });
    let comment = format!("# {}\n", "a comment of eighty characters, as they stand in long files ".repeat(2));
    for (what, text, code) in [
        ("comments", sound.clone() + &comment.repeat((10 << 20) / comment.len()), 0),
        ("routes", sound.clone() + &(0..6000).map(route).collect::<String>(), 0),
        ("faults", sound.clone() + &(0..6000).map(half_bad).collect::<String>(), 2),
        ("one line", format!("{sound}\n# {}", "x".repeat(10 << 20)), 0),
        ("brackets", format!("{sound}\nx = {}", "[".repeat(10 << 20)), 2),
        ("a long name", sound.replace("orders.get", &"x".repeat(10 << 20)), 2),
        ("a long pattern", sound.replace("/orders/", &"/x".repeat(5 << 20)), 2),
        ("too long", sound.clone() + &comment.repeat((33 << 20) / comment.len()), 2),
    ] {
        let mut case = Case::named("sound");
        case.files.insert("policies/p.toml".to_owned(), text);
        let begun = Instant::now();
        let output = case.checked(&[]);
        let (took, shown) =
            (begun.elapsed(), String::from_utf8_lossy(&output.stdout[..output.stdout.len().min(2000)]).into_owned());
        assert_eq!(output.status.code(), Some(code), "{what}: {shown}");
        assert!(took < BOUNDED, "{what} took {took:?}");
    }
}

/// What a rule, a remedy or a value type of the sources says, and why no case provokes it.
const NOT_PROVOKED: &[(&str, &str)] = &[
    ("more than 65536 quotas in a file", "the file would be longer than all others together"),
    ("a role's quota serves all accounts of that role", "it is the remedy of the one above"),
    ("{most} in flight", "it is how `check --print` shows a quota that is good"),
    ("{written}, burst {}{shared}", "it is how `check --print` shows a quota that is good"),
    (", shared", "it is how `check --print` shows a quota that is good"),
    ("not read, since no gateway starts", "it stands for a secret that nobody reads"),
    ("what stands there is not UTF-8, so it is no URL", "a case is a text"),
    ("it is longer than {} MiB", "a case is short"),
    ("see whether it is the right file", "it is the remedy of the one above"),
    ("let the user read it who runs the gateway", "the superuser may read everything"),
    ("no random bytes for a token key", "no configuration makes a machine run out of them"),
    ("name one in token.keys", "it is the remedy of the one above"),
    ("name the file with `-c`, or start in its folder", "each case has a gateway.toml"),
];

/// Files that find nothing themselves or at a reload only, or whose texts are another library's.
const SILENT: &[&str] = &["cold.rs", "schema.rs", "set.rs", "settings.rs", "watched.rs", "wording.rs"];

/// Where findings are made.
const MAKERS: &[&str] = &["src/config", "src/directory/reading.rs", "src/directory/phc.rs", "src/policy/pattern.rs"];

#[test]
fn every_text_that_the_sources_can_say_is_in_the_corpus() {
    let mut said = Vec::new();
    for case in cases() {
        let (_, faults, here) = case.judged();
        said.extend(lines(&faults, &here));
    }
    let (mut texts, mut missing) = (0, Vec::new());
    for file in makers() {
        for text in literals(&fs::read_to_string(&file).unwrap()) {
            // Where a value type words its error, a dash parts what is wrong from the remedy.
            let parts = parts(&text.replace(" — ", " ("));
            let excused = NOT_PROVOKED.iter().any(|(excused, _)| text.contains(excused));
            texts += 1;
            if !excused && !said.iter().any(|line| holds(line, &parts)) {
                missing.push(format!("{}: {text}", file.display()));
            }
        }
    }
    assert!(texts > 200, "only {texts} texts were found in the sources");
    assert!(missing.is_empty(), "no case of tests/broken provokes\n{}", missing.join("\n"));
    for (excused, why) in NOT_PROVOKED {
        assert!(!said.iter().any(|line| line.contains(excused)), "{excused} is provoked; it was not, since {why}");
    }
}

fn makers() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for maker in MAKERS.iter().map(|maker| root.join(maker)) {
        match fs::read_dir(&maker) {
            Ok(entries) => files.extend(entries.map(|entry| entry.unwrap().path())),
            Err(_) => files.push(maker),
        }
    }
    files.retain(|file| SILENT.iter().all(|silent| !file.ends_with(silent)));
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs") && !file.ends_with("tests.rs"));
    files
}

/// What three cases look like on a terminal without colours.
const RENDERED: [(&str, &str); 3] = [
    (
        "several-files",
        r#"error: `inf` is no log level
 --> gateway.toml:2:7
  |
2 | log = "inf"
  |       ^^^^^
  |
  = help: did you mean `info`?

error: the realm has no role `ownr`
  --> policies/p.toml:11:10
   |
11 | allow = ["ownr"]
   |          ^^^^^^
   |
   = help: did you mean `owner`?

error: an account id is 1 to 64 of A-Z a-z 0-9 . _ ~ -
 --> policies/accounts.toml:2:6
  |
2 | id = "the boss"
  |      ^^^^^^^^^^

3 faults, 0 warnings
"#,
    ),
    (
        "columns-count-characters",
        r#"error: a role is 1 to 64 of A-Z a-z 0-9 . _ ~ -
 --> policies/p.toml:4:20
  |
4 |     roles = ["owner", "über", "clerk", "clerk"]
  |                       ^^^^^^

error: role `clerk` stands twice, so it would outrank itself
 --> policies/p.toml:4:37
  |
4 |     roles = ["owner", "über", "clerk", "clerk"]
  |                                        ^^^^^^^
  |
  = help: drop one

2 faults, 0 warnings
"#,
    ),
    (
        "token-key-written",
        r#"error: a secret is never written in a file
 --> gateway.toml:2:30
  |
2 | keys = [{ id = "k", secret = "********************************" }]
  |                              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
  |
  = help: use { env = "NAME" } or { file = "/path" }

1 fault, 0 warnings
"#,
    ),
];
