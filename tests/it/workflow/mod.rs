//! The engine's promises: retries, idempotency, lanes, cancelling, limits, and what survives the end of the process.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod admission;
mod cancel;
mod conformance;
mod crash;
mod engines;
mod find;
mod outage;
mod restart;
mod steps;
mod support;

use futures::future::join_all;
use sandcastle::domain::{ApiError, ErrorCode, EventBody, LogLevel, RunStatus};
use sandcastle::workflow::{Replay, RunFilter, RunRequest, TaskError, WorkflowError, WorkflowOptions};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::{Probe, bench, bench_with, broken, request, status};

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
    let failed = RunFilter { statuses: vec![RunStatus::Failed], ..RunFilter::default() };
    assert!(titles(failed).await.is_empty());
    let again = bench.workflow.replay(&ids[2], Replay::default()).await.unwrap();
    assert_eq!(bench.workflow.wait(&again).await, Ok(json!({"line": "go build"})));
    assert_eq!(bench.workflow.get(&again).await.unwrap().replay_of.as_ref(), Some(&ids[2]));
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
