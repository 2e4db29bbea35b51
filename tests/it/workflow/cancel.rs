//! Stopping runs: on request, with their parent, and when their time is up.

use super::support::{Probe, bench, bench_with, request, status};
use sandcastle::domain::{ErrorCode, RunStatus};
use sandcastle::workflow::{RunRequest, TaskError, WorkflowOptions};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

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
