//! The sandbox tasks over the service: what goes in and out, and what happens when a run is executed again.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::service::World;
use sandcastle::domain::{CommandId, ErrorCode, RunId, RunStatus};
use sandcastle::sandbox::SandboxError;
use sandcastle::workflow::{RetryPolicy, RunRequest, Workflow, WorkflowOptions, tasks};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

struct Bench {
    world: World,
    workflow: Workflow,
}

impl Bench {
    async fn new() -> Self {
        let world = World::new().await;
        let workflow = Workflow::new(&world.store, WorkflowOptions::default());
        tasks::register(&workflow, &world.service, &world.store);
        workflow.boot().await.unwrap();
        Self { world, workflow }
    }

    fn request(&self, task: &str, mut payload: Value) -> RunRequest {
        payload["project"] = json!(self.world.project);
        let project = Some(self.world.project.clone());
        RunRequest { task: task.to_owned(), title: task.to_owned(), payload, project, ..RunRequest::default() }
    }

    async fn call(&self, task: &str, payload: Value) -> Result<Value, sandcastle::domain::ApiError> {
        self.workflow.call(self.request(task, payload), &CancellationToken::new()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_are_changed_listed_and_come_out() {
    let bench = Bench::new().await;
    let made = bench.call("createSandbox", json!({})).await.unwrap();
    assert_eq!(bench.call("createSandbox", json!({})).await.unwrap()["sandboxId"], made["sandboxId"]);
    let files = json!([{"path": "src/a.txt", "content": "one two\n"}, {"path": "b.txt", "content": ""}]);
    let written = bench.call("writeFiles", json!({"files": files})).await.unwrap();
    assert_eq!(written["files"][0], json!({"path": "src/a.txt", "bytes": 8}));
    let edits = json!([{"search": "two", "replace": "three"}]);
    bench.call("editFile", json!({"path": "src/a.txt", "edits": edits})).await.unwrap();
    assert_eq!(bench.call("readFile", json!({"path": "src/a.txt"})).await.unwrap()["text"], "one three\n");
    let tree = bench.call("listFiles", json!({})).await.unwrap();
    assert_eq!(tree["files"][0]["children"][0]["path"], "src/a.txt");
    let status = bench.call("getSandboxStatus", json!({})).await.unwrap();
    assert_eq!((&status["status"], &status["sandbox"]["id"]), (&json!("running"), &made["sandboxId"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_caller_got_wrong_is_not_tried_again() {
    let bench = Bench::new().await;
    let error = bench.call("readFile", json!({"path": "none"})).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    let error = bench.call("readFile", json!({"path": 5})).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidInput);
    for run in bench.workflow.list(Default::default()).await.unwrap() {
        assert_eq!((run.status, run.attempt), (RunStatus::Failed, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_comes_back_is_tried_again() {
    let bench = Bench::new().await;
    *bench.world.provider.fail.lock().unwrap() = Some(SandboxError::Io("no process".to_owned()));
    let retry = RetryPolicy { max_attempts: 1_000, factor: 1.0, min_ms: 10, ..RetryPolicy::default() };
    let request = RunRequest { retry: Some(retry), ..bench.request("createSandbox", json!({})) };
    let id = bench.workflow.submit(request).await.unwrap();
    bench.world.until(|state| state.runs.iter().any(|run| run.status == RunStatus::Delayed)).await;
    *bench.world.provider.fail.lock().unwrap() = None;
    bench.workflow.wait(&id).await.unwrap();
    assert!(bench.workflow.get(&id).await.unwrap().summary.attempt >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fails_has_run_and_says_how_it_ended() {
    let bench = Bench::new().await;
    let got = bench.call("runCommand", json!({"command": "echo out; echo err >&2; exit 3"})).await.unwrap();
    assert_eq!((&got["exitCode"], &got["interrupted"]), (&json!(3), &json!(false)));
    assert!(got["output"].as_str().unwrap().contains("out\n") && got["output"].as_str().unwrap().contains("err\n"));
    assert!(got["durationMs"].is_u64());
    let logs = bench.call("readLogs", json!({"commandId": got["commandId"]})).await.unwrap();
    assert_eq!((&logs["text"], &logs["exit"]["code"]), (&got["output"], &json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_command_is_left_running_and_an_early_end_is_told() {
    let bench = Bench::new().await;
    let server = bench.call("runCommand", json!({"command": "echo up; sleep 1000", "background": true})).await.unwrap();
    assert_eq!((&server["exitCode"], &server["output"]), (&Value::Null, &json!("up\n")));
    let stopped = bench.call("stopCommand", json!({"commandId": server["commandId"]})).await.unwrap();
    assert_eq!((&stopped["signal"], &stopped["reason"]), (&json!("TERM"), &json!("stopped")));
    let broken = bench.call("runCommand", json!({"command": "echo busy; exit 1", "background": true})).await.unwrap();
    assert_eq!((&broken["exitCode"], &broken["output"]), (&json!(1), &json!("busy\n")));
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_a_run_kills_its_command() {
    let bench = Bench::new().await;
    let id = bench.workflow.submit(bench.request("runCommand", json!({"command": "sleep 1000"}))).await.unwrap();
    bench.world.until(|state| !state.commands.is_empty()).await;
    bench.workflow.cancel(&id).await.unwrap();
    assert_eq!(bench.workflow.wait(&id).await.unwrap_err().code, ErrorCode::Cancelled);
    let state = bench.world.until(|state| state.commands[0].exit.is_some()).await;
    assert_eq!(state.commands[0].run.as_ref(), Some(&id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_executed_again_finds_its_command_instead_of_repeating_it() {
    let bench = Bench::new().await;
    let line = "echo x >> count; sleep 1000";
    let id = bench.workflow.submit(bench.request("runCommand", json!({"command": line}))).await.unwrap();
    bench.world.until(|state| !state.commands.is_empty()).await;
    bench.workflow.shutdown(Duration::ZERO).await;
    let service = bench.world.after_a_crash(3000).await;
    let workflow = Workflow::new(&bench.world.store, WorkflowOptions::default());
    tasks::register(&workflow, &service, &bench.world.store);
    workflow.boot().await.unwrap();
    let got = workflow.wait(&id).await.unwrap();
    assert_eq!((&got["interrupted"], &got["exitCode"]), (&json!(true), &Value::Null));
    assert_eq!(bench.world.state().await.commands.len(), 1);
    let run = RunId::parse(id.as_str()).unwrap();
    assert!(workflow.get(&run).await.unwrap().logs[0].message.contains("not started again"));
    assert!(CommandId::parse(got["commandId"].as_str().unwrap()).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_is_recorded_before_it_starts_and_so_is_interrupted_if_the_server_dies_in_between() {
    let bench = Bench::new().await;
    bench.world.provider.spawns.hang.store(true, Ordering::SeqCst);
    let id = bench.workflow.submit(bench.request("runCommand", json!({"command": "echo x >> count"}))).await.unwrap();
    bench.world.until(|state| !state.commands.is_empty()).await;
    bench.workflow.shutdown(Duration::ZERO).await;
    bench.world.provider.spawns.hang.store(false, Ordering::SeqCst);
    let service = bench.world.after_a_crash(3000).await;
    let workflow = Workflow::new(&bench.world.store, WorkflowOptions::default());
    tasks::register(&workflow, &service, &bench.world.store);
    workflow.boot().await.unwrap();
    let got = workflow.wait(&id).await.unwrap();
    assert_eq!((&got["interrupted"], &got["exitCode"]), (&json!(true), &Value::Null));
    assert_eq!(bench.world.state().await.commands.len(), 1);
    assert!(matches!(service.read_file(&bench.world.project, "count").await, Err(SandboxError::NotFound(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_could_not_be_started_is_started_by_the_next_attempt() {
    let bench = Bench::new().await;
    *bench.world.provider.spawns.fail.lock().unwrap() = Some(SandboxError::Io("no process".to_owned()));
    let retry = RetryPolicy { min_ms: 10, ..RetryPolicy::default() };
    let command = bench.request("runCommand", json!({"command": "echo once"}));
    let id = bench.workflow.submit(RunRequest { retry: Some(retry), ..command }).await.unwrap();
    let got = bench.workflow.wait(&id).await.unwrap();
    assert_eq!((&got["interrupted"], &got["output"]), (&json!(false), &json!("once\n")));
    let state = bench.world.state().await;
    let ends: Vec<String> = state.commands.iter().map(|c| c.exit.as_ref().unwrap().describe()).collect();
    assert!(ends[0].starts_with("not started: ") && ends[0].contains("no process"), "{ends:?}");
    assert_eq!(ends[1..], ["exit code 0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_whose_start_was_cut_off_while_it_waited_for_its_app_starts_each_server_once() {
    let bench = Bench::new().await;
    let port = crate::service::free_port();
    let commands = json!([["sleep 1000", ""], ["sleep 2000", ""]]);
    let request = bench.request("startFork", json!({"commands": commands, "port": port}));
    let id = bench.workflow.submit(request).await.unwrap();
    bench.world.until(|state| state.commands.len() == 2).await;
    bench.workflow.shutdown(Duration::ZERO).await;
    let service = bench.world.after_a_crash(3000).await;
    let workflow = Workflow::new(&bench.world.store, WorkflowOptions::default());
    tasks::register(&workflow, &service, &bench.world.store);
    workflow.boot().await.unwrap();
    // Something answers, so that the run gets to its end.
    let spec = sandcastle::sandbox::CommandSpec {
        line: format!("exec python3 -m http.server {port} --bind 127.0.0.1"),
        background: true,
        ..Default::default()
    };
    service.start_command(&bench.world.project, spec).await.unwrap();
    workflow.wait(&id).await.unwrap();
    let state = bench.world.state().await;
    let running: Vec<&str> = state.commands.iter().filter(|c| c.exit.is_none()).map(|c| c.line.as_str()).collect();
    assert_eq!(running.iter().filter(|line| line.starts_with("sleep")).count(), 2, "{running:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_nobody_listens_on_is_told_with_the_servers_last_words() {
    let bench = Bench::new().await;
    let port = crate::service::free_port();
    bench.call("runCommand", json!({"command": "echo cannot bind; exit 1", "background": true})).await.unwrap();
    let error = bench.call("getSandboxUrl", json!({"port": port, "timeoutMs": 2000})).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Timeout);
    assert!(error.message.contains("cannot bind"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_of_the_api_that_was_cut_off_when_its_project_was_made_leaves_no_second_project() {
    let bench = Bench::new().await;
    let later = RunRequest {
        task: "create-sandbox".to_owned(),
        payload: json!({}),
        delay: Some(Duration::from_secs(3_600)),
        ..RunRequest::default()
    };
    let id = bench.workflow.submit(later).await.unwrap();
    // What an execution leaves that ends before it has recorded its first step.
    let project = bench.world.store.events().project_of_run(&id, "Sandbox of the API").await.unwrap();
    bench.workflow.reschedule(&id, Duration::ZERO).await.unwrap();
    let sandbox = bench.workflow.wait(&id).await.unwrap()["sandboxId"].as_str().unwrap().to_owned();
    let found = bench.world.service.find(&sandcastle::domain::SandboxId::parse(sandbox).unwrap());
    assert_eq!(found, Some(project));
    assert_eq!(bench.world.store.events().projects().await.unwrap().len(), 2);
}
