//! Restate is another process: it may not be there, end, lose what it knows, or belong to somebody else.

use super::conformance::until;
use super::engines::Rig;
use super::support::{Probe, broken, request, status};
use reqwest::Method;
use sandcastle::domain::{ErrorCode, LogLevel, RunId, RunStatus};
use sandcastle::workflow::{EngineError, RetryPolicy, RunRequest, Workflow, WorkflowOptions};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// A task that counts its executions and ends when the gate is open.
fn gated() -> (Probe, watch::Sender<bool>, Arc<AtomicU32>, Arc<Notify>) {
    let (gate, executed, started) = (watch::Sender::new(false), Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (wait, count, start) = (gate.clone(), Arc::clone(&executed), Arc::clone(&started));
    let probe = Probe::new(move |ctx, input| {
        count.fetch_add(1, Ordering::SeqCst);
        start.notify_one();
        let mut gate = wait.subscribe();
        async move {
            gate.wait_for(|open| *open).await.unwrap();
            if input == json!("fails once") && ctx.attempt < 2 {
                Err(broken())
            } else {
                Ok(json!([input, ctx.attempt]))
            }
        }
    });
    (probe, gate, executed, started)
}

async fn until_trouble(workflow: &Workflow, there_is: bool) {
    while workflow.health().trouble.is_some() != there_is {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn until_logged(workflow: &Workflow, id: &RunId) -> String {
    let mut changes = workflow.store().changes();
    loop {
        let logs = workflow.get(id).await.unwrap().logs;
        if let Some(line) = logs.iter().find(|line| line.level == LogLevel::Warn) {
            return line.message.clone();
        }
        let _change = changes.recv().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_restate_runs_wait_say_why_and_start_once_it_is_there() {
    let Some(mut rig) = Rig::restate_not_started().await else { return };
    let (store, workflow) = rig.open(WorkflowOptions::default()).await;
    let (probe, gate, executed, _) = gated();
    gate.send_replace(true);
    workflow.register(probe);
    workflow.boot().await.unwrap();
    let waits = workflow.submit(request(json!("waits"))).await.unwrap();
    let unwanted = workflow.submit(request(json!("unwanted"))).await.unwrap();
    let reason = until_logged(&workflow, &waits).await;
    assert!(reason.starts_with("Restate's ingress cannot be reached at unix:"), "{reason}");
    assert!(reason.ends_with("The run waits and starts by itself."), "{reason}");
    assert!(workflow.health().trouble.is_some());
    workflow.cancel(&unwanted).await.unwrap();
    assert_eq!(workflow.wait(&unwanted).await.unwrap_err().code, ErrorCode::Cancelled);
    assert_eq!(status(&workflow, &waits).await, RunStatus::Queued);
    rig.server().start();
    assert_eq!(workflow.wait(&waits).await, Ok(json!(["waits", 1])));
    assert_eq!(executed.load(Ordering::SeqCst), 1);
    assert_eq!(workflow.health().trouble, None);
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_restate_dies_attempts_go_on_and_what_waits_goes_on_after_its_return() {
    let Some(mut rig) = Rig::restate().await else { return };
    let (store, workflow) = rig.open(WorkflowOptions { parallel: 2, ..WorkflowOptions::default() }).await;
    let (probe, gate, executed, started) = gated();
    workflow.register(probe);
    workflow.boot().await.unwrap();
    let retry = Some(RetryPolicy { min_ms: 100, jitter: false, ..RetryPolicy::default() });
    let executing = workflow.submit(request(json!("executing"))).await.unwrap();
    started.notified().await;
    let fails = workflow.submit(RunRequest { retry, ..request(json!("fails once")) }).await.unwrap();
    started.notified().await;
    // Handed over by Restate, but both places are taken.
    let third = workflow.submit(request(json!("third"))).await.unwrap();
    until(&workflow, &third, RunStatus::Dequeued).await;
    let delay = Some(Duration::from_millis(500));
    let delayed = workflow.submit(RunRequest { delay, ..request(json!("delayed")) }).await.unwrap();
    rig.server().kill();
    let meanwhile = workflow.submit(request(json!("meanwhile"))).await.unwrap();
    until_logged(&workflow, &meanwhile).await;
    gate.send_replace(true);
    // What had its turn does not need Restate any more.
    assert_eq!(workflow.wait(&executing).await, Ok(json!(["executing", 1])));
    assert_eq!(workflow.wait(&third).await, Ok(json!(["third", 1])));
    until(&workflow, &fails, RunStatus::Delayed).await;
    rig.server().start();
    assert_eq!(workflow.wait(&fails).await, Ok(json!(["fails once", 2])));
    assert_eq!(workflow.wait(&delayed).await, Ok(json!(["delayed", 1])));
    assert_eq!(workflow.wait(&meanwhile).await, Ok(json!(["meanwhile", 1])));
    assert_eq!(executed.load(Ordering::SeqCst), 6);
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restate_that_lost_everything_is_told_everything_again() {
    let Some(mut rig) = Rig::restate().await else { return };
    let (store, workflow) = rig.open(WorkflowOptions::default()).await;
    let (probe, gate, executed, _) = gated();
    gate.send_replace(true);
    workflow.register(probe);
    workflow.boot().await.unwrap();
    let delay = Some(Duration::from_secs(4));
    let delayed = workflow.submit(RunRequest { delay, ..request(json!("delayed")) }).await.unwrap();
    let first = workflow.submit(request(json!("first"))).await.unwrap();
    assert_eq!(workflow.wait(&first).await, Ok(json!(["first", 1])));
    rig.server().forget();
    let second = workflow.submit(request(json!("second"))).await.unwrap();
    until_trouble(&workflow, true).await;
    rig.server().start();
    assert_eq!(workflow.wait(&second).await, Ok(json!(["second", 1])));
    assert_eq!(workflow.wait(&delayed).await, Ok(json!(["delayed", 1])));
    assert_eq!(executed.load(Ordering::SeqCst), 3);
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restate_that_runs_the_tasks_of_another_data_folder_is_left_alone() {
    let Some(rig) = Rig::restate().await else { return };
    let (store, workflow) = rig.open(WorkflowOptions::default()).await;
    until_trouble(&workflow, false).await;
    let other = tempfile::tempdir().unwrap();
    let (other_store, intruder) =
        super::engines::open(other.path(), rig.restate_folder(), WorkflowOptions::default()).await;
    intruder.register(gated().0);
    let id = intruder.submit(request(json!(1))).await.unwrap();
    let reason = until_logged(&intruder, &id).await;
    assert!(reason.contains("runs the tasks of another Sandcastle"), "{reason}");
    let (probe, gate, ..) = gated();
    gate.send_replace(true);
    workflow.register(probe);
    let ours = workflow.submit(request(json!("ours"))).await.unwrap();
    assert_eq!(workflow.wait(&ours).await, Ok(json!(["ours", 1])));
    for (store, workflow) in [(store, workflow), (other_store, intruder)] {
        workflow.shutdown(Duration::from_secs(1)).await;
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restates_journal_has_a_word_for_each_attempt_and_never_an_output() {
    let Some(mut rig) = Rig::restate().await else { return };
    let (store, workflow) = rig.open(WorkflowOptions::default()).await;
    let secret = "an output of some length, and not for others to read";
    workflow.register(Probe::new(move |ctx, _| async move {
        // Longer than Restate lets a handler wait before it asks it to suspend.
        tokio::time::sleep(Duration::from_millis(700)).await;
        if ctx.attempt < 2 { Err(broken()) } else { Ok(json!(secret)) }
    }));
    workflow.boot().await.unwrap();
    let retry = Some(RetryPolicy { min_ms: 700, jitter: false, ..RetryPolicy::default() });
    let id = workflow.submit(RunRequest { retry, ..request(json!("also not for others")) }).await.unwrap();
    assert_eq!(workflow.wait(&id).await, Ok(json!(secret)));
    assert_eq!(workflow.get(&id).await.unwrap().attempts.len(), 2);
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
    let journal = rig.server().query("SELECT name, entry_json FROM sys_journal").await;
    let named = |name: &str| journal.iter().filter(|entry| entry["name"] == name).count();
    assert_eq!((named("attempt 1"), named("attempt 2")), (1, 1), "{journal:?}");
    let text = format!("{journal:?}");
    assert!(!text.contains("for others"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orderly_stop_leaves_restates_timers_alone() {
    let Some(mut rig) = Rig::restate().await else { return };
    let (store, workflow) = rig.open(WorkflowOptions::default()).await;
    workflow.register(gated().0);
    workflow.boot().await.unwrap();
    let delay = Some(Duration::from_secs(3_600));
    for n in 0..3 {
        workflow.submit(RunRequest { delay, ..request(json!(n)) }).await.unwrap();
    }
    let live = "SELECT id FROM sys_invocation WHERE status = 'scheduled'";
    while rig.server().query(live).await.len() < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
    assert_eq!(rig.server().query(live).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelling_is_understood_in_both_directions() {
    let Some(mut rig) = Rig::restate().await else { return };
    let (store, workflow) = rig.open(WorkflowOptions::default()).await;
    workflow.register(Probe::new(|_, _| async move { Err(broken()) }));
    workflow.boot().await.unwrap();
    let hour = Some(Duration::from_secs(3_600));
    let delayed = workflow.submit(RunRequest { delay: hour, ..request(json!("delayed")) }).await.unwrap();
    let retry = Some(RetryPolicy { min_ms: 3_600_000, max_ms: 3_600_000, ..RetryPolicy::default() });
    let backs_off = workflow.submit(RunRequest { retry, ..request(json!("backs off")) }).await.unwrap();
    until(&workflow, &backs_off, RunStatus::Delayed).await;
    let live = "SELECT id, idempotency_key FROM sys_invocation WHERE status <> 'completed'";
    let until_live = async |rig: &mut Rig, count: usize| loop {
        let rows = rig.server().query(live).await;
        if rows.len() == count {
            return rows;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let both = until_live(&mut rig, 2).await;
    // Here: Restate forgets the timer.
    workflow.cancel(&delayed).await.unwrap();
    until_live(&mut rig, 1).await;
    // There: the run is canceled.
    let invocation = both.iter().find(|row| row["idempotency_key"] == backs_off.as_str()).unwrap();
    let path = format!("/invocations/{}/cancel", invocation["id"].as_str().unwrap());
    rig.server().admin(Method::PATCH, &path).send().await.unwrap().error_for_status().unwrap();
    assert_eq!(workflow.wait(&backs_off).await.unwrap_err().code, ErrorCode::Cancelled);
    until_live(&mut rig, 0).await;
    workflow.shutdown(Duration::from_secs(1)).await;
    store.close().await;
}

#[test]
fn a_server_without_restate_says_how_to_get_one() {
    let message = EngineError::NotBuiltIn.to_string();
    assert!(message.contains("built without Restate") && message.contains("make restate"), "{message}");
}
