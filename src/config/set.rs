//! A set of policies by the name that an operator gives it: a file, a folder, or either as it was in a revision of git.
//!
//! Called by `portcullis diff`. Everything is read by `load`, so a set that could not be served is not compared either.
//! Secrets are not read, and nothing of a set but its policies and the names of its upstreams is used.

use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::diag::Faults;
use super::load::{Config, Files, Unread, load};
use crate::policy::principal::is_id;
use crate::policy::snapshot::Snapshot;

/// A set that was read.
#[derive(Clone, Debug)]
pub struct PolicySet {
    /// The policies.
    pub snapshot: Arc<Snapshot>,
    /// The names of its upstreams, by their place in the settings.
    pub upstreams: Vec<String>,
}

/// Why a set cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Its files have faults.
    #[error("the files have faults")]
    Faults(Faults),
    /// There is no such set.
    #[error("{0}")]
    Missing(String),
    /// The `git` program cannot be run.
    #[error("git cannot be run: {0}; install it, or name files instead of git:…")]
    NoGit(std::io::Error),
}

/// Reads a set. `settings` is the file that `git:REV` means.
///
/// # Errors
/// Why there is nothing to compare.
pub fn read(name: &str, settings: &Path) -> Result<PolicySet, SetError> {
    let Some(revision) = name.strip_prefix("git:") else {
        return read_path(Path::new(name), &OnDisk);
    };
    let (revision, path) = match revision.split_once(':') {
        Some((revision, path)) => (revision, Path::new(path)),
        None => (revision, settings),
    };
    read_path(path, &Tree::of(revision, path)?)
}

/// Files that can be listed too.
trait Shelf: Files {
    /// The entries of a folder; `None` for anything else.
    fn list(&self, path: &Path) -> Option<Vec<PathBuf>>;
}

fn read_path(path: &Path, shelf: &dyn Shelf) -> Result<PolicySet, SetError> {
    if let Some(entries) = shelf.list(path) {
        let settings = path.join("gateway.toml");
        if entries.contains(&settings) {
            return compiled(&settings, shelf);
        }
        let mut policies: Vec<PathBuf> = entries.into_iter().filter(|entry| is_policy(entry, shelf)).collect();
        policies.sort();
        if policies.is_empty() {
            let message = "holds neither a gateway.toml nor a policy file; a policy file has a [realm]";
            return Err(SetError::Missing(format!("{} {message}", path.display())));
        }
        return read_policies(&policies, shelf);
    }
    shelf.read(path).map_err(|error| SetError::Missing(format!("{} cannot be read: {error}", path.display())))?;
    if is_policy(path, shelf) { read_policies(&[path.to_owned()], shelf) } else { compiled(path, shelf) }
}

fn compiled(path: &Path, files: &dyn Files) -> Result<PolicySet, SetError> {
    let loading = load(path, files);
    let Some(Config { settings, snapshot, .. }) = loading.config else { return Err(SetError::Faults(loading.faults)) };
    let upstreams = settings.upstreams.into_iter().map(|upstream| upstream.name).collect();
    Ok(PolicySet { snapshot, upstreams })
}

/// A file that cannot be read as TOML is known by its table's name, so that its faults are told as a policy's.
fn is_policy(path: &Path, files: &dyn Files) -> bool {
    if path.extension().is_none_or(|extension| extension != "toml") {
        return false;
    }
    let Ok(text) = files.read(path) else { return false };
    match text.parse::<toml::Table>() {
        Ok(table) => table.contains_key("realm"),
        Err(_) => text.lines().any(|line| line.trim_start().starts_with("[realm]")),
    }
}

/// Policies without a gateway.toml: as if one stood beside them that names their upstreams and nothing else.
fn read_policies(policies: &[PathBuf], files: &dyn Files) -> Result<PolicySet, SetError> {
    let mut upstreams: Vec<String> = Vec::new();
    for policy in policies {
        let table: toml::Table = files.read(policy).ok().and_then(|text| text.parse().ok()).unwrap_or_default();
        upstreams.extend(upstreams_of(&table));
    }
    // What no upstream can be called is left to be refused where the policy names it.
    upstreams.retain(|name| is_id(name));
    upstreams.sort();
    upstreams.dedup();
    let mut text = String::new();
    for upstream in &upstreams {
        let name = toml::Value::from(upstream.as_str());
        text.push_str(&format!("[upstreams.{name}]\nservers = [\"127.0.0.1:1\"]\n"));
    }
    let folder = policies.first().and_then(|policy| policy.parent()).unwrap_or(Path::new(""));
    let names = policies.iter().filter_map(|policy| policy.file_name()?.to_str()).map(toml::Value::from);
    text.push_str(&format!("[policies]\ninclude = {}\n", toml::Value::Array(names.collect())));
    let settings = folder.join("(settings made up for policies alone)");
    compiled(&settings, &Beside { settings: &settings, text, files })
}

fn upstreams_of(policy: &toml::Table) -> Vec<String> {
    let tables = |key: &str| match policy.get(key) {
        Some(toml::Value::Array(list)) => list.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let named = tables("realm").into_iter().chain(tables("route"));
    named.filter_map(|table| Some(table.get("upstream")?.as_str()?.to_owned())).collect()
}

/// Files, and one that only exists here.
struct Beside<'f> {
    settings: &'f Path,
    text: String,
    files: &'f dyn Files,
}

impl Files for Beside<'_> {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        if path == self.settings { Ok(self.text.clone()) } else { self.files.read(path) }
    }

    fn reads_secrets(&self) -> bool {
        false
    }
}

struct OnDisk;

impl Files for OnDisk {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        super::load::Disk { secrets: false }.read(path)
    }

    fn reads_secrets(&self) -> bool {
        false
    }
}

impl Shelf for OnDisk {
    fn list(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let entries = std::fs::read_dir(path).ok()?;
        Some(entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
    }
}

/// The files of one commit.
struct Tree {
    /// An existing folder of the repository, whole and without links.
    folder: PathBuf,
    /// The same, seen from the root of the repository.
    prefix: PathBuf,
    commit: String,
}

impl Tree {
    /// The commit that a revision names, in the repository that the path lies in.
    fn of(revision: &str, path: &Path) -> Result<Self, SetError> {
        let whole = absolute(path)?;
        // The path may be one of then; what is left of its folders is asked.
        let folder = whole.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("/"));
        let asked = git(folder, &["rev-parse", "--show-prefix"])?
            .map_err(|error| SetError::Missing(format!("{} is in no git repository: {error}", folder.display())))?;
        let wanted = format!("{revision}^{{commit}}");
        let commit = git(folder, &["rev-parse", "--verify", "--end-of-options", &wanted])?.map_err(|_| {
            let hint = "write a branch, a tag or a commit; `git log` shows them, `git fetch` brings more";
            SetError::Missing(format!("git knows no revision `{revision}`; {hint}"))
        })?;
        Ok(Self { folder: folder.to_owned(), prefix: asked.trim_end().into(), commit: commit.trim().to_owned() })
    }

    /// `COMMIT:PATH`, the path seen from the root of the repository.
    fn object(&self, path: &Path) -> Result<String, String> {
        let whole = absolute(path).map_err(|error| error.to_string())?;
        let common = self.folder.components().zip(whole.components()).take_while(|(own, other)| own == other).count();
        let up = self.folder.components().skip(common).map(|_| Component::ParentDir);
        let inside: PathBuf = self.prefix.components().chain(up).chain(whole.components().skip(common)).collect();
        let inside = normal(&inside).ok_or_else(|| format!("{} lies outside the git repository", path.display()))?;
        Ok(format!("{}:{}", self.commit, inside.display()))
    }
}

impl Files for Tree {
    fn read(&self, path: &Path) -> Result<String, Unread> {
        let object = self.object(path)?;
        Ok(git(&self.folder, &["cat-file", "blob", &object]).map_err(|error| error.to_string())??)
    }

    fn reads_secrets(&self) -> bool {
        false
    }
}

impl Shelf for Tree {
    fn list(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let object = self.object(path).ok()?;
        let listed = git(&self.folder, &["ls-tree", "-z", "--full-tree", "--name-only", &object]).ok()?.ok()?;
        Some(listed.split('\0').filter(|name| !name.is_empty()).map(|name| path.join(name)).collect())
    }
}

/// Runs git: its output, or what it complained of.
fn git(folder: &Path, words: &[&str]) -> Result<Result<String, String>, SetError> {
    // Its complaints are passed on, so they are asked for in one language.
    let mut command = Command::new("git");
    let output = command.arg("-C").arg(folder).args(words).env("LC_ALL", "C").output().map_err(SetError::NoGit)?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        return Ok(Err(complaint.trim().trim_start_matches("fatal: ").to_owned()));
    }
    Ok(String::from_utf8(output.stdout)
        .map_err(|error| format!("not UTF-8 at byte {}", error.utf8_error().valid_up_to())))
}

fn absolute(path: &Path) -> Result<PathBuf, SetError> {
    let whole = std::path::absolute(path).map_err(|error| SetError::Missing(format!("{}: {error}", path.display())))?;
    normal(&whole).ok_or_else(|| SetError::Missing(format!("{} is no path", path.display())))
}

/// The path without `.` and `..`; `None` when it leaves where it began.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            Component::Normal(_) | Component::RootDir | Component::Prefix(_) => normal.push(component),
        }
    }
    Some(normal)
}

#[cfg(test)]
mod tests;
