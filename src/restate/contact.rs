//! Keeps this server and Restate in agreement: registers the server, notices when Restate cannot be reached, and
//! compares the runs that are open here with the invocations that are live there.

use super::client::RestateError;
use super::desk::{Desk, Leftover};
use super::service::SERVICE;
use super::{ID_KEY, Identity};
use crate::domain::RunId;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

/// Between two tries to reach Restate, growing up to the second.
const RETRY: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(2)];
/// Between two looks whether it is still there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two comparisons.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
const COMPARE_AGAIN: Duration = Duration::from_secs(1);

/// Keeps contact with Restate.
pub(super) struct Contact {
    desk: Arc<Desk>,
    uri: String,
    identity: Identity,
}

impl Contact {
    /// For a server that takes calls at `uri`.
    pub(super) fn new(desk: Arc<Desk>, uri: String, identity: Identity) -> Self {
        Self { desk, uri, identity }
    }

    /// Keeps contact until it is dropped.
    pub(super) async fn keep(self) {
        let Some(mut leftovers) = self.desk.take_leftovers() else { return };
        let mut wait = RETRY[0];
        loop {
            let lost = match self.connect().await {
                Ok(()) => {
                    wait = RETRY[0];
                    if self.desk.note_trouble(None) {
                        tracing::info!(admin = self.desk.client.admin_address(), "Restate decides when tasks run");
                    }
                    self.hold(&mut leftovers).await
                }
                Err(error) => error.to_string(),
            };
            if self.desk.note_trouble(Some(lost.clone())) {
                tracing::warn!("{lost}. Task runs wait, and go on by themselves when it answers.");
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(RETRY[1]);
        }
    }

    /// Registers this server, or tells where it is now.
    async fn connect(&self) -> Result<(), RestateError> {
        let client = &self.desk.client;
        client.check().await?;
        let all = client.deployments().await?;
        let with_runs = |deployment: &&_| has_runs(deployment);
        match all.iter().find(with_runs) {
            None => client.register(&self.uri, &self.identity).await,
            Some(ours) if ours.metadata.get(ID_KEY) == Some(&self.identity.id) => {
                client.move_to(&ours.id, &self.uri, &self.identity).await
            }
            Some(other) => Err(RestateError::Foreign {
                address: client.admin_address().to_owned(),
                deployment: other.id.clone(),
                uri: other.uri.clone(),
            }),
        }
    }

    /// Stays in contact until it is lost, and says why.
    async fn hold(&self, leftovers: &mut UnboundedReceiver<Leftover>) -> String {
        let mut troubles = self.desk.troubles();
        let mut look = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
        let mut compare = interval(COMPARE_EVERY);
        compare.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                lost = some(&mut troubles) => return lost,
                Some((run, invocation)) = leftovers.recv() => self.end(&run, &invocation).await,
                _ = look.tick() => self.desk.client.check().await,
                _ = compare.tick() => match self.compare().await {
                    // A server that has just started cannot tell yet.
                    Err(RestateError::Refused { message, .. }) => {
                        tracing::debug!(message, "Restate's invocations cannot be compared yet");
                        compare.reset_after(COMPARE_AGAIN);
                        Ok(())
                    }
                    other => other,
                },
            };
            if let Err(error) = done {
                return error.to_string();
            }
        }
    }

    /// Has Restate forget an invocation whose run has ended without it. One whose run only left this process, because the
    /// server stops, is needed again after the next start.
    async fn end(&self, run: &RunId, invocation: &str) -> Result<(), RestateError> {
        match self.desk.runs.record(run).await {
            Ok(run) if run.summary.status.is_final() => {}
            Err(error) if error.is_not_found() => {}
            _ => return Ok(()),
        }
        match self.desk.client.kill(invocation).await {
            // It ended by itself.
            Err(RestateError::Refused { .. }) => Ok(()),
            other => other,
        }
    }

    /// Announces runs anew that Restate does not know any more, and has invocations go on that do not by themselves.
    async fn compare(&self) -> Result<(), RestateError> {
        let asked_at = self.desk.executor.clock().now_ms();
        let live = self.desk.client.live().await?;
        for stuck in live.iter().filter(|invocation| matches!(invocation.status.as_str(), "paused" | "backing-off")) {
            match self.desk.client.resume(&stuck.id).await {
                Ok(()) | Err(RestateError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let live: HashSet<&str> = live.iter().map(|invocation| invocation.id.as_str()).collect();
        for (run, link) in self.desk.open_runs() {
            let announced = link.watch().borrow().announced.clone();
            // What was announced meanwhile need not be in the answer.
            if announced.is_some_and(|told| told.at < asked_at && !live.contains(told.invocation.as_str())) {
                tracing::warn!(%run, "Restate does not know the run any more; it is told again");
                link.note_announced(None);
            }
        }
        Ok(())
    }
}

/// The next trouble.
async fn some(troubles: &mut watch::Receiver<Option<String>>) -> String {
    // The sender lives as long as the desk.
    troubles.wait_for(Option::is_some).await.ok().and_then(|trouble| trouble.clone()).unwrap_or_default()
}

fn has_runs(deployment: &super::client::Deployment) -> bool {
    deployment.services.iter().any(|service| service.name == SERVICE)
}
