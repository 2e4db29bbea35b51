//! What a run waits for under Restate: that Restate has been told of it, and Restate's word.

use super::desk::{Announced, Desk, Link, Stage};
use crate::domain::{LogLevel, RunId, RunLog, RunStatus};
use crate::store::RunRecord;
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
    /// Whether no attempt has begun yet.
    fresh: bool,
    /// Whether the invocation that Restate was told to make was lost.
    lost: bool,
}

impl Turn {
    pub(super) fn new(desk: Arc<Desk>, run: &RunRecord, entry: Entry, moved: watch::Receiver<Option<u64>>) -> Self {
        let id = run.summary.id.clone();
        let link = desk.open(&id);
        Self { desk, id, link, entry, moved, fresh: run.summary.attempt == 0, lost: false }
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
        let Self { desk, id, link, moved, fresh, lost, .. } = self;
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
                announced = announce(desk, id, at, *fresh, *lost), if !told => {
                    // Without an announcement from now on, it is one that was lost.
                    *lost = true;
                    link.note_announced(Some(announced));
                }
                Ok(()) = state.changed() => {}
                Ok(()) = moved.changed() => {
                    let moved = *moved.borrow_and_update();
                    if moved < at {
                        // Restate's timer would come too late. The later of two calls finds the run on its way.
                        *lost = false;
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

/// The idempotency key of a run's invocation. It is the same after a restart of this server, and so finds what Restate
/// has. A run that waits for its first attempt has a timer at Restate, and another one when it is moved; one whose
/// invocation was lost needs a name that was never used.
fn key(id: &RunId, timer: Option<u64>, lost_by: Option<u64>) -> String {
    match (lost_by, timer) {
        (Some(now), _) => format!("{id}.lost.{now}"),
        (None, Some(due)) => format!("{id}.{due}"),
        (None, None) => id.to_string(),
    }
}

/// Tells Restate of a run, as soon as Restate can be reached.
async fn announce(desk: &Desk, id: &RunId, due: Option<u64>, fresh: bool, lost: bool) -> Announced {
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
        let key = key(id, due.filter(|_| fresh), lost.then_some(at));
        match desk.client.send(id, &key, due.map_or(0, |due| due.saturating_sub(at))).await {
            Ok(invocation) => return Announced { invocation, at },
            Err(error) => {
                desk.note_trouble(Some(error.to_string()));
            }
        }
    }
}
