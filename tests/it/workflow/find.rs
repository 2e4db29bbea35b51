//! Finding runs: filters, pages, counts and errors by kind.

use super::support::{Probe, bench, request};
use async_trait::async_trait;
use sandcastle::domain::{ApiError, ErrorCode, RunStatus};
use sandcastle::workflow::{
    BulkAction, BulkReport, Replay, RunFilter, RunLabels, RunRequest, Task, TaskContext, TaskError, WorkflowError,
};
use serde_json::{Value, json};

#[tokio::test]
async fn filters_work_alone_and_together_and_pages_go_both_ways() {
    let bench = bench(Probe::new(|_, input| async move {
        if input["fail"] == json!(true) { Err(TaskError::Fatal(ApiError::invalid("no"))) } else { Ok(input) }
    }))
    .await;
    let project = bench.store.events().create_project("Some").await.unwrap();
    let mut ids = Vec::new();
    for n in 0..12u32 {
        let labels = RunLabels {
            owner: (n % 2 == 0).then(|| "key_1".to_owned()),
            queue: Some("sandbox".to_owned()),
            tags: vec![format!("n{}", n % 3)],
            ..RunLabels::default()
        };
        let request = RunRequest {
            title: format!("number {n}"),
            project: (n < 6).then(|| project.clone()),
            labels,
            ..request(json!({"fail": n % 4 == 0}))
        };
        let id = bench.workflow.submit(request).await.unwrap();
        let _ended = bench.workflow.wait(&id).await;
        ids.push(id);
    }
    let numbers = async |filter: RunFilter| -> Vec<u32> {
        let found = bench.workflow.list(filter).await.unwrap();
        found.iter().map(|run| run.title.rsplit(' ').next().unwrap().parse().unwrap()).collect()
    };
    let any = RunFilter::default;
    assert_eq!(numbers(RunFilter { statuses: vec![RunStatus::Failed], ..any() }).await, [8, 4, 0]);
    let both = vec![RunStatus::Failed, RunStatus::Completed];
    assert_eq!(numbers(RunFilter { statuses: both.clone(), limit: Some(3), ..any() }).await, [11, 10, 9]);
    let probe = || vec!["probe".to_owned()];
    assert_eq!(numbers(RunFilter { tasks: probe(), limit: Some(2), ..any() }).await, [11, 10]);
    assert_eq!(numbers(RunFilter { tasks: vec!["other".to_owned()], ..any() }).await, [0u32; 0]);
    assert_eq!(numbers(RunFilter { owner: Some("key_1".to_owned()), ..any() }).await, [10, 8, 6, 4, 2, 0]);
    assert_eq!(numbers(RunFilter { tags: vec!["n0".into(), "n1".into()], limit: Some(3), ..any() }).await, [10, 9, 7]);
    let narrow = RunFilter {
        project: Some(project),
        statuses: vec![RunStatus::Failed],
        tasks: probe(),
        text: Some("NUMBER".to_owned()),
        queue: Some("sandbox".to_owned()),
        ..any()
    };
    assert_eq!(numbers(narrow).await, [4, 0]);
    let words = async |text: &str| numbers(RunFilter { text: Some(text.to_owned()), ..any() }).await;
    assert_eq!(words("Number 1").await, [11, 10, 1]);
    // Signs of the pattern are letters like any other.
    assert_eq!((words("%").await, words("number_1").await), (Vec::new(), Vec::new()));
    let middle = RunFilter { before: Some(ids[8].clone()), limit: Some(2), ..any() };
    assert_eq!(numbers(middle).await, [7, 6]);
    let back = RunFilter { after: Some(ids[7].clone()), limit: Some(2), tasks: probe(), ..any() };
    assert_eq!(numbers(back).await, [9, 8]);
    assert_eq!(numbers(RunFilter { from: Some(1_000_001), ..any() }).await, [0u32; 0]);
    assert_eq!(numbers(RunFilter { from: Some(1_000_000), to: Some(1_000_000), limit: Some(1), ..any() }).await, [11]);
}

#[tokio::test]
async fn counts_and_errors_follow_the_runs_as_they_come_and_go() {
    let bench = bench(Probe::new(|_, input| async move {
        match input.as_str() {
            Some(message) => Err(TaskError::Fatal(ApiError::invalid(message))),
            None => Ok(Value::Null),
        }
    }))
    .await;
    for payload in [json!("port 3000 is taken"), json!("port 3001 is taken"), json!("no such file"), json!(1)] {
        let id = bench.workflow.submit(request(payload)).await.unwrap();
        let _ended = bench.workflow.wait(&id).await;
    }
    let runs = bench.store.runs();
    let count = async |status| runs.counts().await.unwrap().iter().find(|c| c.status == status).map_or(0, |c| c.count);
    assert_eq!((count(RunStatus::Failed).await, count(RunStatus::Completed).await), (3, 1));
    assert_eq!(count(RunStatus::Executing).await, 0);
    let errors = runs.errors(10).await.unwrap();
    let taken = errors.iter().find(|error| error.message == "port 3001 is taken").unwrap();
    assert_eq!((errors.len(), taken.count), (2, 2));
    let same = RunFilter { fingerprint: Some(taken.fingerprint.clone()), ..RunFilter::default() };
    assert_eq!(bench.workflow.list(same).await.unwrap().len(), 2);
    runs.sweep(u64::MAX >> 1).await.unwrap();
    assert!(runs.counts().await.unwrap().is_empty() && runs.errors(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_replay_can_change_the_payload_and_keeps_the_rest() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    let labels = RunLabels { tags: vec!["a".to_owned()], ..RunLabels::default() };
    let keyed = RunRequest { idempotency_key: Some("k".to_owned()), labels, priority: 3, ..request(json!("old")) };
    let first = bench.workflow.submit(keyed).await.unwrap();
    bench.workflow.wait(&first).await.unwrap();
    let changes = Replay { payload: Some(json!("new")), max_attempts: Some(7), ..Replay::default() };
    let again = bench.workflow.replay(&first, changes).await.unwrap();
    assert_eq!(bench.workflow.wait(&again).await, Ok(json!("new")));
    let run = bench.workflow.get(&again).await.unwrap();
    assert_eq!((run.priority, run.summary.max_attempts, run.tags), (3, 7, vec!["a".to_owned()]));
    assert_eq!((run.replay_of, run.idempotency_key), (Some(first), None));
}

#[tokio::test]
async fn a_run_that_has_not_ended_or_whose_project_is_gone_is_not_replayed() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    let later = RunRequest { delay: Some(std::time::Duration::from_secs(9)), ..request(json!(1)) };
    let open = bench.workflow.submit(later).await.unwrap();
    let error = bench.workflow.replay(&open, Replay::default()).await.unwrap_err();
    assert!(matches!(error, WorkflowError::NotFinished(_)), "{error}");
    let project = bench.store.events().create_project("Short").await.unwrap();
    let in_project = RunRequest { project: Some(project.clone()), ..request(json!(1)) };
    let id = bench.workflow.submit(in_project).await.unwrap();
    bench.workflow.wait(&id).await.unwrap();
    bench.store.events().delete_project(&project).await.unwrap();
    let error = bench.workflow.replay(&id, Replay::default()).await.unwrap_err();
    assert_eq!(error.to_string(), format!("there is no run with the id {id}"));
}

/// A task whose effect makes sense once.
struct Once;

#[async_trait]
impl Task for Once {
    const NAME: &'static str = "once";
    const NO_REPLAY: Option<&'static str> = Some("it happens once. Do it anew instead.");
    type Input = Value;
    type Output = Value;

    async fn run(&self, _: TaskContext, input: Value) -> Result<Value, TaskError> {
        Ok(input)
    }
}

#[tokio::test]
async fn a_task_that_is_not_repeated_says_what_to_do_instead_and_many_runs_are_replayed_without_it() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    bench.workflow.register(Once);
    let top = bench.workflow.submit(request(json!("top"))).await.unwrap();
    let child = RunRequest { parent: Some(top.clone()), ..request(json!("child")) };
    let child = bench.workflow.submit(child).await.unwrap();
    let once = RunRequest { task: "once".to_owned(), ..RunRequest::default() };
    let once = bench.workflow.submit(once).await.unwrap();
    for id in [&top, &child, &once] {
        bench.workflow.wait(id).await.unwrap();
    }
    let error = bench.workflow.replay(&once, Replay::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "a run of once cannot be replayed: it happens once. Do it anew instead.");
    let without_two = BulkReport { done: 1, left_out: 2, ..BulkReport::default() };
    let (fit, left_out) = bench.workflow.bulk_fits(RunFilter::default(), BulkAction::Replay).await.unwrap();
    assert_eq!((fit.as_slice(), left_out), ([top.clone()].as_slice(), 2));
    assert_eq!(bench.workflow.bulk(&fit, BulkAction::Replay).await.unwrap().done, 1);
    let chosen = bench.workflow.bulk(&[child.clone(), once, top.clone()], BulkAction::Replay).await.unwrap();
    assert_eq!(chosen, without_two);
    // A child alone is what its page is for.
    bench.workflow.replay(&child, Replay::default()).await.unwrap();
    let replayed = bench.workflow.list(RunFilter::default()).await.unwrap();
    assert_eq!(replayed.len(), 6);
}

#[tokio::test]
async fn more_tasks_or_tags_than_can_be_searched_for_are_refused_with_their_number() {
    let bench = bench(Probe::new(|_, input| async move { Ok(input) })).await;
    let id = bench.workflow.submit(request(json!(1))).await.unwrap();
    bench.workflow.wait(&id).await.unwrap();
    let tasks = |count: usize| (0..count).map(|n| format!("task {n}")).chain(["probe".to_owned()]).collect();
    let named = |words: Vec<String>| RunFilter { tasks: words, ..RunFilter::default() };
    assert_eq!(bench.workflow.list(named(tasks(37))).await.unwrap().len(), 1);
    let error = ApiError::from(bench.workflow.list(named(tasks(38))).await.unwrap_err());
    assert_eq!(error.code, ErrorCode::InvalidInput);
    assert_eq!(error.message, "runs of 39 tasks cannot be listed at once; with these statuses at most 38 can");
    let ended = RunFilter { statuses: vec![RunStatus::Completed], ..named(tasks(499)) };
    assert_eq!(bench.workflow.list(ended).await.unwrap().len(), 1);
    // Asked for twice is asked for once.
    let twice = RunFilter { statuses: vec![RunStatus::Completed; 600], ..named(vec!["probe".to_owned(); 600]) };
    assert_eq!(bench.workflow.list(twice).await.unwrap().len(), 1);
    let tagged = RunFilter { tags: (0..51).map(|n| n.to_string()).collect(), ..RunFilter::default() };
    assert!(bench.workflow.list(tagged).await.unwrap_err().to_string().contains("any of 51 tags"));
    let tagged = RunFilter { tags: (0..50).map(|n| n.to_string()).collect(), ..named(tasks(37)) };
    assert!(bench.workflow.list(tagged).await.unwrap().is_empty());
}

#[tokio::test]
async fn the_last_run_of_an_error_is_one_that_is_there_also_after_its_project_was_deleted() {
    let bench = bench(Probe::new(|_, input| async move {
        Err(TaskError::Fatal(ApiError::invalid(format!("port {input} is taken"))))
    }))
    .await;
    let project = bench.store.events().create_project("Short").await.unwrap();
    let mut ids = Vec::new();
    for (port, project) in [(3000, None), (3001, None), (3002, Some(project.clone()))] {
        let id = bench.workflow.submit(RunRequest { project, ..request(json!(port)) }).await.unwrap();
        let _failed = bench.workflow.wait(&id).await;
        ids.push(id);
    }
    let errors = async || bench.store.runs().errors(10).await.unwrap();
    assert_eq!(errors().await[0].last_run, ids[2]);
    bench.store.events().delete_project(&project).await.unwrap();
    let left = &errors().await[0];
    assert_eq!((left.count, &left.last_run, left.message.as_str()), (2, &ids[1], "port 3001 is taken"));
}
