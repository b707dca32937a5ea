//! What can be typed: every verb with its options and an example.
//!
//! Called by `main`, which parses, and by each verb for its own options.

mod directory;
mod operation;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub use self::directory::{AccountVerb, CredentialVerb, FileArgs, PepperArgs};
pub use self::operation::{ClearArgs, LockoutVerb, ReloadArgs, RemoteArgs, RevokeArgs, TokenVerb};

/// API gateway for the UCaaS and CPaaS APIs.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, long_about = None, propagate_version = true, max_term_width = 100)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the gateway.
    #[command(
        after_help = "Examples:\n  portcullis serve\n  PORTCULLIS_TOKEN_KEY=$(openssl rand -hex 32) portcullis serve -c /etc/portcullis/gateway.toml"
    )]
    Serve(ServeArgs),
    /// Run a gateway with fresh sample accounts and two sample upstreams; nothing is kept.
    #[command(after_help = "Example:\n  portcullis demo --listen 127.0.0.1:9000 --admin 127.0.0.1:9001")]
    Demo(DemoArgs),
    /// Read every file and report all faults, each with its place and remedy.
    #[command(
        after_help = "Examples:\n  portcullis check\n  portcullis check -c new/gateway.toml --format json\n  portcullis check --print\n\nExit codes: 0 good (warnings allowed), 2 faults."
    )]
    Check(CheckArgs),
    /// Show who may call what, on whose data.
    #[command(
        after_help = "Examples:\n  portcullis routes\n  portcullis routes --role customer --path /users\n  portcullis routes --public"
    )]
    Routes(RoutesArgs),
    /// Judge one request and show every check.
    #[command(
        after_help = "Examples:\n  portcullis explain --as customer:cus-42 GET /ucaas/v1/customers/cus-42\n  portcullis explain --as user:usr-1 --lineage root/res-7/cus-42/usr-1 GET /ucaas/v1/meetings -H 'X-App-Type: vc'\n  portcullis explain --as anonymous POST /ucaas/v1/session/join -H 'X-Api-Id: abc'\n  portcullis explain --as credential:0a1b2c GET /cpaas/projects\n\nExit codes: 0 permit, 3 deny."
    )]
    Explain(ExplainArgs),
    /// Run the policies' own tests.
    #[command(
        after_help = "Examples:\n  portcullis test\n  portcullis test --min-coverage 100\n\nExit codes: 0 all hold, 1 not."
    )]
    Test(TestArgs),
    /// List every reason for a refusal, with what the client is told.
    Reasons(FormatArgs),
    /// Turn a password (standard input) into a record for accounts.toml.
    #[command(after_help = "Example:\n  printf '%s' 'correct horse' | portcullis password")]
    Password,
    /// Edit or list the accounts of the directory.
    #[command(subcommand)]
    Account(AccountVerb),
    /// Make, replace, end or list API keys.
    #[command(subcommand)]
    Credential(CredentialVerb),
    /// List or end sessions of a running gateway.
    #[command(subcommand)]
    Token(TokenVerb),
    /// List or forget failures and locks of a running gateway.
    #[command(subcommand)]
    Lockout(LockoutVerb),
    /// Let a running gateway read its files again, whole or not at all.
    #[command(
        after_help = "Examples:\n  portcullis check && portcullis reload --wait\n  portcullis reload --wait --admin http://10.0.0.5:8081 --admin-token-file /etc/portcullis/admin-token\n\nExit codes: 0 in effect, 65 refused (faults, or a key that needs a restart), 69 unreachable."
    )]
    Reload(ReloadArgs),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  portcullis completions bash > /etc/bash_completion.d/portcullis")]
    Completions(CompletionsArgs),
}

/// Which settings to read.
#[derive(Clone, Debug, ClapArgs)]
pub struct ConfigArgs {
    /// The gateway's settings.
    #[arg(short, long, default_value = "gateway.toml", value_name = "FILE")]
    pub config: PathBuf,
}

/// `serve`
#[derive(Debug, ClapArgs)]
pub struct ServeArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
}

/// `demo`
#[derive(Debug, ClapArgs)]
pub struct DemoArgs {
    /// Address for clients.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address for operators.
    #[arg(long, default_value = "127.0.0.1:8081")]
    pub admin: SocketAddr,
    /// Where accounts come from: the process itself, or a sample service asked over HTTP like a provisioning service.
    #[arg(long, value_enum, default_value_t = DemoDirectory::File)]
    pub directory: DemoDirectory,
}

/// `demo --directory`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoDirectory {
    /// In the process, like those of an accounts file.
    File,
    /// A sample of the provisioning service, on a port of its own.
    Https,
}

/// `check`
#[derive(Debug, ClapArgs)]
pub struct CheckArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// How findings are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Print the settings in effect, secrets redacted.
    #[arg(long, conflicts_with = "format")]
    pub print: bool,
}

/// `routes`
#[derive(Debug, ClapArgs)]
pub struct RoutesArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// Only what needs no credential.
    #[arg(long)]
    pub public: bool,
    /// Only what this role may call.
    #[arg(long)]
    pub role: Option<String>,
    /// Only paths that contain this text.
    #[arg(long)]
    pub path: Option<String>,
    /// Only what goes to this upstream.
    #[arg(long)]
    pub upstream: Option<String>,
    /// How the list is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `explain`
#[derive(Debug, ClapArgs)]
pub struct ExplainArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// Who calls: ROLE:ACCOUNT, credential:ID or anonymous.
    #[arg(long = "as", value_name = "WHO", default_value = "anonymous")]
    pub caller: String,
    /// The caller's place in the tree, root first, when no file knows the account.
    #[arg(long, value_name = "A/B/C")]
    pub lineage: Option<String>,
    /// From which address it calls.
    #[arg(long, default_value = "127.0.0.1")]
    pub client: std::net::IpAddr,
    /// GET, POST, …
    pub method: String,
    /// Path and query as the client sends them.
    pub path: String,
    /// A header of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `test`
#[derive(Debug, ClapArgs)]
pub struct TestArgs {
    #[command(flatten)]
    #[allow(missing_docs, reason = "flattened")]
    pub config: ConfigArgs,
    /// Fail below this share. Counted on each route: every role and an anonymous caller tried, one permit, one refusal.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(0..=100))]
    pub min_coverage: Option<u8>,
}

/// A listing.
#[derive(Debug, ClapArgs)]
pub struct FormatArgs {
    /// How the list is written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// `completions`
#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// bash, elvish, fish, powershell or zsh.
    pub shell: clap_complete::Shell,
}

/// How something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}
