//! The same action on many runs.

use super::{Replay, RunFilter, Workflow, WorkflowError};
use crate::domain::{RunId, RunSummary};

/// Runs that one action takes at most.
pub const BULK_MAX: usize = 1_000;

/// What is done to each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkAction {
    /// Stop those that have not ended.
    Cancel,
    /// Submit those that have ended once more. Only runs that nobody else started: a run takes its children along, and
    /// one of them alone would act on what its parent has changed since.
    Replay,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BulkReport {
    /// Runs it was done to.
    pub done: usize,
    /// Runs it does not apply to: ended already, not ended yet, or gone.
    pub skipped: usize,
    /// Ended runs that are not replayed together with others: another run started them, or their task says so.
    pub left_out: usize,
    /// Whether there were more than [`BULK_MAX`].
    pub more: bool,
}

/// How a run stands to an action.
enum Fit {
    Applies,
    LeftOut,
    Not,
}

impl Workflow {
    /// Does it to these runs.
    pub async fn bulk(&self, runs: &[RunId], action: BulkAction) -> Result<BulkReport, WorkflowError> {
        let mut report = BulkReport { more: runs.len() > BULK_MAX, ..BulkReport::default() };
        for id in runs.iter().take(BULK_MAX) {
            let fit = self.record_of(id).await.map(|run| self.fit(&run.summary, action));
            let done = match (fit, action) {
                (Ok(Fit::Applies), BulkAction::Cancel) => self.cancel(id).await,
                (Ok(Fit::Applies), BulkAction::Replay) => self.replay(id, Replay::default()).await.map(drop),
                (Ok(Fit::LeftOut), _) => {
                    report.left_out += 1;
                    continue;
                }
                (Ok(Fit::Not), _) => Err(WorkflowError::NotFinished(id.clone())),
                (Err(error), _) => Err(error),
            };
            match done {
                Ok(()) => report.done += 1,
                Err(error) if error.is_about_one_run() => report.skipped += 1,
                Err(error) => return Err(error),
            }
        }
        Ok(report)
    }

    /// The newest runs that fit and that it applies to, and how many it leaves out among them; one more than [`BULK_MAX`]
    /// says that there are more.
    pub async fn bulk_fits(&self, filter: RunFilter, action: BulkAction) -> Result<(Vec<RunId>, usize), WorkflowError> {
        let mut filter = RunFilter { limit: Some(200), before: None, after: None, ..filter };
        let (mut runs, mut left_out) = (Vec::new(), 0);
        while runs.len() <= BULK_MAX {
            let page = self.list(filter.clone()).await?;
            let Some(last) = page.last() else { break };
            filter.before = Some(last.id.clone());
            for run in page {
                match self.fit(&run, action) {
                    Fit::Applies => runs.push(run.id),
                    Fit::LeftOut => left_out += 1,
                    Fit::Not => {}
                }
            }
        }
        runs.truncate(BULK_MAX + 1);
        Ok((runs, left_out))
    }

    fn fit(&self, run: &RunSummary, action: BulkAction) -> Fit {
        match action {
            BulkAction::Cancel if run.status.is_final() => Fit::Not,
            BulkAction::Cancel => Fit::Applies,
            BulkAction::Replay if !run.status.is_final() => Fit::Not,
            BulkAction::Replay if run.parent.is_some() || self.no_replay(&run.task).is_some() => Fit::LeftOut,
            BulkAction::Replay => Fit::Applies,
        }
    }
}
