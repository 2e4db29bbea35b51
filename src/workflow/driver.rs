//! Sees one run through from its record to its end: waits, attempts, backoff. The one loop for every engine.

use super::Workflow;
use super::attempt::{Next, Signals, attempt, end, end_cancelled};
use super::engine::{Pass, Turnstile};
use crate::domain::{ApiError, ErrorCode, RunStatus};
use crate::store::{RunRecord, StoreError};
use futures::FutureExt;
use tokio_util::sync::CancellationToken;

/// Why a run may execute, or never will.
enum Start {
    Now(Pass),
    Cancelled,
    Expired,
    /// The server ends; the run is resumed later.
    Draining,
}

/// Carries a run on until it has ended or is cut off. `draining` says that nothing more may start.
pub(super) async fn drive(
    workflow: &Workflow,
    run: &mut RunRecord,
    signals: &Signals,
    draining: &CancellationToken,
    turnstile: &mut dyn Turnstile,
) {
    loop {
        let over = match start(workflow, run, signals, draining, turnstile).await {
            Start::Draining => return,
            Start::Now(pass) => {
                let next = Box::pin(attempt(workflow, run, signals)).await;
                drop(pass);
                match next {
                    Next::Retry => continue,
                    Next::Ended | Next::CutOff => return,
                }
            }
            Start::Cancelled => end_cancelled(workflow, run).await,
            Start::Expired => end_expired(workflow, run).await,
        };
        if let Err(error) = over {
            tracing::error!(run = %run.summary.id, %error, "the end of a run could not be recorded");
        }
        return;
    }
}

async fn start(
    workflow: &Workflow,
    run: &mut RunRecord,
    signals: &Signals,
    draining: &CancellationToken,
    turnstile: &mut dyn Turnstile,
) -> Start {
    let clock = workflow.clock();
    // Only a run that never started can expire.
    let expires_at = run.expires_at.filter(|_| run.summary.started_at.is_none());
    let expired = async {
        match expires_at {
            Some(at) => clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    };
    let admitted = async {
        turnstile.due(run.due_at).await;
        let waits_as = turnstile.waits_as();
        if run.summary.status == waits_as {
            return turnstile.admit().await;
        }
        let mut admit = turnstile.admit();
        if let Some(pass) = (&mut admit).now_or_never() {
            return pass;
        }
        // Its time has come, but it cannot start at once: from now on it waits for others, and people see that.
        run.summary.status = waits_as;
        if let Err(error) = workflow.runs().update(run, None).await {
            tracing::warn!(run = %run.summary.id, %error, "a run's place in the queue was not recorded");
        }
        admit.await
    };
    tokio::select! {
        biased;
        () = draining.cancelled() => Start::Draining,
        () = signals.cancel.cancelled() => Start::Cancelled,
        pass = admitted => Start::Now(pass),
        () = expired => Start::Expired,
    }
}

async fn end_expired(workflow: &Workflow, run: &mut RunRecord) -> Result<(), StoreError> {
    let error = ApiError::new(ErrorCode::Timeout, "the run did not start within its time to live");
    end(workflow, run, RunStatus::Expired, Err(error)).await
}
