//! Sees one run through from its record to its end: waits, attempts, backoff. The one loop for every engine.

use super::attempt::{Next, Signals, attempt, end, end_cancelled};
use super::engine::{Pass, Turnstile};
use super::{Clock, Workflow};
use crate::domain::{ApiError, ErrorCode, RunStatus};
use crate::store::{RunRecord, StoreError};
use futures::FutureExt;
use tokio::sync::watch;
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
    let life = run.expires_at.zip(run.ttl_ms).filter(|_| run.summary.started_at.is_none());
    let expired = expired(clock.as_ref(), life, signals.moved.clone());
    let admitted = async {
        turnstile.due(run.due_at).await;
        let moved = *signals.moved.borrow();
        if run.summary.started_at.is_none() && moved.is_some() {
            // What is recorded from now on must not take back what the store has.
            run.due_at = moved;
        }
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

/// Returns when a time to live, which ends at a moment and is so many milliseconds long, is over. It begins anew when the
/// run is moved to another time.
async fn expired(clock: &dyn Clock, life: Option<(u64, u64)>, mut moved: watch::Receiver<Option<u64>>) {
    let Some((mut end, length)) = life else { return std::future::pending().await };
    loop {
        if let Some(due) = *moved.borrow_and_update() {
            end = due.saturating_add(length);
        }
        tokio::select! {
            biased;
            Ok(()) = moved.changed() => {}
            () = clock.sleep_until(end) => return,
        }
    }
}

async fn end_expired(workflow: &Workflow, run: &mut RunRecord) -> Result<(), StoreError> {
    let error = ApiError::new(ErrorCode::Timeout, "the run did not start within its time to live");
    end(workflow, run, RunStatus::Expired, Err(error)).await
}
