//! The engine's promises: retries, idempotency, lanes, cancelling, limits, and what survives the end of the process.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use async_trait::async_trait;
use futures::future::{BoxFuture, join_all};
use sandcastle::domain::{ApiError, ErrorCode, EventBody, LogLevel, RunId, RunStatus};
use sandcastle::store::Store;
use sandcastle::workflow::{
    Clock, RetryPolicy, RunFilter, RunRequest, Task, TaskContext, TaskError, Workflow, WorkflowError, WorkflowOptions,
};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

type Work = dyn Fn(TaskContext, Value) -> BoxFuture<'static, Result<Value, TaskError>> + Send + Sync;

/// A task that does what the test says.
#[derive(Clone)]
struct Probe(Arc<Work>);

impl Probe {
    fn new<F, R>(work: F) -> Self
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
struct ManualClock {
    now: watch::Sender<u64>,
    /// The times somebody sleeps until.
    sleepers: watch::Sender<Vec<u64>>,
}

impl ManualClock {
    fn new() -> Self {
        Self { now: watch::Sender::new(1_000_000), sleepers: watch::Sender::new(Vec::new()) }
    }

    /// Waits until somebody sleeps, moves to the earliest end of sleep and returns how far that was.
    async fn pass(&self) -> u64 {
        let now = *self.now.borrow();
        let mut sleepers = self.sleepers.subscribe();
        // Those whose time has come are awake, even if they have not run yet.
        let later = |all: &Vec<u64>| all.iter().copied().filter(|at| *at > now).min();
        let next = later(&sleepers.wait_for(|all| later(all).is_some()).await.unwrap()).unwrap();
        self.now.send_replace(next);
        next - now
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

struct Bench {
    _folder: tempfile::TempDir,
    store: Store,
    clock: ManualClock,
    workflow: Workflow,
}

async fn bench(probe: Probe) -> Bench {
    bench_with(probe, WorkflowOptions::default()).await
}

async fn bench_with(probe: Probe, options: WorkflowOptions) -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).await.unwrap();
    let clock = ManualClock::new();
    let workflow = Workflow::with_clock(&store, options, Arc::new(clock.clone()));
    workflow.register(probe);
    Bench { _folder: folder, store, clock, workflow }
}

fn request(payload: Value) -> RunRequest {
    RunRequest { task: "probe".to_owned(), title: "a probe".to_owned(), payload, ..RunRequest::default() }
}

fn broken() -> TaskError {
    TaskError::Retry(ApiError::new(ErrorCode::Sandbox, "the sandbox is away"))
}

async fn status(workflow: &Workflow, id: &RunId) -> RunStatus {
    workflow.get(id).await.unwrap().summary.status
}

#[tokio::test]
async fn a_task_that_fails_twice_is_tried_again_after_one_and_two_seconds() {
    let bench = bench(Probe::new(|ctx, input| async move {
        ctx.log(LogLevel::Info, format!("attempt {}", ctx.attempt)).await;
        if ctx.attempt < 3 { Err(broken()) } else { Ok(input) }
    }))
    .await;
    let id = bench.workflow.submit(request(json!({"n": 1}))).await.unwrap();
    assert_eq!(bench.clock.pass().await, 1_000);
    assert_eq!(bench.clock.pass().await, 2_000);
    assert_eq!(bench.workflow.wait(&id).await, Ok(json!({"n": 1})));
    let run = bench.workflow.get(&id).await.unwrap();
    assert_eq!((run.summary.status, run.summary.attempt), (RunStatus::Completed, 3));
    assert_eq!(run.attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(run.attempts[0].error.as_ref().unwrap().message, "the sandbox is away");
    assert_eq!(run.attempts[0].retry_at.unwrap() + 2_000, run.attempts[2].started_at);
    assert!(run.attempts.iter().all(|a| a.finished_at.is_some() && !a.crashed));
    assert_eq!(
        run.logs.iter().map(|l| l.message.as_str()).collect::<Vec<_>>(),
        ["attempt 1", "attempt 2", "attempt 3"]
    );
    assert_eq!((run.output, run.error), (Some(json!({"n": 1})), None));
    assert_eq!(bench.workflow.wait(&id).await, Ok(json!({"n": 1})));
}

#[tokio::test]
async fn a_task_that_always_fails_is_tried_three_times_and_a_fatal_error_once() {
    let bench = bench(Probe::new(|_, input| async move {
        if input == json!("fatal") { Err(TaskError::Fatal(ApiError::invalid("no"))) } else { Err(broken()) }
    }))
    .await;
    let id = bench.workflow.submit(request(json!("retry"))).await.unwrap();
    bench.clock.pass().await;
    bench.clock.pass().await;
    assert_eq!(bench.workflow.wait(&id).await.unwrap_err().code, ErrorCode::Sandbox);
    let run = bench.workflow.get(&id).await.unwrap();
    assert_eq!((run.summary.status, run.attempts.len()), (RunStatus::Failed, 3));
    assert_eq!(run.summary.error.as_deref(), Some("the sandbox is away"));
    let id = bench.workflow.submit(request(json!("fatal"))).await.unwrap();
    assert_eq!(bench.workflow.wait(&id).await.unwrap_err(), ApiError::invalid("no"));
    assert_eq!(bench.workflow.get(&id).await.unwrap().attempts.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_submit_with_the_same_key_returns_the_first_run() {
    let executed = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&executed);
    let bench = bench(Probe::new(move |_, input| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(input) }
    }))
    .await;
    let project = bench.store.events().create_project("Race").await.unwrap();
    let submits = (0..20).map(|n| {
        let (workflow, project) = (bench.workflow.clone(), project.clone());
        tokio::spawn(async move {
            let key = Some("call_1".to_owned());
            let request = RunRequest { idempotency_key: key, project: Some(project), ..request(json!(n)) };
            let id = workflow.submit(request).await.unwrap();
            (id.clone(), workflow.wait(&id).await.unwrap())
        })
    });
    let results: Vec<_> = join_all(submits).await.into_iter().map(Result::unwrap).collect();
    assert!(results.iter().all(|result| *result == results[0]));
    assert_eq!(executed.load(Ordering::SeqCst), 1);
    assert_eq!(bench.store.events().state(&project).await.unwrap().runs.len(), 1);
    let other = RunRequest { idempotency_key: Some("call_2".to_owned()), ..request(json!(0)) };
    assert_ne!(bench.workflow.submit(other).await.unwrap(), results[0].0);
}

#[tokio::test]
async fn a_run_is_canceled_whether_it_waits_sleeps_or_executes() {
    let started = Arc::new(Notify::new());
    let start = Arc::clone(&started);
    let bench = bench(Probe::new(move |ctx, input| {
        let start = Arc::clone(&start);
        async move {
            start.notify_one();
            if input == json!("deaf") {
                std::future::pending::<()>().await;
            }
            ctx.cancel.cancelled().await;
            Err(TaskError::Cancelled)
        }
    }))
    .await;
    let workflow = &bench.workflow;
    let lane = |payload| RunRequest { lane: Some("one".to_owned()), ..request(payload) };
    let executing = workflow.submit(lane(json!("polite"))).await.unwrap();
    started.notified().await;
    let queued = workflow.submit(lane(json!("polite"))).await.unwrap();
    let sleeping =
        workflow.submit(RunRequest { delay: Some(Duration::from_secs(60)), ..request(json!(1)) }).await.unwrap();
    assert_eq!(status(workflow, &queued).await, RunStatus::Queued);
    assert_eq!(status(workflow, &sleeping).await, RunStatus::Delayed);
    for id in [&queued, &sleeping, &executing] {
        workflow.cancel(id).await.unwrap();
        assert_eq!(workflow.wait(id).await.unwrap_err().code, ErrorCode::Cancelled);
        assert_eq!(status(workflow, id).await, RunStatus::Canceled);
        workflow.cancel(id).await.unwrap();
    }
    let deaf = workflow.submit(request(json!("deaf"))).await.unwrap();
    started.notified().await;
    workflow.cancel(&deaf).await.unwrap();
    assert!(bench.clock.pass().await < 1_000);
    assert_eq!(workflow.wait(&deaf).await.unwrap_err().code, ErrorCode::Cancelled);
    assert_eq!(workflow.health().open, 0);
}

#[tokio::test]
async fn a_parent_that_waits_for_its_child_never_takes_its_place() {
    let options = WorkflowOptions { parallel: 1, ..WorkflowOptions::default() };
    let probe = Probe::new(|ctx, input| async move {
        if input == json!("child") {
            return Ok(json!("grown"));
        }
        let child = RunRequest { parent: Some(ctx.run.clone()), ..request(json!("child")) };
        ctx.workflow().call(child, &ctx.cancel).await.map_err(TaskError::Fatal)
    });
    let bench = bench_with(probe, options).await;
    let parent = bench.workflow.submit(request(json!("parent"))).await.unwrap();
    assert_eq!(bench.workflow.wait(&parent).await, Ok(json!("grown")));
    let detail = bench.workflow.get(&parent).await.unwrap();
    assert_eq!(detail.children.len(), 1);
    assert_eq!(detail.children[0].parent.as_ref(), Some(&parent));
}

#[tokio::test]
async fn children_are_canceled_with_their_parent() {
    let child = Arc::new(tokio::sync::Mutex::new(None));
    let (born, first) = (Arc::new(Notify::new()), Arc::clone(&child));
    let birth = Arc::clone(&born);
    let bench = bench(Probe::new(move |ctx, input| {
        let (born, child) = (Arc::clone(&birth), Arc::clone(&first));
        async move {
            if input == json!("parent") {
                let request = RunRequest { parent: Some(ctx.run.clone()), ..request(json!("child")) };
                *child.lock().await = Some(ctx.workflow().submit(request).await.unwrap());
                born.notify_one();
            }
            ctx.cancel.cancelled().await;
            Err(TaskError::Cancelled)
        }
    }))
    .await;
    let parent = bench.workflow.submit(request(json!("parent"))).await.unwrap();
    born.notified().await;
    bench.workflow.cancel(&parent).await.unwrap();
    let child = child.lock().await.clone().unwrap();
    assert_eq!(bench.workflow.wait(&child).await.unwrap_err().code, ErrorCode::Cancelled);
    assert_eq!(status(&bench.workflow, &child).await, RunStatus::Canceled);
}

#[tokio::test]
async fn cancelling_the_callers_token_cancels_the_run() {
    let bench = bench(Probe::new(|ctx, _| async move {
        ctx.cancel.cancelled().await;
        Err(TaskError::Cancelled)
    }))
    .await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let error = bench.workflow.call(request(json!(0)), &cancel).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Cancelled);
}

#[tokio::test]
async fn a_run_over_its_time_is_stopped_as_timed_out() {
    let bench = bench(Probe::new(|ctx, _| async move {
        ctx.cancel.cancelled().await;
        Err(TaskError::Cancelled)
    }))
    .await;
    let limited = RunRequest { max_duration: Some(Duration::from_secs(5)), ..request(json!(0)) };
    let id = bench.workflow.submit(limited).await.unwrap();
    assert_eq!(bench.clock.pass().await, 5_000);
    let error = bench.workflow.wait(&id).await.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Timeout, "the run took longer than its limit of 5 s"));
    assert_eq!(status(&bench.workflow, &id).await, RunStatus::TimedOut);
}

#[tokio::test]
async fn runs_of_a_lane_take_turns_in_the_order_they_were_submitted() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (log, inside) = (Arc::clone(&order), Arc::new(AtomicUsize::new(0)));
    let bench = bench(Probe::new(move |_, input| {
        let (log, inside) = (Arc::clone(&log), Arc::clone(&inside));
        async move {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            log.lock().unwrap().push(input.as_u64().unwrap());
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(Value::Null)
        }
    }))
    .await;
    let mut last = None;
    for n in 0..50 {
        let request = RunRequest { lane: Some("writes".to_owned()), ..request(json!(n)) };
        last = Some(bench.workflow.submit(request).await.unwrap());
    }
    bench.workflow.wait(&last.unwrap()).await.unwrap();
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_runs_end_with_at_most_thirty_two_at_once() {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let high = Arc::clone(&most);
    let bench = bench_with(
        Probe::new(move |_, input| {
            let (inside, most) = (Arc::clone(&inside), Arc::clone(&high));
            async move {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok(input)
            }
        }),
        WorkflowOptions { parallel: 32, ..WorkflowOptions::default() },
    )
    .await;
    let submits = join_all((0..1_000).map(|n| bench.workflow.submit(request(json!(n))))).await;
    for (n, id) in submits.into_iter().enumerate() {
        assert_eq!(bench.workflow.wait(&id.unwrap()).await, Ok(json!(n)));
    }
    assert!(most.load(Ordering::SeqCst) <= 32);
}

#[tokio::test]
async fn every_change_of_a_run_is_in_its_projects_log() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    let project = bench.store.events().create_project("Log").await.unwrap();
    let request = RunRequest { project: Some(project.clone()), ..request(json!(1)) };
    let id = bench.workflow.submit(request).await.unwrap();
    bench.workflow.wait(&id).await.unwrap();
    let events = bench.store.events().after(&project, 1, 100).await.unwrap();
    let changes: Vec<_> = events
        .iter()
        .map(|event| match &event.body {
            EventBody::RunChanged { run } => run.status,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(changes, [RunStatus::Queued, RunStatus::Executing, RunStatus::Completed]);
    let in_list = bench.workflow.list(RunFilter::default()).await.unwrap();
    assert_eq!(bench.store.events().state(&project).await.unwrap().runs, in_list);
    bench.store.events().delete_project(&project).await.unwrap();
    assert!(bench.workflow.get(&id).await.is_err());
}

#[tokio::test]
async fn a_panic_ends_the_run_as_a_system_failure_and_the_engine_goes_on() {
    let bench = bench(Probe::new(|_, input| async move {
        assert_ne!(input, json!("bad"), "the probe was told to panic");
        Ok(input)
    }))
    .await;
    let bad = bench.workflow.submit(request(json!("bad"))).await.unwrap();
    assert_eq!(bench.workflow.wait(&bad).await.unwrap_err().code, ErrorCode::Internal);
    assert_eq!(status(&bench.workflow, &bad).await, RunStatus::SystemFailure);
    let good = bench.workflow.submit(request(json!("good"))).await.unwrap();
    assert_eq!(bench.workflow.wait(&good).await, Ok(json!("good")));
}

#[tokio::test]
async fn what_cannot_run_is_refused_with_the_reason() {
    let bench = bench(Probe::new(|_, input| async move {
        Ok(json!("x".repeat(usize::try_from(input.as_u64().unwrap_or(0)).unwrap())))
    }))
    .await;
    let unknown = RunRequest { task: "launder".to_owned(), ..RunRequest::default() };
    let error = bench.workflow.submit(unknown).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no task named \"launder\"");
    let error = bench.workflow.submit(request(json!("x".repeat(17 << 20)))).await.unwrap_err();
    assert!(matches!(error, WorkflowError::PayloadTooLarge { limit: 16_777_216, .. }));
    let id = bench.workflow.submit(request(json!(5 << 20))).await.unwrap();
    assert_eq!(bench.workflow.wait(&id).await.unwrap_err().code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn runs_are_listed_by_what_is_asked_and_can_be_replayed() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    let mut ids = Vec::new();
    for title in ["npm install", "npm run dev", "go build"] {
        let request = RunRequest { title: title.to_owned(), ..request(json!({"line": title})) };
        let id = bench.workflow.submit(request).await.unwrap();
        bench.workflow.wait(&id).await.unwrap();
        ids.push(id);
    }
    let titles = async |filter: RunFilter| -> Vec<String> {
        bench.workflow.list(filter).await.unwrap().into_iter().map(|run| run.title).collect()
    };
    assert_eq!(titles(RunFilter::default()).await, ["go build", "npm run dev", "npm install"]);
    let npm = RunFilter { text: Some("NPM".to_owned()), limit: Some(1), ..RunFilter::default() };
    assert_eq!(titles(npm).await, ["npm run dev"]);
    let older = RunFilter { before: Some(ids[1].clone()), ..RunFilter::default() };
    assert_eq!(titles(older).await, ["npm install"]);
    let failed = RunFilter { status: Some(RunStatus::Failed), ..RunFilter::default() };
    assert!(titles(failed).await.is_empty());
    let again = bench.workflow.replay(&ids[2]).await.unwrap();
    assert_eq!(bench.workflow.wait(&again).await, Ok(json!({"line": "go build"})));
    assert_eq!(bench.workflow.get(&again).await.unwrap().replay_of.as_ref(), Some(&ids[2]));
}

/// Runs a part of a test in a process of its own, as far as tasks and memory go: when it returns, everything that
/// still runs is dropped where it stands, as by the death of the server.
fn life<T>(part: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(part)
}

async fn start(folder: &Path, probe: &Probe, clock: &ManualClock) -> (Store, Workflow) {
    let store = Store::open(folder).await.unwrap();
    let workflow = Workflow::with_clock(&store, WorkflowOptions::default(), Arc::new(clock.clone()));
    workflow.register(probe.clone());
    workflow.boot().await.unwrap();
    (store, workflow)
}

/// A task that hangs while `stuck` is true and then says how often it was cut off and which attempt this is.
fn sticky() -> (Probe, watch::Sender<bool>, Arc<Notify>) {
    let (stuck, started) = (watch::Sender::new(true), Arc::new(Notify::new()));
    let (watched, start) = (stuck.clone(), Arc::clone(&started));
    let probe = Probe::new(move |ctx, _| {
        let (mut stuck, start) = (watched.subscribe(), Arc::clone(&start));
        async move {
            start.notify_one();
            stuck.wait_for(|stuck| !stuck).await.unwrap();
            Ok(json!([ctx.crashes, ctx.attempt]))
        }
    });
    (probe, stuck, started)
}

#[test]
fn after_a_crash_open_runs_go_on_without_losing_an_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (probe, stuck, started) = sticky();
    let (executing, queued, delayed) = life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        let lane = || RunRequest { lane: Some("one".to_owned()), ..request(Value::Null) };
        let executing = workflow.submit(lane()).await.unwrap();
        started.notified().await;
        let queued = workflow.submit(lane()).await.unwrap();
        let later = RunRequest { delay: Some(Duration::from_secs(9)), ..request(Value::Null) };
        (executing, queued, workflow.submit(later).await.unwrap())
    });
    stuck.send_replace(false);
    life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        assert_eq!(workflow.wait(&executing).await, Ok(json!([1, 1])));
        assert_eq!(workflow.wait(&queued).await, Ok(json!([0, 1])));
        assert_eq!(status(&workflow, &delayed).await, RunStatus::Delayed);
        assert_eq!(clock.pass().await, 9_000);
        assert_eq!(workflow.wait(&delayed).await, Ok(json!([0, 1])));
        let run = workflow.get(&executing).await.unwrap();
        assert_eq!(run.attempts.iter().map(|a| (a.number, a.crashed)).collect::<Vec<_>>(), [(1, true), (1, false)]);
    });
}

#[test]
fn a_run_that_was_cut_off_by_six_crashes_is_crashed() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (probe, _stuck, started) = sticky();
    let id = life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        let id = workflow.submit(request(Value::Null)).await.unwrap();
        started.notified().await;
        id
    });
    for _ in 0..5 {
        life(async {
            let (_store, workflow) = start(folder.path(), &probe, &clock).await;
            started.notified().await;
            assert_eq!(status(&workflow, &id).await, RunStatus::Executing);
        });
    }
    life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        assert!(workflow.wait(&id).await.unwrap_err().message.contains("6 times"));
        assert_eq!(status(&workflow, &id).await, RunStatus::Crashed);
    });
}

#[test]
fn an_orderly_stop_leaves_runs_to_be_resumed_and_counts_no_crash() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (probe, stuck, started) = sticky();
    let id = life(async {
        let (store, workflow) = start(folder.path(), &probe, &clock).await;
        let id = workflow.submit(request(Value::Null)).await.unwrap();
        started.notified().await;
        workflow.shutdown(Duration::ZERO).await;
        assert_eq!(status(&workflow, &id).await, RunStatus::Queued);
        assert!(matches!(workflow.submit(request(Value::Null)).await, Err(WorkflowError::ShuttingDown)));
        assert_eq!(workflow.wait(&id).await.unwrap_err().code, ErrorCode::Cancelled);
        store.close().await;
        id
    });
    stuck.send_replace(false);
    life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        assert_eq!(workflow.wait(&id).await, Ok(json!([1, 1])));
    });
}

#[test]
fn a_run_of_a_task_that_no_longer_exists_ends_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let (probe, _stuck, started) = sticky();
    let id = life(async {
        let (_store, workflow) = start(folder.path(), &probe, &ManualClock::new()).await;
        let id = workflow.submit(request(Value::Null)).await.unwrap();
        started.notified().await;
        id
    });
    life(async {
        let store = Store::open(folder.path()).await.unwrap();
        let workflow = Workflow::new(&store, WorkflowOptions::default());
        workflow.boot().await.unwrap();
        assert_eq!(workflow.wait(&id).await.unwrap_err().message, "there is no task named \"probe\"");
    });
}

#[tokio::test]
async fn ended_runs_are_deleted_after_their_retention() {
    let options = WorkflowOptions { retention: Duration::from_secs(60), ..WorkflowOptions::default() };
    let bench = bench_with(Probe::new(|_, input| async move { Ok(input) }), options).await;
    let id = bench.workflow.submit(request(Value::Null)).await.unwrap();
    bench.workflow.wait(&id).await.unwrap();
    assert_eq!(bench.store.runs().sweep(1_000_000).await.unwrap(), 0);
    assert_eq!(bench.store.runs().sweep(1_000_001).await.unwrap(), 1);
    assert!(bench.workflow.get(&id).await.is_err());
}
