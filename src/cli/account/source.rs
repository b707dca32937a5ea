//! Where the accounts are, and what the settings say about them.
//!
//! Called by `account` and `credential`. It reads `gateway.toml` itself and no further than the directory's keys, so
//! that an account can be suspended while a policy has a fault or a secret of the gateway is out of reach.

use std::collections::HashMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::cli::args::{FileArgs, RemoteArgs};
use crate::cli::remote::Remote;
use crate::cli::{Exit, Stop};
use crate::config::diag::suggest;
use crate::config::load::{Disk, load};
use crate::config::plain_file::{LONGEST_FILE, read_text};
use crate::config::secret::Secret;
use crate::config::settings::beside;
use crate::config::value::SecretSource;
use crate::directory::edit::{AccountFile, EditError, Ranks, edit_file, read_file};

/// The roles and realms of the policies; empty where they could not be read.
#[derive(Default)]
pub(in crate::cli) struct Words {
    pub ranks: Ranks,
    roles: Vec<Box<str>>,
    realms: Vec<Box<str>>,
}

impl Words {
    /// Reads the policies. What cannot be checked without them is said on standard error, and is no reason to stop.
    ///
    /// # Errors
    /// There is no file to edit, so that nothing has to be checked.
    pub(in crate::cli) fn read(file: &FileArgs) -> Result<Self, Stop> {
        path(file)?;
        let config = &file.config.config;
        let Some(config) = load(config, &Disk { secrets: false }).config else {
            let note = format!(
                "portcullis: note: names of roles and realms, and which role may be below which, are not checked: {} has \
                 faults or is not there (`portcullis check`)",
                config.display()
            );
            // The edit does not depend on anybody reading this.
            let _ = writeln!(anstream::stderr(), "{note}");
            return Ok(Self::default());
        };
        let realms = config.snapshot.realms();
        Ok(Self {
            ranks: Ranks::new(realms.iter().map(|realm| (realm.name.clone(), realm.roles.clone()))),
            roles: realms.iter().flat_map(|realm| realm.roles.clone()).collect(),
            realms: realms.iter().map(|realm| realm.name.clone()).collect(),
        })
    }

    /// Refuses a role that no policy knows, so that a typing error does not end up in the file.
    ///
    /// # Errors
    /// What was perhaps meant.
    pub(in crate::cli) fn check_role(&self, role: &str) -> Result<(), Stop> {
        known_word("role", role, &self.roles)
    }

    /// The same for a realm.
    ///
    /// # Errors
    /// What was perhaps meant.
    pub(in crate::cli) fn check_realm(&self, realm: &str) -> Result<(), Stop> {
        known_word("realm", realm, &self.realms)
    }
}

fn known_word(kind: &str, word: &str, known: &[Box<str>]) -> Result<(), Stop> {
    if known.is_empty() || known.iter().any(|name| **name == *word) {
        return Ok(());
    }
    let mut known: Vec<&str> = known.iter().map(|name| &**name).collect();
    known.sort_unstable();
    known.dedup();
    Err(Stop::usage(format!("no policy has a {kind} `{word}`; {}", suggest(word, known))))
}

/// Reads the accounts.
///
/// # Errors
/// A file that cannot be read, what `look` does not find, or a directory that is no file.
pub(in crate::cli) fn read<T>(
    file: &FileArgs,
    look: impl FnOnce(&AccountFile) -> Result<T, EditError>,
) -> Result<T, Stop> {
    let path = path(file)?;
    read_file(&path).and_then(|accounts| look(&accounts)).map_err(|error| refused(&path, &error))
}

/// Edits the accounts.
///
/// # Errors
/// What the file does not allow, with its name in front, or a directory that is no file.
pub(in crate::cli) fn edit<T>(
    file: &FileArgs,
    change: impl FnOnce(&mut AccountFile) -> Result<T, EditError>,
) -> Result<T, Stop> {
    let path = path(file)?;
    edit_file(&path, change).map_err(|error| refused(&path, &error))
}

fn refused(path: &Path, error: &EditError) -> Stop {
    let named = format!("{}: {error}", path.display());
    let (message, exit) = match error {
        EditError::BadName { .. }
        | EditError::BadEmail { .. }
        | EditError::BadPassword
        | EditError::BadLabel { .. }
        | EditError::BadTime { .. }
        | EditError::Past { .. }
        | EditError::NeverGood { .. }
        | EditError::FarOverlap => (error.to_string(), Exit::Usage),
        EditError::Unreadable { .. }
        | EditError::AccountExists { .. }
        | EditError::UnknownAccount { .. }
        | EditError::UnknownParent { .. }
        | EditError::UnknownCredential { .. }
        | EditError::EmailTaken { .. }
        | EditError::NotGoodYet { .. }
        | EditError::Rank { .. }
        | EditError::Cycle { .. }
        | EditError::TooDeep { .. } => (named, Exit::BadFiles),
        // These name a path or a pepper themselves.
        EditError::Missing { .. } | EditError::BadPepper { .. } => (error.to_string(), Exit::BadFiles),
        EditError::Random(_)
        | EditError::Unshown(_)
        | EditError::Owner { .. }
        | EditError::Directory { .. }
        | EditError::Io { .. } => (error.to_string(), Exit::Failed),
    };
    Stop { message, exit }
}

/// The accounts file: `--file`, or the one that the settings name.
fn path(file: &FileArgs) -> Result<PathBuf, Stop> {
    if let Some(path) = &file.file {
        return Ok(path.clone());
    }
    let settings = &file.config.config;
    let excerpt = Excerpt::read(settings)?.ok_or_else(|| {
        bad_files(format!("{} does not exist; name it with `-c`, or the accounts with `--file`", settings.display()))
    })?;
    let url = excerpt.directory.url.unwrap_or_else(|| DEFAULT_URL.to_owned());
    match url.strip_prefix("file:") {
        Some(path) if !path.is_empty() => Ok(beside(&settings.display().to_string(), path)),
        Some(_) | None => Err(bad_files(format!(
            "the accounts are kept by the provisioning service, not in a file: {} has [directory] url = \"{}\"; change \
             them there, or name a file with `--file`",
            settings.display(),
            without_password(&url)
        ))),
    }
}

/// `redis://user:password@host` → `redis://host`
fn without_password(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |(_, host)| host)),
        None => url.to_owned(),
    }
}

/// Which pepper a new key is to have.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum PepperChoice<'a> {
    /// The first of the settings, none where they have none.
    First,
    /// The one with this id.
    Named(&'a str),
    /// None.
    Plain,
}

/// The id and secret of a pepper. No other secret is read.
///
/// # Errors
/// Settings or a secret that cannot be read, an id that they do not have.
pub(in crate::cli) fn pepper(file: &FileArgs, choice: PepperChoice<'_>) -> Result<Option<(String, Secret)>, Stop> {
    let wanted = match choice {
        PepperChoice::Plain => return Ok(None),
        PepperChoice::First => None,
        PepperChoice::Named(id) => Some(id),
    };
    let settings = &file.config.config;
    let excerpt = match Excerpt::read(settings) {
        // Settings that have a fault may ask for a pepper, and a key without one would be less than was asked for.
        Err(stop) => return Err(Stop { message: format!("{}; `--no-pepper` goes without", stop.message), ..stop }),
        Ok(excerpt) => excerpt.unwrap_or_default(),
    };
    let peppers = excerpt.directory.peppers;
    let found = peppers.iter().find(|pepper| wanted.is_none_or(|id| pepper.id == id));
    let (pepper, id) = match (found, wanted) {
        (Some(pepper), _) => (pepper, &pepper.id),
        (None, None) => return Ok(None),
        (None, Some(id)) => {
            let hint = match suggest(id, peppers.iter().map(|pepper| pepper.id.as_str())) {
                known if known.is_empty() => "add it to [directory] peppers".to_owned(),
                known => known,
            };
            return Err(Stop::usage(format!("{} has no pepper `{id}`; {hint}", settings.display())));
        }
    };
    let folder = settings.parent().unwrap_or(Path::new(""));
    let secret = Secret::read(&pepper.secret, folder).map_err(|(message, _)| {
        bad_files(format!("pepper `{id}`: {message}; run this where the gateway's secrets are, or with `--no-pepper`"))
    })?;
    Ok(Some((id.clone(), secret)))
}

/// When each API id was last used, in seconds since 1970, as far as the running gateway knows; `None` where it
/// cannot be asked.
pub(in crate::cli) fn last_used(file: &FileArgs) -> Option<HashMap<String, u64>> {
    if !file.config.config.exists() {
        return None;
    }
    let gateway = RemoteArgs { config: file.config.clone(), admin: None, admin_token_file: None };
    // The list is worth seeing without it, and nobody wants to wait for a gateway that is not there.
    let answer = Remote::new(&gateway, Duration::from_secs(1)).ok()?.read("/credentials", None).ok()?;
    let (rows, _): (Vec<Use>, _) = answer.ok().ok()?;
    Some(rows.into_iter().map(|row| (row.id, row.last_used)).collect())
}

/// A row of `GET /credentials`.
#[derive(Deserialize)]
struct Use {
    id: String,
    last_used: u64,
}

/// The keys of `gateway.toml` that are needed here; `check` judges the rest.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Excerpt {
    directory: DirectoryKeys,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DirectoryKeys {
    url: Option<String>,
    peppers: Vec<PepperKeys>,
}

#[derive(Deserialize)]
struct PepperKeys {
    id: String,
    secret: SecretSource,
}

impl Excerpt {
    /// `None` when there is no such file.
    fn read(settings: &Path) -> Result<Option<Self>, Stop> {
        let text = match read_text(settings, LONGEST_FILE) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(bad_files(format!("cannot read {}: {error}", settings.display()))),
        };
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        // What the parser says is left out: it repeats values, and one of them may be a secret written there by mistake.
        toml::from_str(text)
            .map(Some)
            .map_err(|_| bad_files(format!("{} has a fault; `portcullis check -c {0}` shows it", settings.display())))
    }
}

fn bad_files(message: String) -> Stop {
    Stop { message, exit: Exit::BadFiles }
}

const DEFAULT_URL: &str = "file:policies/accounts.toml";

#[cfg(test)]
mod tests;
