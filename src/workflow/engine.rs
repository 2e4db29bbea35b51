//! The seam between runs as the product uses them and what decides when they execute.

use super::Workflow;
use crate::domain::RunId;
use crate::store::RunRecord;
use async_trait::async_trait;
use std::time::Duration;

/// Decides when attempts run. Runs are recorded in the store before an engine hears of them.
#[async_trait]
pub trait Engine: Send + Sync {
    /// Takes a recorded run and sees it through to its end, attempt by attempt.
    fn enqueue(&self, run: RunRecord, workflow: Workflow);

    /// Stops a run, and the children it has here, within a second. False if the run is not here.
    fn cancel(&self, id: &RunId) -> bool;

    /// How busy it is.
    fn health(&self) -> EngineHealth;

    /// Starts nothing more, gives executing attempts `grace` to end, cuts off the rest and returns when all is still.
    /// What has not ended can be resumed.
    async fn shutdown(&self, grace: Duration);
}

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
