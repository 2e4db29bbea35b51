//! Waiting until what a template starts is ready.

use super::hub::Hub;
use super::output::Seen;
use crate::sandbox::provider::{ExitStatus, Instance, ProcessConfig};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two tries.
const PERIOD: Duration = Duration::from_millis(100);
/// What the SDKs' `waitForPort` asks, around the port.
const PORT_QUESTION: (&str, &str) = ("[ -n \"$(ss -Htuln sport = :", ")\" ]");

/// A line for the login shell.
pub(super) fn shell(line: &str, workdir: Option<&str>, envs: BTreeMap<String, String>) -> ProcessConfig {
    ProcessConfig {
        cmd: "/bin/bash".to_owned(),
        args: vec!["-l".to_owned(), "-c".to_owned(), line.to_owned()],
        cwd: workdir.unwrap_or_default().to_owned(),
        envs,
        ..ProcessConfig::default()
    }
}

/// Asks until the answer is yes. After the limit: what was said last, behind a colon.
pub(super) async fn until_ready(
    hub: &Arc<Hub>,
    instance: &dyn Instance,
    question: ProcessConfig,
    limit: Duration,
) -> Result<(), String> {
    let until = Instant::now() + limit;
    let port = question.args.last().and_then(|line| asked_port(line));
    let mut last = String::new();
    loop {
        let ready = match port {
            // Asked from outside, because `ss` is not on every host.
            Some(port) => instance.open_ports().await.is_ok_and(|open| open.contains(&port)),
            None => match tokio::time::timeout_at(until, ask(hub, &question)).await {
                Ok((ready, said)) => {
                    last = said;
                    ready
                }
                Err(_) => false,
            },
        };
        if ready {
            return Ok(());
        }
        if Instant::now() + PERIOD > until || instance.closed().is_cancelled() {
            return Err(if last.is_empty() { last } else { format!(": {last}") });
        }
        tokio::time::sleep(PERIOD).await;
    }
}

async fn ask(hub: &Arc<Hub>, question: &ProcessConfig) -> (bool, String) {
    let mut viewer = match hub.start(question.clone(), None).await {
        Ok((_, viewer)) => viewer,
        Err(error) => return (false, error.to_string()),
    };
    let mut said = Vec::new();
    loop {
        match viewer.next().await {
            Seen::Output(_, bytes) => said.extend_from_slice(&bytes[..bytes.len().min(1000)]),
            Seen::End(ExitStatus { code, .. }) => {
                let said = String::from_utf8_lossy(&said);
                let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
                return (code == Some(0), last.chars().take(300).collect());
            }
            Seen::Lost => return (false, String::new()),
        }
        said.truncate(4000);
    }
}

fn asked_port(line: &str) -> Option<u16> {
    line.strip_prefix(PORT_QUESTION.0)?.strip_suffix(PORT_QUESTION.1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_for_a_port_is_recognised_and_nothing_else() {
        assert_eq!(asked_port("[ -n \"$(ss -Htuln sport = :8000)\" ]"), Some(8000));
        assert_eq!(asked_port("[ -n \"$(ss -Htuln sport = :8000)\" ] && true"), None);
        assert_eq!(asked_port("curl -s localhost"), None);
    }
}
