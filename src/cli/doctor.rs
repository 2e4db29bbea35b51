//! `sandcastle doctor`: everything the server needs, really tried, each failure with its fix.

use super::Failed;
use crate::boot;
use crate::config::Config;
use crate::llm::{Catalog, Endpoint, StreamLimits};
use crate::sandbox::provider::{Check, CheckState};
use crate::store::{Store, StoreError};
use std::process::ExitCode;

/// Prints the checks. Exit status 1 if one failed.
pub(super) async fn doctor(config: Config) -> Result<ExitCode, Failed> {
    crate::telemetry::init("off");
    let provider = boot::providers(&config)?.projects;
    let mut checks = vec![data_folder(&config).await, address(&config).await, browser_files(&config)];
    checks.extend(provider.doctor().await);
    checks.push(model(&config).await);
    super::say(&table(&checks));
    let failed = checks.iter().any(|check| check.state == CheckState::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn table(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let state = match check.state {
            CheckState::Ok => "ok  ",
            CheckState::Degraded => "warn",
            CheckState::Failed => "FAIL",
        };
        text.push_str(&format!("{state}  {:width$}  {}\n", check.name, check.detail));
        if let Some(fix) = check.fix.as_ref().filter(|_| check.state != CheckState::Ok) {
            text.push_str(&format!("      {:width$}  fix: {fix}\n", ""));
        }
    }
    text
}

fn check(name: &str, state: CheckState, detail: impl Into<String>, fix: Option<String>) -> Check {
    Check { name: name.to_owned(), state, detail: detail.into(), fix }
}

async fn data_folder(config: &Config) -> Check {
    let dir = &config.server.data_dir;
    let name = "data folder";
    match Store::open(dir).await {
        Ok(store) => {
            store.close().await;
            check(name, CheckState::Ok, dir.display().to_string(), None)
        }
        Err(StoreError::Locked { .. }) => {
            check(name, CheckState::Ok, format!("{}, in use by a running server", dir.display()), None)
        }
        Err(error) => check(name, CheckState::Failed, error.to_string(), None),
    }
}

async fn address(config: &Config) -> Check {
    let addr = config.server.addr;
    match tokio::net::TcpListener::bind(addr).await {
        Ok(_free) => check("address", CheckState::Ok, format!("{addr} is free"), None),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => check(
            "address",
            CheckState::Degraded,
            format!("{addr} is in use, by a running Sandcastle or another program"),
            Some("stop it, or choose another with --addr".to_owned()),
        ),
        Err(error) => check(
            "address",
            CheckState::Failed,
            format!("cannot listen on {addr}: {error}"),
            Some("choose another with --addr".to_owned()),
        ),
    }
}

fn browser_files(config: &Config) -> Check {
    let root = &config.server.site_root;
    let missing = crate::api::Site::load(&config.server).missing(root);
    if missing.is_empty() {
        return check("browser files", CheckState::Ok, root.display().to_string(), None);
    }
    check(
        "browser files",
        CheckState::Failed,
        format!("missing below {}: {}", root.display(), missing.join(", ")),
        Some("build them with `make build`, or set SANDCASTLE_SITE_ROOT".to_owned()),
    )
}

async fn model(config: &Config) -> Check {
    if !config.model.configured {
        let fix = "set AI_GATEWAY_API_KEY, or AI_GATEWAY_BASE_URL for a local server";
        return check(
            "model",
            CheckState::Degraded,
            "none configured: the recorded demo answers",
            Some(fix.to_owned()),
        );
    }
    let url = &config.model.base_url;
    // The demo is not asked for anything here, so it needs no address.
    let demo = Endpoint { base_url: String::new(), api_key: None };
    let catalog = Catalog::new(config.model.clone(), demo, StreamLimits::default(), false);
    match catalog.list().await {
        (models, None) => check("model", CheckState::Ok, format!("{url} offers {} models", models.len()), None),
        (_, Some(error)) => {
            let fix = "check AI_GATEWAY_BASE_URL and AI_GATEWAY_API_KEY";
            check("model", CheckState::Failed, format!("{url}: {error}"), Some(fix.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_a_fix_follows_what_needs_it() {
        let text = table(&[
            check("a", CheckState::Ok, "fine", Some("hidden".to_owned())),
            check("long", CheckState::Failed, "broken", Some("do this".to_owned())),
        ]);
        assert_eq!(text, "ok    a     fine\nFAIL  long  broken\n            fix: do this\n");
    }
}
