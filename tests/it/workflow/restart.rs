//! What survives the end of the process, orderly or not.

use super::support::{ManualClock, Probe, request, status};
use sandcastle::domain::{ErrorCode, RunStatus};
use sandcastle::store::Store;
use sandcastle::workflow::{RunRequest, Workflow, WorkflowError, WorkflowOptions};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

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
