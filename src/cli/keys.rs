//! `sandcastle keys`: makes, lists and revokes keys of programs, beside a running server or without one.

use super::{Failed, say};
use crate::config::Config;
use crate::domain::rfc3339;
use crate::store::{KeyKind, KeyStore};
use clap::{Args, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and print it, this once
    Create {
        /// What to call it
        name: String,
        /// The API it opens: e2b or trigger
        #[arg(long, default_value = "e2b", value_parser = parse_kind)]
        kind: KeyKind,
    },
    /// List the keys that work
    List,
    /// End a key; a running server ends what was made with it within seconds
    Revoke {
        /// Its id, or its name
        key: String,
    },
}

fn parse_kind(text: &str) -> Result<KeyKind, String> {
    KeyKind::parse(text).ok_or_else(|| "it is e2b or trigger".to_owned())
}

/// Does what was asked. A server that runs over the same data folder sees it at once.
pub(super) async fn keys(config: &Config, args: KeysArgs) -> Result<ExitCode, Failed> {
    let keys = KeyStore::open(&config.server.data_dir).await?;
    match args.action {
        Action::Create { name, kind } => {
            let (_, text) = keys.create(kind, &name).await?;
            say(&text);
        }
        Action::List => {
            for key in keys.list().await? {
                let made = rfc3339(key.created_at);
                let made = made.split('T').next().unwrap_or_default();
                say(&format!("{}  {:7}  …{}  {made}  {}", key.id, key.kind.name(), key.hint, key.name));
            }
        }
        Action::Revoke { key } => {
            let key = keys.revoke(&key).await?;
            say(&format!("revoked {} ({})", key.name, key.id));
        }
    }
    Ok(ExitCode::SUCCESS)
}
