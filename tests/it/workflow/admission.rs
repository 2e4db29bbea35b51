//! When a run may start: priority, time to live, delay that is moved, caps.

use super::support::{Probe, bench, bench_with, request, status};
use async_trait::async_trait;
use sandcastle::domain::{ErrorCode, RunStatus};
use sandcastle::workflow::{RunRequest, Task, TaskContext, TaskError, WorkflowError, WorkflowOptions};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Barrier, Notify, watch};

/// The inputs of runs in the order they started.
type Order = Arc<Mutex<Vec<Value>>>;

/// A probe that waits until the gate is open and writes down in which order runs started.
fn gated() -> (Probe, watch::Sender<bool>, Order, Arc<Notify>) {
    let (gate, order, started) = (watch::Sender::new(false), Arc::new(Mutex::new(Vec::new())), Arc::new(Notify::new()));
    let (closed, log, start) = (gate.clone(), Arc::clone(&order), Arc::clone(&started));
    let probe = Probe::new(move |_, input| {
        let (mut gate, log, start) = (closed.subscribe(), Arc::clone(&log), Arc::clone(&start));
        async move {
            log.lock().unwrap().push(input);
            start.notify_one();
            gate.wait_for(|open| *open).await.unwrap();
            Ok(Value::Null)
        }
    });
    (probe, gate, order, started)
}

fn one_place() -> WorkflowOptions {
    WorkflowOptions { parallel: 1, ..WorkflowOptions::default() }
}

#[tokio::test]
async fn an_urgent_run_goes_ahead_of_those_submitted_before_it() {
    let (probe, gate, order, started) = gated();
    let bench = bench_with(probe, one_place()).await;
    let mut runs = vec![bench.workflow.submit(request(json!("first"))).await.unwrap()];
    started.notified().await;
    for (name, priority) in [("slow", 0), ("urgent", 10), ("later", -10), ("normal", 0)] {
        let request = RunRequest { priority, ..request(json!(name)) };
        runs.push(bench.workflow.submit(request).await.unwrap());
        while bench.workflow.health().open < runs.len() {
            tokio::task::yield_now().await;
        }
    }
    gate.send_replace(true);
    for run in &runs {
        bench.workflow.wait(run).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["first", "urgent", "slow", "normal", "later"]);
}

#[tokio::test]
async fn a_run_that_does_not_start_in_time_expires_and_never_executes() {
    let (probe, gate, order, started) = gated();
    let bench = bench_with(probe, one_place()).await;
    let first = bench.workflow.submit(request(json!("first"))).await.unwrap();
    started.notified().await;
    let mortal = RunRequest { ttl: Some(Duration::from_secs(5)), ..request(json!("mortal")) };
    let mortal = bench.workflow.submit(mortal).await.unwrap();
    assert_eq!(bench.clock.pass().await, 5_000);
    let error = bench.workflow.wait(&mortal).await.unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str()),
        (ErrorCode::Timeout, "the run did not start within its time to live")
    );
    assert_eq!(status(&bench.workflow, &mortal).await, RunStatus::Expired);
    gate.send_replace(true);
    bench.workflow.wait(&first).await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["first"]);
    // One that has started can take as long as it likes.
    let quick = RunRequest { ttl: Some(Duration::from_secs(5)), ..request(json!("quick")) };
    let quick = bench.workflow.submit(quick).await.unwrap();
    assert_eq!(bench.workflow.wait(&quick).await, Ok(Value::Null));
}

#[tokio::test]
async fn a_delayed_run_can_be_moved_until_it_has_started() {
    let (probe, gate, _, started) = gated();
    let bench = bench(probe).await;
    let later = RunRequest { delay: Some(Duration::from_secs(3_600)), ..request(json!(1)) };
    let id = bench.workflow.submit(later).await.unwrap();
    bench.workflow.reschedule(&id, Duration::from_secs(2)).await.unwrap();
    assert_eq!(bench.workflow.get(&id).await.unwrap().due_at, Some(1_002_000));
    bench.clock.sleeps_until(1_002_000).await;
    assert_eq!(bench.clock.pass().await, 2_000);
    started.notified().await;
    let error = bench.workflow.reschedule(&id, Duration::from_secs(9)).await.unwrap_err();
    assert!(matches!(error, WorkflowError::NotDelayed(_)), "{error}");
    gate.send_replace(true);
    bench.workflow.wait(&id).await.unwrap();
}

#[tokio::test]
async fn a_time_to_live_counts_from_when_the_run_may_start_also_when_that_is_moved() {
    let (probe, gate, order, started) = gated();
    let bench = bench_with(probe, one_place()).await;
    let first = bench.workflow.submit(request(json!("first"))).await.unwrap();
    started.notified().await;
    let mortal = |name| RunRequest {
        delay: Some(Duration::from_secs(3_600)),
        ttl: Some(Duration::from_secs(600)),
        ..request(json!(name))
    };
    let later = bench.workflow.submit(mortal("later")).await.unwrap();
    assert_eq!(bench.workflow.get(&later).await.unwrap().expires_at, Some(1_000_000 + 4_200_000));
    bench.workflow.reschedule(&later, Duration::from_secs(7_200)).await.unwrap();
    let due = 1_000_000 + 7_200_000;
    let run = bench.workflow.get(&later).await.unwrap();
    assert_eq!((run.due_at, run.expires_at), (Some(due), Some(due + 600_000)));
    bench.clock.sleeps_until(due).await;
    bench.clock.sleeps_until(due + 600_000).await;
    assert_eq!(bench.clock.pass().await, 7_200_000);
    let mut changes = bench.workflow.store().changes();
    while status(&bench.workflow, &later).await != RunStatus::Queued {
        changes.recv().await.unwrap();
    }
    assert_eq!(bench.workflow.get(&later).await.unwrap().due_at, Some(due));
    assert_eq!(bench.clock.pass().await, 600_000);
    assert_eq!(bench.workflow.wait(&later).await.unwrap_err().code, ErrorCode::Timeout);
    assert_eq!(status(&bench.workflow, &later).await, RunStatus::Expired);
    gate.send_replace(true);
    bench.workflow.wait(&first).await.unwrap();
    assert_eq!(*order.lock().unwrap(), ["first"]);
}

#[tokio::test]
async fn a_delayed_run_whose_time_has_come_waits_in_the_queue() {
    let (probe, gate, _, started) = gated();
    let bench = bench_with(probe, one_place()).await;
    let first = bench.workflow.submit(request(json!("first"))).await.unwrap();
    started.notified().await;
    let later = RunRequest { delay: Some(Duration::from_secs(1)), ..request(json!("later")) };
    let later = bench.workflow.submit(later).await.unwrap();
    assert_eq!(status(&bench.workflow, &later).await, RunStatus::Delayed);
    let mut changes = bench.workflow.store().changes();
    bench.clock.pass().await;
    while status(&bench.workflow, &later).await != RunStatus::Queued {
        changes.recv().await.unwrap();
    }
    gate.send_replace(true);
    bench.workflow.wait(&first).await.unwrap();
    bench.workflow.wait(&later).await.unwrap();
}

/// Counts how many of it are at work in one project.
struct InSandbox {
    inside: AtomicUsize,
    most: Arc<AtomicUsize>,
    /// Nobody leaves before a second one is there.
    pair: Barrier,
}

#[async_trait]
impl Task for InSandbox {
    const NAME: &'static str = "inSandbox";
    const IN_SANDBOX: bool = true;
    type Input = Value;
    type Output = Value;

    async fn run(&self, _: TaskContext, _: Value) -> Result<Value, TaskError> {
        self.most.fetch_max(self.inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        self.pair.wait().await;
        self.inside.fetch_sub(1, Ordering::SeqCst);
        Ok(Value::Null)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sandbox_takes_only_its_share_also_of_child_runs() {
    let options = WorkflowOptions { per_sandbox: 2, ..WorkflowOptions::default() };
    let (probe, gate, ..) = gated();
    let bench = bench_with(probe, options).await;
    let task = InSandbox { inside: AtomicUsize::new(0), most: Arc::default(), pair: Barrier::new(2) };
    let most = Arc::clone(&task.most);
    bench.workflow.register(task);
    let project = bench.store.events().create_project("Busy").await.unwrap();
    let parent = bench.workflow.submit(request(json!("parent"))).await.unwrap();
    let mut runs = Vec::new();
    for n in 0..20 {
        let request = RunRequest {
            task: "inSandbox".to_owned(),
            project: Some(project.clone()),
            parent: (n % 2 == 0).then(|| parent.clone()),
            ..RunRequest::default()
        };
        runs.push(bench.workflow.submit(request).await.unwrap());
    }
    for run in runs {
        bench.workflow.wait(&run).await.unwrap();
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
    gate.send_replace(true);
    bench.workflow.wait(&parent).await.unwrap();
}

#[tokio::test]
async fn a_key_finds_its_run_until_it_expires_or_is_freed() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    let keyed = || RunRequest {
        idempotency_key: Some("k".to_owned()),
        key_ttl: Some(Duration::from_secs(60)),
        ..request(json!(1))
    };
    let first = bench.workflow.submit(keyed()).await.unwrap();
    bench.workflow.wait(&first).await.unwrap();
    assert_eq!(bench.workflow.submit(keyed()).await.unwrap(), first);
    let later = RunRequest { delay: Some(Duration::from_secs(60)), ..request(json!("time passes")) };
    bench.workflow.submit(later).await.unwrap();
    while bench.clock.pass().await != 60_000 {}
    let second = bench.workflow.submit(keyed()).await.unwrap();
    assert_ne!(second, first);
    assert!(bench.store.runs().free_key("probe", "k").await.unwrap());
    assert!(!bench.store.runs().free_key("probe", "k").await.unwrap());
    assert_ne!(bench.workflow.submit(keyed()).await.unwrap(), second);
}

#[tokio::test]
async fn a_run_waits_in_the_queue_only_from_the_time_it_was_to_start() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    let later = RunRequest { delay: Some(Duration::from_secs(60)), ..request(json!(1)) };
    let id = bench.workflow.submit(later).await.unwrap();
    bench.workflow.reschedule(&id, Duration::from_secs(90)).await.unwrap();
    bench.clock.sleeps_until(1_090_000).await;
    bench.clock.pass().await;
    bench.workflow.wait(&id).await.unwrap();
    let waited = bench.workflow.figures().waited();
    assert_eq!((waited["probe"].count, waited["probe"].sum_ms), (1, 0));
}
