//! The seam between runs as the product uses them and what decides when they execute.
//!
//! An [`Engine`] holds open runs and has the one driver see each of them through, for which it gives the driver a
//! [`Turnstile`]. Records, attempts, steps, logs, backoff and statuses are the driver's and the store's: they are the
//! same with every engine.

use super::Workflow;
use crate::domain::{RunId, RunStatus};
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
pub(crate) trait Turnstile: Send {
    /// Waits for the run's time: a moment (Unix ms) or the one it was moved to since, and the engine's word where the
    /// engine is another process.
    async fn due(&mut self, at: Option<u64>);

    /// What a run is that waits for admission.
    fn waits_as(&self) -> RunStatus;

    /// Waits until the run may execute. It may as long as the pass is held.
    async fn admit(&mut self) -> Pass;
}

/// What an execution holds on to: lanes, places.
pub(crate) type Pass = Box<dyn Any + Send>;

/// Why an engine cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It is not part of this binary.
    #[error(
        "this server was built without Restate, which WORKFLOW_ENGINE=restate asks for. Build it with `make restate` or \
         `cargo xtask build --restate`, or leave WORKFLOW_ENGINE out to use the engine inside the server."
    )]
    NotBuiltIn,
    /// Restate could not call this server.
    #[error("cannot listen for calls of Restate on the loopback address: {0}")]
    Listen(std::io::Error),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The addresses it is reached at cannot be used.
    #[error("the client for Restate cannot be made: {0}")]
    Client(String),
}

/// How busy an engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineHealth {
    /// Runs it holds that have not ended.
    pub open: usize,
    /// Of those, how many execute now.
    pub executing: usize,
    /// Whether it is shutting down.
    pub stopping: bool,
    /// Why no run can start now, if the engine is another process that cannot be reached.
    pub trouble: Option<String>,
}
