//! What a run waits for under Restate: that Restate has been told of it, and Restate's word.

use super::desk::{Announced, Desk, Link, Stage};
use crate::domain::{LogLevel, RunId, RunLog, RunStatus};
use crate::workflow::engine::{Pass, Turnstile};
use crate::workflow::executor::Entry;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A run that waits for longer until Restate can be told of it says so in its log.
const PATIENCE: Duration = Duration::from_secs(1);

/// The turnstile of one run.
pub(super) struct Turn {
    desk: Arc<Desk>,
    id: RunId,
    link: Arc<Link>,
    entry: Entry,
    moved: watch::Receiver<Option<u64>>,
    /// Whether Restate was told of the run since it was opened here.
    told: bool,
}

impl Turn {
    pub(super) fn new(
        desk: Arc<Desk>,
        id: RunId,
        link: Arc<Link>,
        entry: Entry,
        moved: watch::Receiver<Option<u64>>,
    ) -> Self {
        Self { desk, id, link, entry, moved, told: false }
    }
}

#[async_trait]
impl Turnstile for Turn {
    async fn due(&mut self, at: Option<u64>) {
        let mut at = at;
        // What was said before is about an earlier wait.
        if self.moved.has_changed().unwrap_or(false) {
            at = self.moved.borrow_and_update().or(at);
        }
        let Self { desk, id, link, moved, told: known, .. } = self;
        link.wait_for_word(at);
        let mut state = link.watch();
        loop {
            let (stage, told) = {
                let state = state.borrow_and_update();
                (state.stage, state.announced.is_some())
            };
            if stage == Stage::Called {
                return;
            }
            tokio::select! {
                announced = announce(desk, id, at, *known), if !told => {
                    *known = true;
                    link.note_announced(Some(announced));
                }
                Ok(()) = state.changed() => {}
                Ok(()) = moved.changed() => {
                    let moved = *moved.borrow_and_update();
                    if moved < at {
                        // Restate's timer would come too late. The later of two calls finds the run on its way.
                        link.note_announced(None);
                    }
                    at = moved.or(at);
                    link.wait_for_word(at);
                }
            }
        }
    }

    fn waits_as(&self) -> RunStatus {
        // Restate's queue is behind it, a place on this machine before it.
        RunStatus::Dequeued
    }

    async fn admit(&mut self) -> Pass {
        self.entry.admit().await
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.desk.close(&self.id);
    }
}

/// Tells Restate of a run, as soon as Restate can be reached. `again` says that it was told before, of an invocation
/// that was lost since or would come too late.
async fn announce(desk: &Desk, id: &RunId, due: Option<u64>, again: bool) -> Announced {
    let clock = desk.executor.clock();
    let mut troubles = desk.troubles();
    let reached = tokio::time::timeout(PATIENCE, troubles.wait_for(Option::is_none)).await.is_ok();
    let trouble = troubles.borrow().clone().filter(|_| !reached);
    if let Some(trouble) = trouble {
        let message = format!("{trouble}. The run waits and starts by itself.");
        let line = RunLog { at: clock.now_ms(), level: LogLevel::Warn, message, attempt: 0 };
        if let Err(error) = desk.runs.log(id, &line).await {
            tracing::warn!(run = %id, %error, "a run's log line was lost");
        }
    }
    loop {
        // Fails only without the desk.
        troubles.wait_for(Option::is_none).await.ok();
        let at = clock.now_ms();
        // The first name is the same after a restart of this server, and finds the invocation that Restate has.
        let key = if again { format!("{id}.{at}") } else { id.to_string() };
        match desk.client.send(id, &key, due.map_or(0, |due| due.saturating_sub(at))).await {
            Ok(invocation) => return Announced { invocation, at },
            Err(error) => {
                desk.note_trouble(Some(error.to_string()));
            }
        }
    }
}
