//! A task that does what the test says, a clock that the test moves, and a workflow with both.

use async_trait::async_trait;
use futures::future::BoxFuture;
use sandcastle::domain::{ApiError, ErrorCode, RunId, RunStatus};
use sandcastle::store::Store;
use sandcastle::workflow::{Clock, RetryPolicy, RunRequest, Task, TaskContext, TaskError, Workflow, WorkflowOptions};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

type Work = dyn Fn(TaskContext, Value) -> BoxFuture<'static, Result<Value, TaskError>> + Send + Sync;

/// A task that does what the test says.
#[derive(Clone)]
pub struct Probe(Arc<Work>);

impl Probe {
    pub fn new<F, R>(work: F) -> Self
    where
        F: Fn(TaskContext, Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, TaskError>> + Send + 'static,
    {
        Self(Arc::new(move |ctx, input| Box::pin(work(ctx, input))))
    }
}

#[async_trait]
impl Task for Probe {
    const NAME: &'static str = "probe";
    type Input = Value;
    type Output = Value;

    fn retry(&self) -> RetryPolicy {
        RetryPolicy { jitter: false, ..RetryPolicy::default() }
    }

    async fn run(&self, ctx: TaskContext, input: Value) -> Result<Value, TaskError> {
        (self.0)(ctx, input).await
    }
}

/// A clock that stands still until the test moves it.
#[derive(Clone)]
pub struct ManualClock {
    now: watch::Sender<u64>,
    /// The times somebody sleeps until.
    sleepers: watch::Sender<Vec<u64>>,
}

impl ManualClock {
    pub fn new() -> Self {
        Self { now: watch::Sender::new(1_000_000), sleepers: watch::Sender::new(Vec::new()) }
    }

    /// Waits until somebody sleeps, moves to the earliest end of sleep and returns how far that was.
    pub async fn pass(&self) -> u64 {
        let now = *self.now.borrow();
        let mut sleepers = self.sleepers.subscribe();
        // Those whose time has come are awake, even if they have not run yet.
        let later = |all: &Vec<u64>| all.iter().copied().filter(|at| *at > now).min();
        let next = later(&sleepers.wait_for(|all| later(all).is_some()).await.unwrap()).unwrap();
        self.now.send_replace(next);
        next - now
    }
}

impl ManualClock {
    /// Waits until somebody sleeps until then.
    pub async fn sleeps_until(&self, at: u64) {
        self.sleepers.subscribe().wait_for(|all| all.contains(&at)).await.unwrap();
    }
}

struct Asleep<'a>(&'a ManualClock, u64);

impl Drop for Asleep<'_> {
    fn drop(&mut self) {
        self.0.sleepers.send_modify(|all| {
            let at = all.iter().position(|at| *at == self.1).unwrap();
            all.remove(at);
        });
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now_ms(&self) -> u64 {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: u64) {
        let mut now = self.now.subscribe();
        if *now.borrow_and_update() >= at {
            return;
        }
        self.sleepers.send_modify(|all| all.push(at));
        let _asleep = Asleep(self, at);
        now.wait_for(|now| *now >= at).await.unwrap();
    }
}

pub struct Bench {
    _folder: tempfile::TempDir,
    pub store: Store,
    pub clock: ManualClock,
    pub workflow: Workflow,
}

pub async fn bench(probe: Probe) -> Bench {
    bench_with(probe, WorkflowOptions::default()).await
}

pub async fn bench_with(probe: Probe, options: WorkflowOptions) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let clock = ManualClock::new();
    let workflow = Workflow::with_clock(&store, options, Arc::new(clock.clone()));
    workflow.register(probe);
    Bench { _folder: folder, store, clock, workflow }
}

pub fn request(payload: Value) -> RunRequest {
    RunRequest { task: "probe".to_owned(), title: "a probe".to_owned(), payload, ..RunRequest::default() }
}

pub fn broken() -> TaskError {
    TaskError::Retry(ApiError::new(ErrorCode::Sandbox, "the sandbox is away"))
}

pub async fn status(workflow: &Workflow, id: &RunId) -> RunStatus {
    workflow.get(id).await.unwrap().summary.status
}
