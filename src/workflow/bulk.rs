//! The same action on many runs.

use super::{Replay, RunFilter, Workflow, WorkflowError};
use crate::domain::RunId;

/// Runs that one action takes at most.
pub const BULK_MAX: usize = 1_000;

/// What is done to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// Stop those that have not ended.
    Cancel,
    /// Submit those that have ended once more.
    Replay,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkReport {
    /// Runs it was done to.
    pub done: usize,
    /// Runs it does not apply to: ended already, not ended yet, or gone.
    pub skipped: usize,
    /// Whether there were more than [`BULK_MAX`].
    pub more: bool,
}

impl Workflow {
    /// Does it to these runs.
    pub async fn bulk(&self, runs: &[RunId], action: BulkAction) -> Result<BulkReport, WorkflowError> {
        let mut report = BulkReport { more: runs.len() > BULK_MAX, ..BulkReport::default() };
        for id in runs.iter().take(BULK_MAX) {
            let done = match action {
                BulkAction::Cancel => match self.record_of(id).await {
                    Ok(run) if !run.summary.status.is_final() => self.cancel(id).await,
                    Ok(_) => Err(WorkflowError::NotFinished(id.clone())),
                    Err(error) => Err(error),
                },
                BulkAction::Replay => self.replay(id, Replay::default()).await.map(drop),
            };
            match done {
                Ok(()) => report.done += 1,
                Err(error) if error.is_about_one_run() => report.skipped += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// The newest runs that fit and that it applies to; one more than [`BULK_MAX`] says that there are more.
    pub async fn bulk_fits(&self, filter: RunFilter, action: BulkAction) -> Result<Vec<RunId>, WorkflowError> {
        let mut filter = RunFilter { limit: Some(200), before: None, after: None, ..filter };
        let mut runs = Vec::new();
        while runs.len() <= BULK_MAX {
            let page = self.list(filter.clone()).await?;
            let Some(last) = page.last() else { break };
            filter.before = Some(last.id.clone());
            let applies = |ended: bool| ended == (action == BulkAction::Replay);
            runs.extend(page.into_iter().filter(|run| applies(run.status.is_final())).map(|run| run.id));
        }
        runs.truncate(BULK_MAX + 1);
        Ok(runs)
    }
}
