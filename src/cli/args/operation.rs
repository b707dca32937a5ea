//! The verbs that talk to a running gateway: sessions, lock-outs, reload.
//!
//! Called by `cli::token`, `cli::lockout` and `cli::reload`. Where the gateway is and what it asks for is found out by
//! `cli::remote`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::{ConfigArgs, Format};

/// Which gateway.
#[derive(Clone, Debug, ClapArgs)]
pub struct RemoteArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// Its admin listener, like http://127.0.0.1:8081; by default the one that the settings name.
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// A file with the admin token; by default $PORTCULLIS_ADMIN_TOKEN, then the settings' admin_token.
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// `token …`
#[derive(Debug, Subcommand)]
pub enum TokenVerb {
    /// List the sessions of an account that go on, oldest first.
    #[command(
        after_help = "Examples:\n  portcullis token list --account usr-1\n  portcullis token list --account usr-1 --format json --admin http://10.0.0.5:8081 \\\n    --admin-token-file /etc/portcullis/admin-token"
    )]
    List {
        /// Whose.
        #[arg(long)]
        account: String,
        /// How the list is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        remote: RemoteArgs,
    },
    /// End sessions before their time, in every gateway of the installation.
    #[command(
        after_help = "Examples:\n  portcullis token revoke --jti 5f2c…        # one session, as `token list` names it\n  portcullis token revoke --account usr-1    # all of one account\n  portcullis token revoke --subtree cus-42   # all of an account and of everything below it\n\nWhoever may still log in gets new tokens; `portcullis account suspend` prevents that."
    )]
    Revoke {
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        what: RevokeArgs,
        /// How the outcome is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        remote: RemoteArgs,
    },
}

/// What to revoke.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub struct RevokeArgs {
    /// The session with this id.
    #[arg(long)]
    pub jti: Option<String>,
    /// All sessions of this account.
    #[arg(long)]
    pub account: Option<String>,
    /// All sessions of this account and of every account below it.
    #[arg(long)]
    pub subtree: Option<String>,
}

/// `lockout …`
#[derive(Debug, Subcommand)]
pub enum LockoutVerb {
    /// List who has failed, how often, and until when they are locked.
    #[command(after_help = "Example:\n  portcullis lockout list --format json")]
    List {
        /// How the list is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        remote: RemoteArgs,
    },
    /// Forget failures and locks, in every gateway of the installation.
    #[command(
        after_help = "Examples:\n  portcullis lockout clear 'pair:ops@customer.example@203.0.113.7'\n  portcullis lockout clear --all"
    )]
    Clear {
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        what: ClearArgs,
        /// How the outcome is written.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        #[command(flatten)]
        #[allow(missing_docs, reason = "flattened")]
        remote: RemoteArgs,
    },
}

/// What to forget.
#[derive(Debug, ClapArgs)]
#[group(required = true, multiple = false)]
pub struct ClearArgs {
    /// The key, as `lockout list` names it.
    pub key: Option<String>,
    /// Every key that the gateway knows.
    #[arg(long)]
    pub all: bool,
}

/// `reload`
#[derive(Debug, ClapArgs)]
pub struct ReloadArgs {
    /// Wait until the new files are in effect or refused. It is what this verb always does; for scripts that say so.
    #[arg(long)]
    pub wait: bool,
    /// How the outcome is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub remote: RemoteArgs,
}
