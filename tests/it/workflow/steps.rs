//! Steps: what is done once stays done.

use super::support::{ManualClock, Probe, bench, broken, request, status};
use sandcastle::domain::RunStatus;
use sandcastle::store::Store;
use sandcastle::workflow::{RunRequest, Workflow, WorkflowOptions};
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test]
async fn a_step_that_is_done_is_not_done_again_by_the_next_attempt() {
    let effects = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&effects);
    let bench = bench(Probe::new(move |ctx, _| {
        let log = Arc::clone(&log);
        async move {
            let note = |what: &str| log.lock().unwrap().push(format!("{what} {}", ctx.attempt));
            let one: u32 = ctx
                .step("one", async {
                    note("one");
                    Ok(7)
                })
                .await?;
            let two = ctx.step("two", async {
                note("two");
                if ctx.attempt < 3 { Err(broken()) } else { Ok(one * 6) }
            });
            Ok(json!(two.await?))
        }
    }))
    .await;
    let id = bench.workflow.submit(request(json!(0))).await.unwrap();
    assert_eq!([bench.clock.pass().await, bench.clock.pass().await], [1_000, 2_000]);
    assert_eq!(bench.workflow.wait(&id).await, Ok(json!(42)));
    assert_eq!(*effects.lock().unwrap(), ["one 1", "two 1", "two 2", "two 3"]);
    let steps = bench.workflow.get(&id).await.unwrap().steps;
    let shown: Vec<_> = steps.iter().map(|s| (s.name.as_str(), s.attempt, s.error.is_some())).collect();
    assert_eq!(shown, [("one", 1, false), ("two", 1, true), ("two", 2, true), ("two", 3, false)]);
    assert!(steps.iter().all(|step| step.finished_at.is_some()));
}

#[test]
fn a_run_that_sleeps_is_waiting_and_sleeps_on_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::new();
    let executions = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&executions);
    let probe = Probe::new(move |ctx, _| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            ctx.sleep("an hour", Duration::from_secs(3_600)).await?;
            Ok(json!("awake"))
        }
    });
    let start = async || {
        let store = Store::open(folder.path()).await.unwrap();
        let workflow = Workflow::with_clock(&store, WorkflowOptions::default(), Arc::new(clock.clone()));
        workflow.register(probe.clone());
        workflow.boot().await.unwrap();
        (store, workflow)
    };
    let until_waiting = async |workflow: &Workflow, id: &_| {
        let mut changes = workflow.store().changes();
        while status(workflow, id).await != RunStatus::Waiting {
            changes.recv().await.unwrap();
        }
    };
    let life = || tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let id = life().block_on(async {
        let (_store, workflow) = start().await;
        let id = workflow.submit(request(json!(0))).await.unwrap();
        until_waiting(&workflow, &id).await;
        id
    });
    life().block_on(async {
        let (_store, workflow) = start().await;
        // A nap of another run moves the clock on by half an hour.
        let nap = RunRequest { delay: Some(Duration::from_secs(1_800)), ..request(json!(1)) };
        workflow.submit(nap).await.unwrap();
        until_waiting(&workflow, &id).await;
        while clock.pass().await < 1_000_000 {}
        assert_eq!(status(&workflow, &id).await, RunStatus::Waiting);
        while workflow.get(&id).await.unwrap().summary.finished_at.is_none() {
            clock.pass().await;
        }
        let run = workflow.get(&id).await.unwrap();
        assert_eq!(run.output, Some(json!("awake")));
        assert_eq!(run.summary.finished_at, Some(1_000_000 + 3_600_000));
        assert_eq!(run.steps.len(), 1);
    });
    assert!(executions.load(Ordering::SeqCst) >= 2);
}
