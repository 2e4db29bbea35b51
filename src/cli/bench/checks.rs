//! What must be true of an app after its turn, looked at in its sandbox.

use super::prompts::Check;
use crate::domain::ProjectId;
use crate::sandbox::{CommandSpec, LogFrom};
use crate::services::Services;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A page may take so long.
const PAGE: Duration = Duration::from_secs(60);
/// A command may take so long.
const COMMAND: Duration = Duration::from_secs(300);
/// Bytes of output that are searched.
const OUTPUT: u64 = 256 * 1024;

/// The checks in order; each error says what is wrong.
pub(super) async fn run(services: &Services, project: &ProjectId, checks: &[Check]) -> Vec<Result<(), String>> {
    let mut results = Vec::new();
    for check in checks {
        results.push(one(services, project, check).await);
    }
    results
}

async fn one(services: &Services, project: &ProjectId, check: &Check) -> Result<(), String> {
    let sandbox = &services.sandbox;
    let never = CancellationToken::new();
    let (what, text) = if let Some(path) = &check.file {
        let file = sandbox.read_file(project, path).await.map_err(|error| error.to_string())?;
        (path.clone(), file.text.unwrap_or_default())
    } else if let Some(path) = &check.page {
        let state = services.store.events().state(project).await.map_err(|error| error.to_string())?;
        let port = state.preview.as_ref().map(|p| p.port).ok_or("the app was never shown")?;
        let (status, body) =
            sandbox.read_page(project, port, path, PAGE, &never).await.map_err(|error| error.to_string())?;
        let fits = check.status.map_or(status < 400, |wanted| wanted == status);
        if !fits {
            return Err(format!("{path} answers {status}"));
        }
        (path.clone(), body)
    } else {
        let line = check.command.clone().unwrap_or_default();
        let spec = CommandSpec { line: line.clone(), timeout: Some(COMMAND), ..CommandSpec::default() };
        let command = sandbox.start_command(project, spec).await.map_err(|error| error.to_string())?;
        let exit = sandbox.wait_command(project, &command, &never).await.map_err(|error| error.to_string())?;
        let log = sandbox.read_log(project, &command, LogFrom::Tail(OUTPUT), OUTPUT).await;
        let log = log.map_err(|error| error.to_string())?;
        if !exit.success() {
            return Err(format!("{line}: {}", exit.describe()));
        }
        (line, log.text)
    };
    match &check.contains {
        Some(words) if !text.to_lowercase().contains(&words.to_lowercase()) => {
            Err(format!("{what} does not contain \"{words}\""))
        }
        _ => Ok(()),
    }
}
