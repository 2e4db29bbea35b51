//! One attempt of a run, from its record to its record: the part that is the same for every engine.

use super::task::TaskContext;
use super::{RetryPolicy, TaskError, Workflow};
use crate::domain::{ApiError, ErrorCode, RunStatus};
use crate::store::{AttemptChange, RunRecord, StoreError};
use futures::FutureExt;
use serde_json::Value;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// How long a task may go on after its token was cancelled, before it is dropped.
const GRACE_MS: u64 = 700;
/// While the disk is full, what must be recorded is tried again after this long, then after twice as long, and so on.
const ROOM_FIRST: Duration = Duration::from_millis(250);
/// The longest of these waits.
const ROOM_LONGEST: Duration = Duration::from_secs(10);
/// The longest output, as JSON.
const OUTPUT_MAX: usize = 4 << 20;

/// What may end an attempt from outside.
pub(super) struct Signals {
    /// The run is to be cancelled.
    pub cancel: CancellationToken,
    /// The server ends now: cut the attempt off, the run is resumed later.
    pub stop: CancellationToken,
    /// When a run that has not started is to start instead (Unix ms).
    pub moved: watch::Receiver<Option<u64>>,
}

/// What is next for a run after an attempt.
pub(super) enum Next {
    /// Nothing: it has ended.
    Ended,
    /// Another attempt at its `due_at`.
    Retry,
    /// Nothing here: it was cut off and can be resumed.
    CutOff,
}

/// How the execution of an attempt ended.
enum Ending {
    Returned(Result<Value, TaskError>),
    Panicked,
    Cancelled,
    TimedOut,
    CutOff,
}

/// Carries out the next attempt of a run.
pub(super) async fn attempt(workflow: &Workflow, run: &mut RunRecord, signals: &Signals) -> Next {
    match record_attempt(workflow, run, signals).await {
        Ok(next) => next,
        Err(error) => {
            // The row is left open: the run is resumed when the server starts with a store that works.
            tracing::error!(run = %run.summary.id, %error, "a run could not be recorded");
            workflow.announce(&run.summary.id, Err(error.into()));
            Next::Ended
        }
    }
}

/// Ends a run for good: records it and tells those who wait.
pub(super) async fn end(
    workflow: &Workflow,
    run: &mut RunRecord,
    status: RunStatus,
    result: Result<Value, ApiError>,
) -> Result<(), StoreError> {
    let now = workflow.clock().now_ms();
    run.summary.status = status;
    run.summary.finished_at = Some(now);
    run.summary.error = result.as_ref().err().map(|error| error.message.clone());
    run.error = result.as_ref().err().cloned();
    run.output = result.as_ref().ok().cloned();
    run.due_at = None;
    let crashed = status == RunStatus::Crashed;
    let change = AttemptChange::End { at: now, error: run.error.clone(), retry_at: None, crashed };
    workflow.runs().update(run, Some(change)).await?;
    workflow.figures().ended(&run.summary);
    tracing::info!(
        run = %run.summary.id,
        task = run.summary.task,
        status = status.as_str(),
        attempt = run.summary.attempt,
        "a run ended"
    );
    workflow.ended(run);
    workflow.announce(&run.summary.id, result);
    Ok(())
}

/// Ends a run as cancelled.
pub(super) async fn end_cancelled(workflow: &Workflow, run: &mut RunRecord) -> Result<(), StoreError> {
    let error = ApiError::new(ErrorCode::Cancelled, "the run was cancelled");
    end(workflow, run, RunStatus::Canceled, Err(error)).await
}

/// Puts a run that was cut off back to before the attempt: being cut off costs no attempt.
pub(super) async fn put_back(workflow: &Workflow, run: &mut RunRecord) -> Result<(), StoreError> {
    run.summary.status = RunStatus::Queued;
    run.summary.attempt = run.summary.attempt.saturating_sub(1);
    run.due_at = None;
    let change = AttemptChange::End { at: workflow.clock().now_ms(), error: None, retry_at: None, crashed: true };
    workflow.runs().update(run, Some(change)).await
}

async fn record_attempt(workflow: &Workflow, run: &mut RunRecord, signals: &Signals) -> Result<Next, StoreError> {
    let now = workflow.clock().now_ms();
    run.summary.attempt += 1;
    run.summary.status = RunStatus::Executing;
    if run.summary.started_at.is_none() {
        run.summary.started_at = Some(now);
        workflow.figures().started(&run.summary, run.due_at);
    }
    run.due_at = None;
    let begun = AttemptChange::Begin { number: run.summary.attempt, at: now };
    let mut room = Room::new(signals);
    loop {
        let recorded = workflow.runs().update(run, Some(begun.clone())).await;
        if !room.again(&recorded).await {
            break recorded?;
        }
    }
    let span = tracing::info_span!("run", id = %run.summary.id, task = run.summary.task, attempt = run.summary.attempt);
    let ending = execute(workflow, run, signals).instrument(span).await;
    let mut room = Room::new(signals);
    loop {
        let recorded = record_ending(workflow, run, &ending).await;
        if !room.again(&recorded).await {
            return recorded;
        }
    }
}

/// Records how an attempt ended. Done again after a failure of the store it has the same effect, but for being cut off,
/// which is tried once: the server ends.
async fn record_ending(workflow: &Workflow, run: &mut RunRecord, ending: &Ending) -> Result<Next, StoreError> {
    match ending {
        Ending::Returned(Ok(output)) => finish(workflow, run, output).await,
        Ending::Returned(Err(TaskError::Retry(error))) if run.summary.attempt < run.summary.max_attempts => {
            wait_for_next(workflow, run, error.clone()).await?;
            return Ok(Next::Retry);
        }
        Ending::Returned(Err(TaskError::Retry(error) | TaskError::Fatal(error))) => {
            end(workflow, run, RunStatus::Failed, Err(error.clone())).await
        }
        Ending::Returned(Err(TaskError::Cancelled)) | Ending::Cancelled => end_cancelled(workflow, run).await,
        Ending::Panicked => {
            let error = ApiError::internal(format!("the task {} crashed; the server's log says why", run.summary.task));
            end(workflow, run, RunStatus::SystemFailure, Err(error)).await
        }
        Ending::TimedOut => {
            let limit = run.max_duration_ms.unwrap_or_default() as f64 / 1_000.0;
            let error = ApiError::new(ErrorCode::Timeout, format!("the run took longer than its limit of {limit} s"));
            end(workflow, run, RunStatus::TimedOut, Err(error)).await
        }
        Ending::CutOff => {
            run.interruptions += 1;
            put_back(workflow, run).await?;
            return Ok(Next::CutOff);
        }
    }?;
    Ok(Next::Ended)
}

/// Waits for room on a full disk: a run must neither be lost nor stay open for ever because there was no room for its
/// end. Gives up when the server ends.
struct Room<'a> {
    signals: &'a Signals,
    pause: Duration,
}

impl<'a> Room<'a> {
    fn new(signals: &'a Signals) -> Self {
        Self { signals, pause: ROOM_FIRST }
    }

    /// Whether to record again what ended like this; returns once it is time to.
    async fn again<T>(&mut self, recorded: &Result<T, StoreError>) -> bool {
        if !matches!(recorded, Err(StoreError::Full)) {
            return false;
        }
        tracing::warn!("the disk is full; a run waits until it can be recorded");
        tokio::select! {
            () = tokio::time::sleep(self.pause) => {}
            () = self.signals.stop.cancelled() => return false,
        }
        self.pause = (self.pause * 2).min(ROOM_LONGEST);
        true
    }
}

async fn execute(workflow: &Workflow, run: &RunRecord, signals: &Signals) -> Ending {
    let Some(task) = workflow.task(&run.summary.task) else {
        let error = ApiError::internal(format!("there is no task named \"{}\"", run.summary.task));
        return Ending::Returned(Err(TaskError::Fatal(error)));
    };
    let clock = workflow.clock();
    let cancel = signals.cancel.child_token();
    let ctx = TaskContext {
        run: run.summary.id.clone(),
        attempt: run.summary.attempt,
        crashes: run.crashes + run.interruptions,
        project: run.summary.project.clone(),
        call: run.summary.call.clone(),
        owner: run.labels.owner.clone(),
        cancel: cancel.clone(),
        workflow: workflow.clone(),
        summary: run.summary.clone(),
    };
    let time_limit = async {
        match run.max_duration_ms {
            Some(limit) => clock.sleep_until(clock.now_ms().saturating_add(limit)).await,
            None => std::future::pending().await,
        }
    };
    let mut work = pin!(AssertUnwindSafe(task.run(ctx, Value::clone(&run.payload))).catch_unwind());
    let cause = tokio::select! {
        biased;
        ended = &mut work => return ended.map_or(Ending::Panicked, Ending::Returned),
        () = signals.stop.cancelled() => return Ending::CutOff,
        () = signals.cancel.cancelled() => Ending::Cancelled,
        () = time_limit => Ending::TimedOut,
    };
    cancel.cancel();
    tokio::select! {
        biased;
        // Work that was done before the task saw the request stays done.
        ended = &mut work => match (ended, cause) {
            (Ok(Ok(output)), Ending::Cancelled) => Ending::Returned(Ok(output)),
            (_, cause) => cause,
        },
        () = signals.stop.cancelled() => cause,
        () = clock.sleep_until(clock.now_ms().saturating_add(GRACE_MS)) => cause,
    }
}

async fn finish(workflow: &Workflow, run: &mut RunRecord, output: &Value) -> Result<(), StoreError> {
    let bytes = output.to_string().len();
    if bytes <= OUTPUT_MAX {
        return end(workflow, run, RunStatus::Completed, Ok(output.clone())).await;
    }
    let message =
        format!("the output of {} is {bytes} bytes long; at most {OUTPUT_MAX} bytes are allowed", run.summary.task);
    end(workflow, run, RunStatus::Failed, Err(ApiError::new(ErrorCode::TooLarge, message))).await
}

async fn wait_for_next(workflow: &Workflow, run: &mut RunRecord, error: ApiError) -> Result<(), StoreError> {
    // A policy this version cannot read is no reason to lose the run.
    let policy: RetryPolicy = serde_json::from_value(run.retry.clone()).unwrap_or_default();
    let random = getrandom::u32().map_or(0.5, |random| f64::from(random) / (f64::from(u32::MAX) + 1.0));
    let delay = policy.delay_ms(run.summary.attempt, random);
    run.summary.status = RunStatus::Delayed;
    let now = workflow.clock().now_ms();
    run.due_at = Some(now.saturating_add(delay));
    let change = AttemptChange::End { at: now, error: Some(error), retry_at: run.due_at, crashed: false };
    workflow.runs().update(run, Some(change)).await
}
