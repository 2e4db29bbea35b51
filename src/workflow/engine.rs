//! The seam between runs as the product uses them and what decides when they execute.
//!
//! An [`Engine`] holds open runs and has the one driver see each of them through, for which it gives the driver a
//! [`Turnstile`]. Records, attempts, steps, logs, backoff and statuses are the driver's and the store's: they are the
//! same with every engine.

use super::Workflow;
use crate::domain::RunId;
use crate::store::RunRecord;
use async_trait::async_trait;
use std::any::Any;
use std::time::Duration;

/// Decides when attempts run. Runs are recorded in the store before an engine hears of them.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Takes a recorded run and sees it through to its end, attempt by attempt.
    fn enqueue(&self, run: RunRecord, workflow: Workflow);

    /// Stops a run, and the children it has here, within a second: asked first, then cut off. False if the run is not
    /// here.
    fn cancel(&self, id: &RunId) -> bool;

    /// Tells a run that waits for its time that it has another one. False if the run is not here.
    fn reschedule(&self, id: &RunId, due_at: u64) -> bool;

    /// How busy it is.
    fn health(&self) -> EngineHealth;

    /// Starts nothing more, gives executing attempts `grace` to end, cuts off the rest and returns when all is still.
    /// What has not ended can be resumed.
    async fn shutdown(&self, grace: Duration);
}

/// When and where the next execution of one run may begin.
#[async_trait]
pub(super) trait Turnstile: Send {
    /// Waits for a moment (Unix ms), or for the one it was moved to since.
    async fn due(&mut self, at: u64);

    /// Waits until the run may execute. It may as long as the pass is held.
    async fn admit(&mut self) -> Pass;
}

/// What an execution holds on to: lanes, places.
pub(super) type Pass = Box<dyn Any + Send>;

/// How busy an engine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineHealth {
    /// Runs it holds that have not ended.
    pub open: usize,
    /// Of those, how many execute now.
    pub executing: usize,
    /// Whether it is shutting down.
    pub stopping: bool,
}
