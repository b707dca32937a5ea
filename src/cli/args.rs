//! What can be typed: every verb with its options and an example.
//!
//! Called by `main`, which parses, and by each verb for its own options.

mod directory;
mod operation;
mod policy;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

pub use self::directory::{AccountVerb, CredentialVerb, FileArgs, PepperArgs};
pub use self::operation::{ClearArgs, LockoutVerb, ReloadArgs, RemoteArgs, RevokeArgs, TokenVerb};
pub use self::policy::{
    DiffArgs, ExplainArgs, FailOn, JudgedArgs, ReasonsArgs, ReasonsFormat, ReplayArgs, RoutesArgs, SchemaArgs,
    SchemaOf, TestArgs, WhyArgs,
};

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
        after_help = "Examples:\n  portcullis explain --as customer:cus-42 GET /ucaas/v1/customers/cus-42\n  portcullis explain --as user:usr-1 --lineage root/res-7/cus-42/usr-1 GET /ucaas/v1/meetings \\\n    -H 'X-App-Type: vc'\n  portcullis explain --as anonymous POST /ucaas/v1/session/join -H 'X-Api-Id: abc'\n  portcullis explain --as credential:0a1b2c GET /cpaas/projects\n  portcullis explain --live http://127.0.0.1:8081 --as customer:cus-42 GET /ucaas/v1/users/usr-1\n\nExit codes: 0 permit, 3 deny, 69 a gateway that cannot be reached."
    )]
    Explain(ExplainArgs),
    /// Run the policies' own tests.
    #[command(
        after_help = "Examples:\n  portcullis test\n  portcullis test --min-coverage 100 --mutate\n  portcullis test --junit report.xml\n\nExit codes: 0 all hold, 1 not."
    )]
    Test(TestArgs),
    /// Show the decisions that differ between two sets of policies.
    #[command(
        after_help = "A set is a gateway.toml, a folder that holds one, a policy file, or either as it was in a revision: git:REV for the file of -c, git:REV:PATH for another.\n\nExamples:\n  portcullis diff git:HEAD gateway.toml\n  portcullis diff old/ new/ --fail-on widened\n  portcullis diff policies/ucaas.toml new-ucaas.toml --format json\n\nExit codes: 0 compared, 3 a change that --fail-on names."
    )]
    Diff(DiffArgs),
    /// Judge the requests of an access log by other policies.
    #[command(
        after_help = "Examples:\n  portcullis replay --log access.log -c candidate/gateway.toml\n  portcullis replay --log access.log -c candidate/gateway.toml --was gateway.toml\n  journalctl -u portcullis -o cat | portcullis replay --log -"
    )]
    Replay(ReplayArgs),
    /// Explain a decision that stands in an access log.
    #[command(
        after_help = "Examples:\n  portcullis why 0193e4b2c1f04 --log /var/log/portcullis/access.log\n  portcullis why 0193e4b2c1f04 --log access.log --live http://127.0.0.1:8081\n\nExit codes: 0 permit, 3 deny, 1 an id that the log does not have."
    )]
    Why(WhyArgs),
    /// List every reason for a refusal, with what the client is told.
    #[command(after_help = "Examples:\n  portcullis reasons\n  portcullis reasons --format markdown")]
    Reasons(ReasonsArgs),
    /// Print the JSON Schema of a file, for editors and linters.
    #[command(after_help = "Example:\n  portcullis schema policy > policy.schema.json")]
    Schema(SchemaArgs),
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
        after_help = "Examples:\n  portcullis check && portcullis reload --wait\n  portcullis reload --wait --admin http://10.0.0.5:8081 \\\n    --admin-token-file /etc/portcullis/admin-token\n\nExit codes: 0 in effect, 65 refused (faults, or a key that needs a restart), 69 unreachable."
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
