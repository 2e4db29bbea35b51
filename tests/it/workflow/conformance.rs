//! What every engine promises, over every engine: the same tests with the engine as their argument.
//!
//! The clock is the machine's, because an engine may be another process. Nothing here is about speed: a wait is checked
//! to be long enough, never to be short enough.

use super::engines::{Rig, over_every_engine};
use super::support::{Probe, broken, request, status};
use futures::future::join_all;
use sandcastle::domain::{ErrorCode, RunId, RunStatus};
use sandcastle::store::Store;
use sandcastle::workflow::{RetryPolicy, RunRequest, TaskError, Workflow, WorkflowOptions};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

over_every_engine! {
    a_task_that_fails_twice_is_tried_again_after_its_backoff_and_succeeds
    a_task_that_always_fails_is_tried_as_often_as_its_policy_says
    many_submits_with_one_key_are_one_run
    a_run_is_canceled_whether_it_waits_sleeps_or_executes
    a_run_over_its_time_is_stopped_as_timed_out
    a_run_that_is_not_started_within_its_time_to_live_never_is
    a_thousand_runs_end_with_at_most_thirty_two_at_once
    runs_of_a_lane_take_turns_in_the_order_they_were_submitted
    a_delayed_run_can_be_moved_to_an_earlier_and_to_a_later_time
    a_parent_waits_for_its_child_and_takes_it_along_when_it_is_canceled
    an_orderly_stop_leaves_runs_to_the_next_start
}

/// A store and a workflow that has this task.
async fn boot(rig: &Rig, probe: Probe) -> (Store, Workflow) {
    boot_with(rig, probe, WorkflowOptions::default()).await
}

async fn boot_with(rig: &Rig, probe: Probe, options: WorkflowOptions) -> (Store, Workflow) {
    let (store, workflow) = rig.open(options).await;
    workflow.register(probe);
    workflow.boot().await.unwrap();
    (store, workflow)
}

async fn stop(store: Store, workflow: Workflow) {
    workflow.shutdown(Duration::from_secs(5)).await;
    assert_eq!(workflow.health().open, 0);
    store.close().await;
}

fn backoff(min_ms: u64) -> Option<RetryPolicy> {
    Some(RetryPolicy { min_ms, jitter: false, ..RetryPolicy::default() })
}

async fn a_task_that_fails_twice_is_tried_again_after_its_backoff_and_succeeds(rig: &Rig) {
    let probe = Probe::new(|ctx, input| async move { if ctx.attempt < 3 { Err(broken()) } else { Ok(input) } });
    let (store, workflow) = boot(rig, probe).await;
    let id = workflow.submit(RunRequest { retry: backoff(300), ..request(json!({"n": 1})) }).await.unwrap();
    assert_eq!(workflow.wait(&id).await, Ok(json!({"n": 1})));
    let run = workflow.get(&id).await.unwrap();
    assert_eq!((run.summary.status, run.summary.attempt), (RunStatus::Completed, 3));
    assert_eq!(run.attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    for (pair, wait) in run.attempts.windows(2).zip([300, 600]) {
        let ended = pair[0].finished_at.unwrap();
        assert_eq!(pair[0].retry_at, Some(ended + wait));
        assert!(pair[1].started_at >= ended + wait, "{:?}", run.attempts);
    }
    stop(store, workflow).await;
}

async fn a_task_that_always_fails_is_tried_as_often_as_its_policy_says(rig: &Rig) {
    let effects = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&effects);
    let probe = Probe::new(move |_, input| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { if input == json!("fatal") { Err(TaskError::Cancelled) } else { Err(broken()) } }
    });
    let (store, workflow) = boot(rig, probe).await;
    let id = workflow.submit(RunRequest { retry: backoff(10), ..request(json!("retry")) }).await.unwrap();
    assert_eq!(workflow.wait(&id).await.unwrap_err().code, ErrorCode::Sandbox);
    let run = workflow.get(&id).await.unwrap();
    assert_eq!((run.summary.status, run.attempts.len()), (RunStatus::Failed, 3));
    assert_eq!(effects.load(Ordering::SeqCst), 3);
    stop(store, workflow).await;
}

async fn many_submits_with_one_key_are_one_run(rig: &Rig) {
    let effects = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&effects);
    let probe = Probe::new(move |_, input| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { Ok(input) }
    });
    let (store, workflow) = boot(rig, probe).await;
    let submits = (0..20).map(|n| {
        let workflow = workflow.clone();
        tokio::spawn(async move {
            let keyed = RunRequest { idempotency_key: Some("once".to_owned()), ..request(json!(n)) };
            let id = workflow.submit(keyed).await.unwrap();
            (id.clone(), workflow.wait(&id).await.unwrap())
        })
    });
    let results: Vec<_> = join_all(submits).await.into_iter().map(Result::unwrap).collect();
    assert!(results.iter().all(|result| *result == results[0]), "{results:?}");
    assert_eq!(effects.load(Ordering::SeqCst), 1);
    stop(store, workflow).await;
}

async fn a_run_is_canceled_whether_it_waits_sleeps_or_executes(rig: &Rig) {
    let started = Arc::new(Notify::new());
    let start = Arc::clone(&started);
    let probe = Probe::new(move |ctx, input| {
        let start = Arc::clone(&start);
        async move {
            start.notify_one();
            match input.as_str() {
                Some("fails") => return Err(broken()),
                Some("naps") => ctx.sleep("an hour", Duration::from_secs(3_600)).await?,
                Some("deaf") => std::future::pending().await,
                _ => ctx.cancel.cancelled().await,
            }
            Err(TaskError::Cancelled)
        }
    });
    let (store, workflow) = boot(rig, probe).await;
    let lane = |payload| RunRequest { lane: Some("one".to_owned()), ..request(payload) };
    let executing = workflow.submit(lane(json!("polite"))).await.unwrap();
    started.notified().await;
    let queued = workflow.submit(lane(json!("polite"))).await.unwrap();
    let hour = Some(Duration::from_secs(3_600));
    let delayed = workflow.submit(RunRequest { delay: hour, ..request(json!("polite")) }).await.unwrap();
    let backs_off = workflow.submit(RunRequest { retry: backoff(9_000), ..request(json!("fails")) }).await.unwrap();
    until(&workflow, &backs_off, RunStatus::Delayed).await;
    let naps = workflow.submit(request(json!("naps"))).await.unwrap();
    until(&workflow, &naps, RunStatus::Waiting).await;
    let deaf = workflow.submit(request(json!("deaf"))).await.unwrap();
    until(&workflow, &deaf, RunStatus::Executing).await;
    for id in [&queued, &delayed, &backs_off, &naps, &deaf, &executing] {
        workflow.cancel(id).await.unwrap();
        assert_eq!(workflow.wait(id).await.unwrap_err().code, ErrorCode::Cancelled);
        assert_eq!(status(&workflow, id).await, RunStatus::Canceled);
        // A run that has ended stays as it is.
        workflow.cancel(id).await.unwrap();
    }
    assert_eq!(workflow.get(&queued).await.unwrap().attempts.len(), 0);
    stop(store, workflow).await;
}

async fn a_run_over_its_time_is_stopped_as_timed_out(rig: &Rig) {
    let probe = Probe::new(|ctx, _| async move {
        ctx.cancel.cancelled().await;
        Err(TaskError::Cancelled)
    });
    let (store, workflow) = boot(rig, probe).await;
    let limited = RunRequest { max_duration: Some(Duration::from_millis(200)), ..request(json!(0)) };
    let id = workflow.submit(limited).await.unwrap();
    assert_eq!(workflow.wait(&id).await.unwrap_err().code, ErrorCode::Timeout);
    let run = workflow.get(&id).await.unwrap().summary;
    assert_eq!(run.status, RunStatus::TimedOut);
    assert!(run.finished_at.unwrap() >= run.started_at.unwrap() + 200);
    stop(store, workflow).await;
}

async fn a_run_that_is_not_started_within_its_time_to_live_never_is(rig: &Rig) {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (start, gate) = (Arc::clone(&started), Arc::clone(&go));
    let probe = Probe::new(move |_, input| {
        let (start, gate) = (Arc::clone(&start), Arc::clone(&gate));
        async move {
            start.notify_one();
            gate.notified().await;
            Ok(input)
        }
    });
    let (store, workflow) = boot(rig, probe).await;
    let lane = |n| RunRequest { lane: Some("one".to_owned()), ..request(json!(n)) };
    let first = workflow.submit(lane(1)).await.unwrap();
    started.notified().await;
    let late = RunRequest { ttl: Some(Duration::from_millis(100)), ..lane(2) };
    let late = workflow.submit(late).await.unwrap();
    assert_eq!(workflow.wait(&late).await.unwrap_err().code, ErrorCode::Timeout);
    assert_eq!(status(&workflow, &late).await, RunStatus::Expired);
    go.notify_one();
    assert_eq!(workflow.wait(&first).await, Ok(json!(1)));
    stop(store, workflow).await;
}

async fn a_thousand_runs_end_with_at_most_thirty_two_at_once(rig: &Rig) {
    let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let high = Arc::clone(&most);
    let probe = Probe::new(move |_, input| {
        let (inside, most) = (Arc::clone(&inside), Arc::clone(&high));
        async move {
            most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(input)
        }
    });
    let options = WorkflowOptions { parallel: 32, ..WorkflowOptions::default() };
    let (store, workflow) = boot_with(rig, probe, options).await;
    let submits = join_all((0..1_000).map(|n| workflow.submit(request(json!(n))))).await;
    for (n, id) in submits.into_iter().enumerate() {
        assert_eq!(workflow.wait(&id.unwrap()).await, Ok(json!(n)));
    }
    assert!(most.load(Ordering::SeqCst) <= 32);
    stop(store, workflow).await;
}

async fn runs_of_a_lane_take_turns_in_the_order_they_were_submitted(rig: &Rig) {
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let (log, inside) = (Arc::clone(&order), Arc::new(AtomicUsize::new(0)));
    let probe = Probe::new(move |_, input| {
        let (log, inside) = (Arc::clone(&log), Arc::clone(&inside));
        async move {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
            tokio::task::yield_now().await;
            log.lock().unwrap().push(input.as_u64().unwrap());
            inside.fetch_sub(1, Ordering::SeqCst);
            Ok(Value::Null)
        }
    });
    let (store, workflow) = boot(rig, probe).await;
    let mut runs = Vec::new();
    for n in 0..50 {
        runs.push(workflow.submit(RunRequest { lane: Some("writes".to_owned()), ..request(json!(n)) }).await.unwrap());
    }
    for run in &runs {
        workflow.wait(run).await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>());
    stop(store, workflow).await;
}

async fn a_delayed_run_can_be_moved_to_an_earlier_and_to_a_later_time(rig: &Rig) {
    let (store, workflow) = boot(rig, Probe::new(|_, input| async move { Ok(input) })).await;
    let after = |ms| RunRequest { delay: Some(Duration::from_millis(ms)), ..request(json!(ms)) };
    let earlier = workflow.submit(after(3_600_000)).await.unwrap();
    let later = workflow.submit(after(500)).await.unwrap();
    workflow.reschedule(&earlier, Duration::from_millis(100)).await.unwrap();
    workflow.reschedule(&later, Duration::from_millis(1_500)).await.unwrap();
    assert_eq!(workflow.wait(&earlier).await, Ok(json!(3_600_000)));
    assert_eq!(workflow.wait(&later).await, Ok(json!(500)));
    let run = workflow.get(&later).await.unwrap().summary;
    assert!(run.started_at.unwrap() >= run.created_at + 1_500);
    stop(store, workflow).await;
}

async fn a_parent_waits_for_its_child_and_takes_it_along_when_it_is_canceled(rig: &Rig) {
    let probe = Probe::new(|ctx, input| async move {
        match input.as_str() {
            Some("child") => Ok(json!("grown")),
            Some("slow child") => {
                ctx.cancel.cancelled().await;
                Err(TaskError::Cancelled)
            }
            Some(parent) => {
                let child = if parent == "parent" { "child" } else { "slow child" };
                let child = RunRequest { parent: Some(ctx.run.clone()), ..request(json!(child)) };
                let id = ctx.workflow().submit(child).await.unwrap();
                ctx.wait(&id).await.map_err(TaskError::Fatal)
            }
            None => Ok(Value::Null),
        }
    });
    // The parent holds the only place.
    let options = WorkflowOptions { parallel: 1, ..WorkflowOptions::default() };
    let (store, workflow) = boot_with(rig, probe, options).await;
    let parent = workflow.submit(request(json!("parent"))).await.unwrap();
    assert_eq!(workflow.wait(&parent).await, Ok(json!("grown")));
    let parent = workflow.submit(request(json!("slow parent"))).await.unwrap();
    until(&workflow, &parent, RunStatus::Waiting).await;
    let child = workflow.get(&parent).await.unwrap().children[0].id.clone();
    workflow.cancel(&parent).await.unwrap();
    for id in [&parent, &child] {
        assert_eq!(workflow.wait(id).await.unwrap_err().code, ErrorCode::Cancelled);
        assert_eq!(status(&workflow, id).await, RunStatus::Canceled);
    }
    stop(store, workflow).await;
}

async fn an_orderly_stop_leaves_runs_to_the_next_start(rig: &Rig) {
    let (started, first_life) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(1)));
    let (start, first) = (Arc::clone(&started), Arc::clone(&first_life));
    let probe = Probe::new(move |ctx, input| {
        let (start, first) = (Arc::clone(&start), Arc::clone(&first));
        async move {
            if first.load(Ordering::SeqCst) == 1 {
                start.notify_one();
                std::future::pending::<()>().await;
            }
            Ok(json!([input, ctx.attempt, ctx.crashes]))
        }
    });
    let (store, workflow) = boot(rig, probe.clone()).await;
    let executing = workflow.submit(request(json!("executing"))).await.unwrap();
    started.notified().await;
    let delayed = RunRequest { delay: Some(Duration::from_millis(1_000)), ..request(json!("delayed")) };
    let delayed = workflow.submit(delayed).await.unwrap();
    workflow.shutdown(Duration::ZERO).await;
    store.close().await;
    drop((store, workflow));
    first_life.store(0, Ordering::SeqCst);
    let (store, workflow) = boot(rig, probe).await;
    assert_eq!(workflow.wait(&executing).await, Ok(json!(["executing", 1, 1])));
    assert_eq!(workflow.wait(&delayed).await, Ok(json!(["delayed", 1, 0])));
    stop(store, workflow).await;
}

/// Waits until a run has this status.
pub async fn until(workflow: &Workflow, id: &RunId, wanted: RunStatus) {
    let mut changes = workflow.store().changes();
    while status(workflow, id).await != wanted {
        // One that was missed is looked at with the next.
        let _change = changes.recv().await;
    }
}
