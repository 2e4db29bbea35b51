//! What survives the end of the process, orderly or not.

use super::support::{ManualClock, Probe, request, status};
use sandcastle::domain::{ErrorCode, RunStatus};
use sandcastle::store::Store;
use sandcastle::workflow::{RunRequest, TaskError, Workflow, WorkflowError, WorkflowOptions};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
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
fn an_orderly_stop_is_not_seen_by_a_run_that_waits_for_its_child() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (started, seen) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (start_child, see) = (Arc::clone(&started), Arc::clone(&seen));
    let probe = Probe::new(move |ctx, input| {
        let (started, seen) = (Arc::clone(&start_child), Arc::clone(&see));
        async move {
            if input == json!("child") {
                started.notify_one();
                std::future::pending::<()>().await;
            }
            let child = RunRequest { parent: Some(ctx.run.clone()), ..request(json!("child")) };
            let result = ctx.workflow().call(child, &ctx.cancel).await;
            seen.store(true, Ordering::SeqCst);
            result.map_err(TaskError::Fatal)
        }
    });
    life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        let parent = workflow.submit(request(json!("parent"))).await.unwrap();
        started.notified().await;
        workflow.shutdown(Duration::ZERO).await;
        assert_eq!(status(&workflow, &parent).await, RunStatus::Queued);
        assert!(!seen.load(Ordering::SeqCst));
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

#[test]
fn a_run_that_was_asked_to_stop_is_canceled_with_its_children_also_if_the_server_dies_before_it_has_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let (begun, executions) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
    let (begin, count) = (Arc::clone(&begun), Arc::clone(&executions));
    // It does not listen, and the clock that would cut it off stands still.
    let probe = Probe::new(move |ctx, input| {
        let (begun, executions) = (Arc::clone(&begin), Arc::clone(&count));
        async move {
            executions.fetch_add(1, Ordering::SeqCst);
            if input == json!("parent") {
                let child = RunRequest { parent: Some(ctx.run.clone()), ..request(json!("child")) };
                ctx.workflow().submit(child).await.unwrap();
            } else {
                begun.notify_one();
            }
            std::future::pending().await
        }
    });
    let (parent, child) = life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        let parent = workflow.submit(request(json!("parent"))).await.unwrap();
        begun.notified().await;
        workflow.cancel(&parent).await.unwrap();
        let child = workflow.get(&parent).await.unwrap().children[0].id.clone();
        assert_eq!(status(&workflow, &child).await, RunStatus::Executing);
        (parent, child)
    });
    life(async {
        let (_store, workflow) = start(folder.path(), &probe, &clock).await;
        for id in [&parent, &child] {
            assert_eq!(workflow.wait(id).await.unwrap_err().code, ErrorCode::Cancelled);
            assert_eq!(status(&workflow, id).await, RunStatus::Canceled);
        }
        assert_eq!(executions.load(Ordering::SeqCst), 2);
    });
}
