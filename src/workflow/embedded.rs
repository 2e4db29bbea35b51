//! The engine inside this process: a run starts when its time has come and there is a place for it.
//!
//! Everything wakes by notification; nothing polls.

use super::engine::{Pass, Turnstile};
use super::executor::{Entry, Executor};
use super::{Clock, Engine, EngineHealth, Workflow, WorkflowOptions};
use crate::domain::{RunId, RunStatus};
use crate::store::RunRecord;
use async_trait::async_trait;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// The embedded engine.
pub(super) struct Embedded {
    executor: Executor,
}

impl Embedded {
    /// An engine with the caps of these options.
    pub(super) fn new(clock: Arc<dyn Clock>, options: &WorkflowOptions) -> Self {
        Self { executor: Executor::new(clock, options) }
    }
}

#[async_trait]
impl Engine for Embedded {
    fn enqueue(&self, run: RunRecord, workflow: Workflow) {
        let clock = Arc::clone(self.executor.clock());
        self.executor.drive(run, workflow, |_, entry, moved| Wait { clock, entry, moved });
    }

    fn cancel(&self, id: &RunId) -> bool {
        self.executor.cancel(id)
    }

    fn reschedule(&self, id: &RunId, due_at: u64) -> bool {
        self.executor.reschedule(id, due_at)
    }

    fn health(&self) -> EngineHealth {
        self.executor.health()
    }

    async fn shutdown(&self, grace: Duration) {
        self.executor.shutdown(grace).await;
    }
}

/// What one run waits for.
struct Wait {
    clock: Arc<dyn Clock>,
    entry: Entry,
    moved: watch::Receiver<Option<u64>>,
}

#[async_trait]
impl Turnstile for Wait {
    async fn due(&mut self, at: Option<u64>) {
        let Some(mut at) = at else { return };
        loop {
            // What was said before is about an earlier wait.
            if self.moved.has_changed().unwrap_or(false) {
                at = self.moved.borrow_and_update().unwrap_or(at);
            }
            tokio::select! {
                () = self.clock.sleep_until(at) => return,
                Ok(()) = self.moved.changed() => self.moved.mark_changed(),
            }
        }
    }

    fn waits_as(&self) -> RunStatus {
        RunStatus::Queued
    }

    async fn admit(&mut self) -> Pass {
        self.entry.admit().await
    }
}
