//! The command line: which command was asked for, and how its failure is told.
//!
//! Owns argument names and what is printed. Each command starts the same [`crate::boot::App`] as the tests do.

mod doctor;
mod keys;
mod run;
mod serve;

use crate::config::{Config, ConfigError, Overrides};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// Describe an app, watch an agent build it in an isolated sandbox, use it beside the chat.
#[derive(Debug, Parser)]
#[command(name = "sandcastle", version, about, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Settings every command takes. They win over the environment and `Leptos.toml`.
#[derive(Clone, Debug, Args)]
struct Settings {
    /// Address to listen on [default: 127.0.0.1:3000]
    #[arg(long, global = true, value_name = "IP:PORT")]
    addr: Option<SocketAddr>,
    /// Folder for projects and the database [default: ~/.local/share/sandcastle]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Settings file [default: Leptos.toml in the working directory, if there is one]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve the web interface and the API (the default)
    Serve,
    /// Check everything the server needs, by really creating a sandbox
    Doctor,
    /// Answer one prompt without a browser, then exit
    Run(run::RunArgs),
    /// Make, list and revoke keys for programs
    Keys(keys::KeysArgs),
}

/// Runs the command. Its failure is one line on stderr and exit status 1.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = Config::load(cli.settings.clone().into()).map_err(Failed::from).and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failed(format!("cannot start the runtime: {error}")))?;
        runtime.block_on(async {
            match cli.command.unwrap_or(Command::Serve) {
                Command::Serve => serve::serve(config).await,
                Command::Doctor => doctor::doctor(config).await,
                Command::Run(args) => run::run(config, args).await,
                Command::Keys(args) => keys::keys(&config, args).await,
            }
        })
    });
    outcome.unwrap_or_else(|Failed(message)| {
        eprintln!("error: {message}");
        ExitCode::FAILURE
    })
}

/// Why a command could not do its work, for the person at the terminal.
#[derive(Debug)]
struct Failed(String);

impl From<ConfigError> for Failed {
    fn from(error: ConfigError) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::boot::BootError> for Failed {
    fn from(error: crate::boot::BootError) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::store::StoreError> for Failed {
    fn from(error: crate::store::StoreError) -> Self {
        Self(error.to_string())
    }
}

impl From<crate::domain::ApiError> for Failed {
    fn from(error: crate::domain::ApiError) -> Self {
        Self(error.message)
    }
}

impl From<Settings> for Overrides {
    fn from(settings: Settings) -> Self {
        Self { addr: settings.addr, data_dir: settings.data_dir, config: settings.config }
    }
}

/// Prints for the person at the terminal; nobody reading is no reason to stop.
fn say(text: &str) {
    use std::io::Write as _;
    let _nobody_reads = writeln!(std::io::stdout(), "{}", text.trim_end());
}

/// Resolves at the first Ctrl-C or SIGTERM.
async fn interrupted() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        };
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn settings_may_stand_before_or_after_the_command() {
        for args in
            [["sandcastle", "--addr", "127.0.0.1:1", "doctor"], ["sandcastle", "doctor", "--addr", "127.0.0.1:1"]]
        {
            let cli = Cli::try_parse_from(args).unwrap();
            assert_eq!(cli.settings.addr, Some(([127, 0, 0, 1], 1).into()));
            assert!(matches!(cli.command, Some(Command::Doctor)));
        }
        assert!(Cli::try_parse_from(["sandcastle"]).unwrap().command.is_none());
        assert!(Cli::try_parse_from(["sandcastle", "run"]).is_err());
    }
}
