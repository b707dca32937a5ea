//! The verbs of the directory: accounts and credentials.
//!
//! Called by `cli::account` and `cli::credential`. What the words mean is judged there, or by the file.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{ConfigArgs, Format};
use crate::config::value::Period;

/// Which accounts file.
#[derive(Clone, Debug, ClapArgs)]
pub struct FileArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// The accounts file; by default the one that the settings name.
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// `account …`
#[derive(Debug, Subcommand)]
pub enum AccountVerb {
    /// Add an account below another one.
    #[command(
        after_help = "Examples:\n  portcullis account add cus-43 --role customer --parent res-7\n  printf '%s' 'correct horse' | portcullis account add cus-44 --role customer --parent res-7 \\\n    --email ops@customer.example --password-stdin\n\nThe role must be below those of the accounts above it in every realm that knows both."
    )]
    Add {
        /// Its id: 1 to 64 of A-Z a-z 0-9 . _ ~ -
        id: String,
        /// One of the realms' roles, like customer.
        #[arg(long)]
        role: String,
        /// The account above it; without one it is a root.
        #[arg(long)]
        parent: Option<String>,
        /// For login.
        #[arg(long)]
        email: Option<String>,
        /// Read a password from standard input and store its hash.
        #[arg(long, requires = "email")]
        password_stdin: bool,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
    /// Refuse an account and everything below it.
    #[command(
        after_help = "Example:\n  portcullis account suspend cus-42\n\nRunning gateways refuse it within a second, with every credential and token. `account resume` lifts it."
    )]
    Suspend {
        /// Its id.
        id: String,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
    /// Let a suspended account call again.
    #[command(
        after_help = "Example:\n  portcullis account resume cus-42\n\nAn account below a suspended one stays refused; `account list` shows it."
    )]
    Resume {
        /// Its id.
        id: String,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
    /// Put an account, with everything below it, below another one.
    #[command(
        after_help = "Examples:\n  portcullis account move cus-42 --parent res-8\n  portcullis account move cus-42 --root"
    )]
    Move {
        /// Its id.
        id: String,
        /// The account above it from now on.
        #[arg(long, required_unless_present = "root", conflicts_with = "root")]
        parent: Option<String>,
        /// Make it a root.
        #[arg(long)]
        root: bool,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
    /// List all accounts as a tree.
    #[command(
        after_help = "Examples:\n  portcullis account list\n  portcullis account list --format json --file /etc/portcullis/accounts.toml"
    )]
    List {
        /// How the list is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
}

/// Which pepper a new key gets.
#[derive(Clone, Debug, ClapArgs)]
pub struct PepperArgs {
    /// The pepper for the key's digest; by default the first of `directory.peppers` in the settings, if there is one.
    #[arg(long, value_name = "ID", conflicts_with = "no_pepper")]
    pub pepper: Option<String>,
    /// Store a plain SHA-256 of the key.
    #[arg(long)]
    pub no_pepper: bool,
}

/// `credential …`
#[derive(Debug, Subcommand)]
pub enum CredentialVerb {
    /// Make an API id and key; the key is shown once and stored only as a digest.
    #[command(
        after_help = "Examples:\n  portcullis credential new --account cus-42 --realm ucaas --label 'billing' \\\n    --not-after 2027-01-01T00:00:00Z\n  portcullis credential new --account cus-42 --realm ucaas --realm cpaas --pepper p2"
    )]
    New {
        /// Whose it is.
        #[arg(long)]
        account: String,
        /// Where it is good; may be repeated. Without one: in every realm.
        #[arg(long = "realm")]
        realms: Vec<String>,
        /// A note shown in `credential list`, at most 200 printable characters.
        #[arg(long)]
        label: Option<String>,
        /// Good from this time on, like 2026-12-01T00:00:00Z or 2026-12-01T00:00:00+01:00.
        #[arg(long, value_name = "TIME")]
        not_before: Option<String>,
        /// Good before this time, like 2027-01-01T00:00:00Z.
        #[arg(long, value_name = "TIME")]
        not_after: Option<String>,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        pepper: PepperArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
    /// Replace an API id and key by new ones; the old key goes on for a while.
    #[command(
        after_help = "Examples:\n  portcullis credential rotate 0a1b2c                  # both keys are good for 24 hours\n  portcullis credential rotate 0a1b2c --overlap 7d --not-after 2028-01-01T00:00:00Z\n  portcullis credential rotate 0a1b2c --overlap 0s     # the key leaked: the old one ends now\n\nAccount, realms and label stay. To change the pepper of all keys, put the new one first in [directory] peppers, rotate what `credential list` shows with the old one, and drop that when none is left."
    )]
    Rotate {
        /// The API id to replace.
        id: String,
        /// How long the old key stays good, like 30m, 24h or 7d; 0s ends it at once.
        #[arg(long, default_value = "24h", value_parser = period)]
        overlap: Period,
        /// The new key is good before this time; without one it has no end.
        #[arg(long, value_name = "TIME")]
        not_after: Option<String>,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        pepper: PepperArgs,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
    /// Remove an API id and key: calls with it are refused at once.
    #[command(after_help = "Example:\n  portcullis credential revoke 0a1b2c")]
    Revoke {
        /// The API id.
        id: String,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
    /// List all credentials; keys are never shown.
    #[command(
        after_help = "Examples:\n  portcullis credential list\n  portcullis credential list --account cus-42 --format json"
    )]
    List {
        /// Only those of this account.
        #[arg(long)]
        account: Option<String>,
        /// How the list is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        file: FileArgs,
    },
}

fn period(text: &str) -> Result<Period, &'static str> {
    Period::parse(text).ok_or("write a whole number and ms, s, m, h or d, like 24h")
}
