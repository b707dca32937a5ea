//! Reads `gateway.toml` and every policy file that it names; all faults of all files in one run.
//!
//! Called at start, by every verb, and by tests. A configuration with a fault is never given out.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::spanned::Spanned;
use sha2::{Digest, Sha256};

use super::compile::{Surroundings, compile};
use super::diag::{Faults, Source};
use super::gateway_file;
use super::plain_file::{LONGEST_FILE, read_text, remedy};
use super::policy_file::PolicyTest;
use super::realms::{self, Compiled};
use super::settings::{Settings, beside};
use crate::policy::rehearsal::Tree;
use crate::policy::snapshot::Snapshot;

/// A whole configuration without faults.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the gateway runs with.
    pub settings: Settings,
    /// The compiled policies.
    pub snapshot: Arc<Snapshot>,
    /// Fixture trees, by the name of their realm.
    pub trees: Vec<(Box<str>, Tree)>,
    /// All policy tests.
    pub tests: Vec<PolicyTest>,
    /// `policies.candidate`, to be judged in shadow.
    pub candidate: Option<Candidate>,
    /// The files that were read, `gateway.toml` first.
    pub files: Vec<String>,
    /// Of these, the policies in effect.
    pub include: Vec<String>,
    /// `gateway.toml` itself, for what is said of its keys later on.
    pub source: Arc<Source>,
}

/// A second set of policies, judged beside the first without effect.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Its policies, compiled.
    pub snapshot: Arc<Snapshot>,
    /// The share of disagreements that is logged, 0 to 1.
    pub sample: f64,
    /// The files that it was read from.
    pub files: Vec<String>,
}

/// Where files come from: the disk, or what is built into `demo`.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn read(&self, path: &Path) -> Result<String, Unread>;

    /// Told of each secret and certificate before it is read; these are read from the disk, whatever the source.
    fn about_to_read(&self, _path: &Path) {}

    /// Whether secrets are read too. Only a gateway needs them; a look at policies or accounts does not.
    fn reads_secrets(&self) -> bool {
        true
    }
}

/// Why a file has no text for us.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub struct Unread {
    cause: String,
    /// Where the cause tells what to do; otherwise the path may be wrong.
    remedy: Option<&'static str>,
}

impl From<std::io::Error> for Unread {
    fn from(error: std::io::Error) -> Self {
        Self { cause: error.to_string(), remedy: remedy(&error) }
    }
}

impl From<String> for Unread {
    fn from(cause: String) -> Self {
        Self { cause, remedy: None }
    }
}

/// The disk.
pub struct Disk {
    /// Whether secrets are read too.
    pub secrets: bool,
}

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        Ok(read_text(path, LONGEST_FILE)?)
    }

    fn reads_secrets(&self) -> bool {
        self.secrets
    }
}

/// What came of reading: the findings in any case, the configuration only without a fault.
#[derive(Clone, Debug, Default)]
pub struct Loading {
    /// `None` with a fault.
    pub config: Option<Config>,
    /// The accounts file of a `file:` directory, as soon as the settings name one, and where they do.
    pub accounts: Option<(PathBuf, Place)>,
    /// The files, in the order in which they were named.
    pub files: Vec<String>,
    /// Faults and warnings, in the order of the files and of the places in them.
    pub faults: Faults,
}

/// A place in a file.
#[derive(Clone, Debug)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// The bytes.
    pub span: Range<usize>,
}

/// Reads everything.
#[must_use]
pub fn load(path: &Path, files: &dyn Files) -> Loading {
    let mut loading = Loading::default();
    let config = load_into(path, files, &mut loading);
    loading.faults.sort(&loading.files);
    loading.config = config.filter(|_| !loading.faults.any_fault());
    loading
}

fn load_into(path: &Path, files: &dyn Files, loading: &mut Loading) -> Option<Config> {
    let faults = &mut loading.faults;
    let text = files.read(path).map_err(|Unread { cause, remedy }| {
        let hint = remedy.unwrap_or("name the file with `-c`, or start in its folder");
        faults.without_place(format!("cannot read `{}`: {cause}", path.display()), hint);
    });
    let source = Arc::new(Source { name: path.display().to_string(), text: without_mark(text.ok()?) });
    loading.files.push(source.name.clone());
    let gateway = gateway_file::read(&source, files, faults)?;
    loading.accounts = gateway.accounts.map(|(path, span)| (path, Place { source: Arc::clone(&source), span }));
    let mut hash = Sha256::new();
    for upstream in &gateway.settings.upstreams {
        hash.update(upstream.name.as_bytes());
        hash.update([0]);
    }
    let around = Surroundings {
        upstreams: &gateway.settings.upstreams,
        named_upstreams: &gateway.named_upstreams,
        limits: &gateway.settings.limits,
    };
    let set = read_set(&source, &gateway.policies.include, &around, hash.clone(), files, faults);
    loading.files.extend(set.names.iter().cloned());
    let candidate = (!gateway.policies.candidate.is_empty()).then(|| {
        // A file may stand in both lists, and what is wrong with it was told then.
        let mut found = Faults::default();
        let candidate = read_set(&source, &gateway.policies.candidate, &around, hash, files, &mut found);
        faults.append_new(found);
        for name in &candidate.names {
            if !loading.files.contains(name) {
                loading.files.push(name.clone());
            }
        }
        Candidate { snapshot: candidate.snapshot, sample: gateway.policies.sample, files: candidate.names }
    });
    let PolicySet { snapshot, trees, tests, names: include } = set;
    let files = loading.files.clone();
    Some(Config { settings: gateway.settings, snapshot, trees, tests, candidate, files, include, source })
}

/// The policies of one list of files.
struct PolicySet {
    snapshot: Arc<Snapshot>,
    trees: Vec<(Box<str>, Tree)>,
    tests: Vec<PolicyTest>,
    names: Vec<String>,
}

/// Reads and compiles the policy files of a list. `hash` is what the revision begins with.
fn read_set(
    gateway: &Arc<Source>,
    list: &[Spanned<String>],
    around: &Surroundings<'_>,
    mut hash: Sha256,
    files: &dyn Files,
    faults: &mut Faults,
) -> PolicySet {
    let mut compiled: Vec<Compiled> = Vec::new();
    let mut names: Vec<String> = Vec::new();
    for include in list {
        let Some(file) = policy_source(gateway, include, files, faults) else { continue };
        if names.contains(&file.name) {
            faults.fault(gateway, include.span(), format!("`{}` is included twice", include.get_ref()), "");
            continue;
        }
        names.push(file.name.clone());
        hash.update(file.text.as_bytes());
        hash.update([0]);
        if let Some(realm) = compile(&file, around, faults) {
            compiled.push((file, realm));
        }
    }
    realms::judge(&compiled, compiled.len() == list.len(), faults);
    let revision: String = hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let (mut realms, mut trees, mut tests) = (Vec::new(), Vec::new(), Vec::new());
    for (_, file) in compiled {
        trees.push((file.realm.name.clone(), file.tree));
        realms.push(file.realm);
        tests.extend(file.tests);
    }
    PolicySet { snapshot: Arc::new(Snapshot::new(realms, revision)), trees, tests, names }
}

/// Editors of some systems put a byte-order mark in front; it is no part of the text.
fn without_mark(text: String) -> String {
    text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text)
}

fn policy_source(
    gateway: &Arc<Source>,
    include: &Spanned<String>,
    files: &dyn Files,
    faults: &mut Faults,
) -> Option<Arc<Source>> {
    let path = beside(&gateway.name, include.get_ref());
    // Logs, reports and terminals are told the name of the file with everything that is found in it.
    if include.get_ref().contains(char::is_control) {
        faults.fault(gateway, include.span(), "the file's name has control characters", "rename the file");
        return None;
    }
    match files.read(&path) {
        Ok(text) => Some(Arc::new(Source { name: path.display().to_string(), text: without_mark(text) })),
        Err(Unread { cause, remedy }) => {
            let message = format!("cannot read `{}`: {cause}", path.display());
            faults.fault(gateway, include.span(), message, remedy.unwrap_or("paths are relative to this file"));
            None
        }
    }
}
