//! What was planned, looked at before the end: the whole server with a scripted model and real sandboxes.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, calls, says};
use crate::history::{app_with, until};
use crate::service::free_port;
use crate::support::TestApp;
use sandcastle::config::Secret;
use sandcastle::domain::{EventBody, ProjectId, ProjectState, TurnOutcome};
use serde_json::{Value, json};
use std::sync::Arc;

/// A page, an API that lacks something, and tests.
fn files() -> String {
    json!({"files": [
        {"path": "index.html", "content": "<!doctype html><body><h1>Tasks</h1><p>Buy milk</p></body>"},
        {"path": "tasks.json", "content": "[\"Buy milk\"]"},
        {"path": "README.md", "content": "# How to use it"},
        {"path": "test.sh", "content": "echo first\necho 2 passed\n"},
    ]})
    .to_string()
}

fn plan(status: &str, checks: &[(&str, Value)]) -> String {
    let step = |(title, check): &(&str, Value)| json!({"step": title, "status": status, "check": check});
    json!({"plan": checks.iter().map(step).collect::<Vec<_>>()}).to_string()
}

/// Sends a prompt to a model that plays these scripts and waits for the end of its turn.
async fn built(scripts: Vec<Vec<Act>>) -> (FakeModel, TestApp, ProjectId, Arc<ProjectState>) {
    let fake = FakeModel::start(scripts).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("App").await.unwrap();
    app.services().store.secrets().set(&project, "API_TOKEN", &Secret::new("open-sesame")).await.unwrap();
    app.services().agent.send(&project, "a list of tasks", None).await.unwrap();
    let state = until(&app, &project, |s| s.turn.is_none() && s.messages.iter().any(|m| m.outcome.is_some())).await;
    (fake, app, project, state)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_planned_step_is_a_line_with_its_evidence_and_what_fails_is_repaired() {
    let tests = json!({"command": "sh test.sh", "contains": "2 passed"});
    let steps = [
        ("The page", json!({"page": "/", "contains": "buy milk"})),
        ("The API", json!({"page": "/tasks.json", "contains": "Buy bread"})),
        ("A readme", json!({"file": "README.md", "contains": "How to"})),
        ("Tests", tests.clone()),
        ("More tests", tests),
        ("A calm look", Value::Null),
    ];
    let ticked: Vec<(&str, Value)> = steps.iter().map(|(title, _)| (*title, Value::Null)).collect();
    // The sandboxes of these tests share the machine's ports.
    let port = free_port();
    let build = calls(&[
        ("update_plan", &plan("in_progress", &steps)),
        ("create_sandbox", "{}"),
        ("generate_files", &files()),
        ("run_command", &json!({"command": format!("python3 -m http.server {port}"), "background": true}).to_string()),
        ("get_sandbox_url", &json!({"port": port}).to_string()),
    ]);
    let bread = json!({"files": [{"path": "tasks.json", "content": "[\"Buy milk\", \"Buy bread\"]"}]}).to_string();
    // Steps that are ticked off keep the checks they were planned with.
    let done = calls(&[("update_plan", &plan("completed", &ticked))]);
    let scripts = vec![build, done, says("done"), calls(&[("generate_files", &bread)]), says("now it is")];
    let (fake, app, project, state) = built(scripts).await;
    assert_eq!(state.messages[1].outcome, Some(TurnOutcome::Completed), "{:#?}", state.messages[1].checks);

    let told = fake.requests()[3]["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert!(told.contains("- The API: GET /tasks.json: HTTP 200, but \\\"Buy bread\\\" is not in it"), "{told}");
    assert!(!told.contains("The page") && !told.contains("Tests"), "{told}");
    assert_eq!(fake.requests().len(), 5);

    let receipt: Vec<(&str, bool, bool, &str)> =
        state.messages[1].checks.iter().map(|c| (c.name.as_str(), c.ok, c.skipped, c.detail.as_str())).collect();
    let command = "sh test.sh: exit code 0, contains \"2 passed\"\nfirst\n2 passed";
    assert_eq!(
        receipt[..6],
        [
            ("The page", true, false, "GET /: HTTP 200, contains \"buy milk\""),
            ("The API", true, false, "GET /tasks.json: HTTP 200, contains \"Buy bread\""),
            ("A readme", true, false, "README.md: 15 bytes, contains \"How to\""),
            ("Tests", true, false, command),
            ("More tests", true, false, command),
            ("A calm look", true, true, "not checked; the agent says it is done"),
        ]
    );
    let events = app.services().store.events().after(&project, 0, 10_000).await.unwrap();
    let tests = |e: &&sandcastle::domain::Event| matches!(&e.body, EventBody::CommandStarted { line, .. } if line == "sh test.sh");
    assert_eq!(events.iter().filter(tests).count(), 2, "the same check is made once in each round");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_goes_on_failing_ends_with_its_evidence_and_without_a_secret_of_the_project() {
    let steps = [("Token", json!({"command": "echo \"token $API_TOKEN\"; exit 3"})), ("Page", json!({"page": "/"}))];
    let build = calls(&[
        ("create_sandbox", "{}"),
        ("update_plan", &plan("completed", &steps)),
        ("generate_files", &json!({"files": [{"path": "a.txt", "content": "a"}]}).to_string()),
    ]);
    let (fake, app, _, state) = built(vec![build, says("done"), says("it is"), says("it is, really")]).await;
    assert_eq!(state.messages[1].outcome, Some(TurnOutcome::Completed));
    let requests = fake.requests();
    assert_eq!(requests.len(), 4, "it is sent on twice");
    assert!(!requests[3].to_string().contains("open-sesame"));
    let checks = &state.messages[1].checks;
    assert!(!checks[0].ok && checks[0].detail.contains("exit code 3"), "{checks:?}");
    assert!(checks[0].detail.ends_with("token [value of API_TOKEN]"), "{checks:?}");
    assert!(!checks[1].ok && checks[1].detail.contains("no preview is open"), "{checks:?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_hangs_ends_with_its_turn() {
    let steps = [("Watch", json!({"command": "sleep 50"}))];
    let build = calls(&[
        ("create_sandbox", "{}"),
        ("update_plan", &plan("completed", &steps)),
        ("generate_files", &json!({"files": [{"path": "a.txt", "content": "a"}]}).to_string()),
    ]);
    let fake = FakeModel::start(vec![build, says("done")]).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("App").await.unwrap();
    app.services().agent.send(&project, "watch it", None).await.unwrap();
    until(&app, &project, |s| s.commands.iter().any(|c| c.line == "sleep 50")).await;
    app.services().agent.stop(&project).await.unwrap();
    let state = until(&app, &project, |s| s.commands.iter().all(|c| c.exit.is_some())).await;
    assert_eq!(state.messages[1].outcome, Some(TurnOutcome::Stopped));
    app.stop().await;
}
