//! What the rest of the server uses: submit a run, wait for it, cancel it, look at it.

use super::attempt::{end, end_cancelled, put_back};
use super::embedded::Embedded;
use super::task::{AnyTask, Erased};
use super::{Clock, Engine, EngineHealth, Figures, RunFilter, RunRequest, SystemClock, Task, WorkflowError};
use crate::domain::{ApiError, ErrorCode, RunDetail, RunId, RunStatus, RunSummary};
use crate::store::{RunRecord, RunStore, Store, StoreError, new_run_id};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The longest payload, as JSON.
const PAYLOAD_MAX: usize = 16 << 20;
/// Ended runs kept for a slow listener; what it misses is not told again.
const ENDED_KEPT: usize = 4096;
/// Time between two deletions of old runs.
const SWEEP_EVERY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Knobs of the workflow.
#[derive(Clone, Copy, Debug)]
pub struct WorkflowOptions {
    /// Runs without a parent that execute at once.
    pub parallel: usize,
    /// Runs that work in one sandbox at once.
    pub per_sandbox: usize,
    /// How long ended runs are kept.
    pub retention: Duration,
}

impl Default for WorkflowOptions {
    fn default() -> Self {
        Self { parallel: 64, per_sandbox: 32, retention: Duration::from_secs(30 * 24 * 60 * 60) }
    }
}

/// Tasks, their runs and the engine that executes them. Cheap to clone.
#[derive(Clone)]
pub struct Workflow {
    inner: Arc<Inner>,
}

/// What came of a submit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// The run.
    pub run: RunId,
    /// Whether it was submitted earlier with the same idempotency key.
    pub found: bool,
}

type Outcome = Result<Value, ApiError>;

struct Inner {
    tasks: RwLock<HashMap<&'static str, Arc<dyn AnyTask>>>,
    runs: RunStore,
    clock: Arc<dyn Clock>,
    engine: Arc<dyn Engine>,
    retention: Duration,
    figures: Figures,
    ended: broadcast::Sender<Arc<RunRecord>>,
    /// Runs that are open in this process, for those who wait for their end.
    open: Mutex<HashMap<RunId, watch::Sender<Option<Outcome>>>>,
    /// Submits under way and the sweep.
    work: TaskTracker,
    /// Cancelled when nothing is taken any more.
    closing: CancellationToken,
    /// Cancelled when nothing executes any more.
    stopped: CancellationToken,
}

impl Workflow {
    /// A workflow over the store's runs, executed by the embedded engine. Register the tasks, then call
    /// [`Workflow::boot`].
    pub fn new(store: &Store, options: WorkflowOptions) -> Self {
        Self::with_clock(store, options, Arc::new(SystemClock))
    }

    /// The same with another clock.
    pub fn with_clock(store: &Store, options: WorkflowOptions, clock: Arc<dyn Clock>) -> Self {
        let engine = Arc::new(Embedded::new(Arc::clone(&clock), &options));
        Self::with_engine(store, options, clock, engine)
    }

    /// The same with another engine.
    pub fn with_engine(
        store: &Store,
        options: WorkflowOptions,
        clock: Arc<dyn Clock>,
        engine: Arc<dyn Engine>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                tasks: RwLock::default(),
                runs: store.runs().clone(),
                clock,
                engine,
                retention: options.retention,
                figures: Figures::default(),
                ended: broadcast::Sender::new(ENDED_KEPT),
                open: Mutex::default(),
                work: TaskTracker::new(),
                closing: CancellationToken::new(),
                stopped: CancellationToken::new(),
            }),
        }
    }

    /// Makes a task known under its name.
    pub fn register<T: Task>(&self, task: T) {
        let mut tasks = self.inner.tasks.write().unwrap_or_else(PoisonError::into_inner);
        tasks.insert(T::NAME, Arc::new(Erased(task)));
    }

    /// Resumes what an earlier process left open, and from then on deletes old runs once a day.
    pub async fn boot(&self) -> Result<(), WorkflowError> {
        for run in self.inner.runs.open().await? {
            if !self.open().contains_key(&run.summary.id) {
                self.resume(run).await?;
            }
        }
        let (workflow, closing) = (self.clone(), self.inner.closing.clone());
        self.inner.work.spawn(async move {
            closing.run_until_cancelled(workflow.sweep()).await;
        });
        Ok(())
    }

    /// Whether a payload fits a task, as its runs would find out.
    pub fn check(&self, task: &str, payload: &Value) -> Result<(), ApiError> {
        match self.task(task) {
            Some(known) => known.check(payload),
            None => Err(WorkflowError::UnknownTask(task.to_owned()).into()),
        }
    }

    /// Records a run and hands it to the engine. With an idempotency key that was used before for the same task, the
    /// earlier run is returned and nothing is started.
    pub async fn submit(&self, request: RunRequest) -> Result<RunId, WorkflowError> {
        Ok(self.submit_once(request).await?.run)
    }

    /// The same, and whether an earlier run was found.
    pub async fn submit_once(&self, request: RunRequest) -> Result<Submitted, WorkflowError> {
        let run = self.record(request)?;
        let workflow = self.clone();
        // A caller that goes away between the two steps must not leave a run that nobody executes.
        let submit = async move {
            let id = run.summary.id.clone();
            workflow.open().insert(id.clone(), watch::Sender::new(None));
            match workflow.inner.runs.insert(run.clone()).await {
                Ok(()) => {
                    workflow.inner.engine.enqueue(run, workflow.clone());
                    Ok(Submitted { run: id, found: false })
                }
                Err(error) => {
                    workflow.forget(&id);
                    match error {
                        StoreError::Duplicate(earlier) => Ok(Submitted { run: earlier, found: true }),
                        error => Err(error.into()),
                    }
                }
            }
        };
        if self.inner.closing.is_cancelled() {
            return Err(self.shutting_down().await);
        }
        self.inner.work.spawn(submit).await.map_err(|_| WorkflowError::ShuttingDown)?
    }

    /// The run's output once it has ended, or its error (code [`ErrorCode::Cancelled`] when it was cancelled).
    pub async fn wait(&self, id: &RunId) -> Result<Value, ApiError> {
        let ended = self.open().get(id).map(watch::Sender::subscribe);
        if let Some(mut ended) = ended
            && let Ok(outcome) = ended.wait_for(Option::is_some).await
            && let Some(outcome) = &*outcome
        {
            return outcome.clone();
        }
        let run = self.inner.runs.record(id).await?;
        match run.summary.status {
            RunStatus::Completed => Ok(run.output.unwrap_or(Value::Null)),
            status if status.is_final() => {
                Err(run.error.unwrap_or_else(|| ApiError::internal(format!("the run ended as {}", status.as_str()))))
            }
            _ if self.inner.closing.is_cancelled() => Err(self.shutting_down().await.into()),
            _ => Err(ApiError::new(ErrorCode::Conflict, format!("the run {id} waits for the server to start again"))),
        }
    }

    /// Submits a run and waits for its end. Cancelling the token cancels the run.
    pub async fn call(&self, request: RunRequest, cancel: &CancellationToken) -> Result<Value, ApiError> {
        let id = self.submit(request).await?;
        if let Some(outcome) = cancel.run_until_cancelled(self.wait(&id)).await {
            return outcome;
        }
        self.cancel(&id).await?;
        self.wait(&id).await
    }

    /// Asks a run to stop; it is `CANCELED` within a second, or at the next start if the server dies before. A run that
    /// has ended stays as it is.
    pub async fn cancel(&self, id: &RunId) -> Result<(), WorkflowError> {
        if let Err(error) = self.inner.runs.request_cancel(id, self.inner.clock.now_ms()).await {
            // A run that fills the disk must be stopped all the same.
            tracing::warn!(run = %id, %error, "the request to stop a run was not recorded");
        }
        if self.inner.engine.cancel(id) {
            return Ok(());
        }
        let mut run = self.inner.runs.record(id).await?;
        if !run.summary.status.is_final() {
            end_cancelled(self, &mut run).await?;
        }
        Ok(())
    }

    /// Everything about a run.
    pub async fn get(&self, id: &RunId) -> Result<RunDetail, WorkflowError> {
        Ok(self.inner.runs.detail(id).await?)
    }

    /// Runs that fit, newest first.
    pub async fn list(&self, filter: RunFilter) -> Result<Vec<RunSummary>, WorkflowError> {
        Ok(self.inner.runs.list(&filter).await?)
    }

    /// A run as it is recorded, with everything needed to carry it on.
    pub async fn record_of(&self, id: &RunId) -> Result<RunRecord, WorkflowError> {
        Ok(self.inner.runs.record(id).await?)
    }

    /// Moves the start of a run that waits for its time, and with it its time to live. Only a run that has not started
    /// can be moved.
    pub async fn reschedule(&self, id: &RunId, delay: Duration) -> Result<(), WorkflowError> {
        let due_at = self.inner.clock.now_ms().saturating_add(millis(delay));
        if !self.inner.runs.reschedule(id, due_at).await? {
            // Tells an unknown run from one that has started.
            self.inner.runs.record(id).await?;
            return Err(WorkflowError::NotDelayed(id.clone()));
        }
        self.inner.engine.reschedule(id, due_at);
        Ok(())
    }

    /// The store of runs, for what needs no engine: lists, counts, batches, changes.
    pub fn store(&self) -> &RunStore {
        &self.inner.runs
    }

    /// Every run that ends from now on.
    pub fn endings(&self) -> broadcast::Receiver<Arc<RunRecord>> {
        self.inner.ended.subscribe()
    }

    /// What was counted since the start of the server.
    pub fn figures(&self) -> &Figures {
        &self.inner.figures
    }

    /// How busy the engine is.
    pub fn health(&self) -> EngineHealth {
        self.inner.engine.health()
    }

    /// Starts nothing more, gives what executes `grace` to end and cuts off the rest, which the next
    /// [`Workflow::boot`] resumes. Tasks that are cut off are dropped without their token being cancelled, as by a
    /// crash: they have not been asked to stop.
    pub async fn shutdown(&self, grace: Duration) {
        self.inner.closing.cancel();
        self.inner.work.close();
        self.inner.work.wait().await;
        self.inner.engine.shutdown(grace).await;
        self.inner.stopped.cancel();
    }

    /// The refusal while shutting down, told only when nothing executes any more: a run that waits for a child is to
    /// be cut off and resumed, not to see an error that it would take for the child's and end by.
    async fn shutting_down(&self) -> WorkflowError {
        self.inner.stopped.cancelled().await;
        WorkflowError::ShuttingDown
    }

    pub(super) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    pub(super) fn runs(&self) -> &RunStore {
        &self.inner.runs
    }

    pub(super) fn task(&self, name: &str) -> Option<Arc<dyn AnyTask>> {
        self.inner.tasks.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Tells those who watch endings.
    pub(super) fn ended(&self, run: &RunRecord) {
        if self.inner.ended.receiver_count() > 0 {
            // The last listener may just have gone.
            self.inner.ended.send(Arc::new(run.clone())).ok();
        }
    }

    /// Tells those who wait how a run ended.
    pub(super) fn announce(&self, id: &RunId, outcome: Outcome) {
        if let Some(ended) = self.open().remove(id) {
            ended.send_replace(Some(outcome));
        }
    }

    /// A run is no longer here; those who wait look at its record.
    pub(super) fn forget(&self, id: &RunId) {
        self.open().remove(id);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<RunId, watch::Sender<Option<Outcome>>>> {
        self.inner.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record(&self, request: RunRequest) -> Result<RunRecord, WorkflowError> {
        let Some(task) = self.task(&request.task) else {
            return Err(WorkflowError::UnknownTask(request.task));
        };
        let bytes = request.payload.to_string().len();
        if bytes > PAYLOAD_MAX {
            return Err(WorkflowError::PayloadTooLarge { task: request.task, bytes, limit: PAYLOAD_MAX });
        }
        let retry = request.retry.unwrap_or_else(|| task.retry());
        let now = self.inner.clock.now_ms();
        let due_at = request.delay.filter(|delay| !delay.is_zero()).map(|delay| now.saturating_add(millis(delay)));
        Ok(RunRecord {
            summary: RunSummary {
                id: new_run_id(),
                task: request.task,
                title: request.title,
                status: if due_at.is_some() { RunStatus::Delayed } else { RunStatus::Queued },
                project: request.project,
                parent: request.parent,
                call: request.call,
                attempt: 0,
                max_attempts: retry.max_attempts.max(1),
                created_at: now,
                started_at: None,
                finished_at: None,
                error: None,
            },
            payload: Arc::new(request.payload),
            output: None,
            error: None,
            idempotency_key: request.idempotency_key,
            key_expires_at: request.key_ttl.map(|ttl| now.saturating_add(millis(ttl))),
            lane: request.lane,
            priority: request.priority,
            retry: serde_json::to_value(retry).unwrap_or(Value::Null),
            crashes: 0,
            interruptions: 0,
            max_duration_ms: request.max_duration.map(millis),
            due_at,
            cancel_requested_at: None,
            // The time to live begins when the run is due.
            ttl_ms: request.ttl.map(millis),
            expires_at: request.ttl.map(|ttl| due_at.unwrap_or(now).saturating_add(millis(ttl))),
            replay_of: request.replay_of,
            root: None,
            depth: 0,
            labels: request.labels,
        })
    }

    async fn resume(&self, mut run: RunRecord) -> Result<(), WorkflowError> {
        let Some(task) = self.task(&run.summary.task) else {
            let error = ApiError::internal(WorkflowError::UnknownTask(run.summary.task.clone()).to_string());
            end(self, &mut run, RunStatus::SystemFailure, Err(error)).await?;
            return Ok(());
        };
        if run.cancel_requested_at.is_some() {
            end_cancelled(self, &mut run).await?;
            return Ok(());
        }
        if matches!(run.summary.status, RunStatus::Executing | RunStatus::Waiting) {
            run.crashes += 1;
            if run.crashes > task.crash_limit() {
                let message = format!("the server ended {} times while this run was executing", run.crashes);
                end(self, &mut run, RunStatus::Crashed, Err(ApiError::new(ErrorCode::Internal, message))).await?;
                return Ok(());
            }
            put_back(self, &mut run).await?;
        }
        self.open().insert(run.summary.id.clone(), watch::Sender::new(None));
        self.inner.engine.enqueue(run, self.clone());
        Ok(())
    }

    async fn sweep(&self) {
        let retention = u64::try_from(self.inner.retention.as_millis()).unwrap_or(u64::MAX);
        loop {
            let now = self.inner.clock.now_ms();
            match self.inner.runs.sweep(now.saturating_sub(retention)).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "deleted old runs"),
                Err(error) => tracing::warn!(%error, "old runs were not deleted"),
            }
            self.inner.clock.sleep_until(now.saturating_add(SWEEP_EVERY_MS)).await;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
