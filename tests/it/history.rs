//! Checkpoints through the whole server: each turn's end, going back, sending again, forking, cloning with git.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, calls, says};
use crate::support::{TestApp, answer};
use reqwest::StatusCode;
use sandcastle::config::ModelConfig;
use sandcastle::domain::{EventBody, Message, MessageId, ModelRef, ProjectId, ProjectState, Role, TurnOutcome};
use serde_json::{Value, json};
use std::process::Command;
use std::sync::Arc;
use tokio::sync::Notify;

/// A server whose model plays these scripts.
pub async fn app_with(fake: &FakeModel) -> TestApp {
    let endpoint = fake.endpoint.clone();
    TestApp::start_with(move |config| {
        config.model = ModelConfig {
            base_url: endpoint.base_url,
            api_key: endpoint.api_key,
            default_model: Some("test-model".to_owned()),
            configured: true,
        };
    })
    .await
}

/// Waits until the project looks as wanted.
pub async fn until(app: &TestApp, project: &ProjectId, wanted: impl Fn(&ProjectState) -> bool) -> Arc<ProjectState> {
    until_within(app, project, std::time::Duration::from_secs(60), wanted).await
}

/// The same with other patience.
pub async fn until_within(
    app: &TestApp,
    project: &ProjectId,
    patience: std::time::Duration,
    wanted: impl Fn(&ProjectState) -> bool,
) -> Arc<ProjectState> {
    let events = app.services().store.events();
    let mut watch = events.watch(project).await.unwrap();
    let found = async {
        loop {
            let state = events.state(project).await.unwrap();
            if wanted(&state) {
                return state;
            }
            watch.changed().await.unwrap();
        }
    };
    match tokio::time::timeout(patience, found).await {
        Ok(state) => state,
        Err(_) => panic!("never came: {:#?}", events.state(project).await.unwrap()),
    }
}

/// Sends a message and waits for the end of its turn.
async fn ask(app: &TestApp, project: &ProjectId, text: &str) -> Arc<ProjectState> {
    let before = answers(&app.services().store.events().state(project).await.unwrap()).len();
    app.services().agent.send(project, text, None).await.unwrap();
    until(app, project, |s| s.turn.is_none() && answers(s).len() > before).await
}

fn answers(state: &ProjectState) -> Vec<&Message> {
    state.messages.iter().filter(|m| m.role == Role::Assistant && m.outcome.is_some()).collect()
}

fn write(files: &[(&str, &str)]) -> Vec<crate::fake_model::Act> {
    let files: Vec<Value> = files.iter().map(|(path, content)| json!({"path": path, "content": content})).collect();
    calls(&[("create_sandbox", "{}"), ("generate_files", &json!({"files": files}).to_string())])
}

fn edit(path: &str, search: &str, replace: &str) -> Vec<crate::fake_model::Act> {
    let edits = json!({"path": path, "edits": [{"search": search, "replace": replace}]});
    calls(&[("edit_file", &edits.to_string())])
}

async fn text(app: &TestApp, project: &ProjectId, path: &str) -> Option<String> {
    app.services().sandbox.read_file(project, path).await.ok()?.text
}

/// Two turns: a first version with two files, then a change.
async fn two_turns(more: Vec<Vec<crate::fake_model::Act>>) -> (FakeModel, TestApp, ProjectId, [MessageId; 2]) {
    let mut scripts = vec![
        write(&[("a.txt", "one\ntwo\n"), ("sub/b.txt", "b\n")]),
        says("first"),
        edit("a.txt", "two", "2"),
        says("second"),
    ];
    scripts.extend(more);
    let fake = FakeModel::start(scripts).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("Shop").await.unwrap();
    ask(&app, &project, "build a shop").await;
    let state = ask(&app, &project, "use digits").await;
    let ids = [answers(&state)[0].id.clone(), answers(&state)[1].id.clone()];
    (fake, app, project, ids)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_turn_ends_in_a_checkpoint_that_says_what_changed() {
    let (_fake, app, project, _) = two_turns(Vec::new()).await;
    let state = app.services().store.events().state(&project).await.unwrap();
    let points: Vec<_> = answers(&state).iter().map(|m| m.checkpoint.clone().unwrap()).collect();
    assert_eq!((points[0].files, points[0].added, points[0].removed), (2, 3, 0));
    assert_eq!((points[1].files, points[1].added, points[1].removed), (1, 1, 1));
    let path = format!("/api/projects/{project}/changes/{}", points[1].commit);
    let (status, changes) = answer(app.get(&path)).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(changes["title"], "use digits");
    assert_eq!(changes["files"][0]["hunks"][0]["lines"], json!([[" ", "one"], ["-", "two"], ["+", "2"]]));
    let page = format!("/p/{project}/changes/{}", answers(&state)[1].id);
    let html = app.get(&page).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("<del>-two") && html.contains("<ins>+2"), "{html}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn going_back_takes_files_and_conversation_with_it_and_loses_nothing() {
    let (fake, app, project, [first, _]) = two_turns(vec![says("third")]).await;
    // Somebody works by hand as well; that is kept too.
    app.services()
        .sandbox
        .write_files(
            &project,
            None,
            vec![sandcastle::sandbox::FileWrite { path: "hand.txt".to_owned(), content: "mine".to_owned() }],
        )
        .await
        .unwrap();
    let (status, _) = answer(app.post(&format!("/api/projects/{project}/back"), &json!({"message": first}))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(text(&app, &project, "a.txt").await.as_deref(), Some("one\ntwo\n"));
    assert_eq!(text(&app, &project, "hand.txt").await, None);
    let state = ask(&app, &project, "go on").await;
    let said: Vec<String> = state.messages.iter().map(Message::text).collect();
    assert_eq!(said, ["build a shop", "first", "go on", "third"]);
    let sent = fake.requests().pop().unwrap()["messages"].to_string();
    assert!(sent.contains("build a shop") && !sent.contains("use digits"), "{sent}");

    let dir = tempfile::tempdir().unwrap();
    let url = format!("http://{}/api/projects/{project}/repo.git", app.app().addr());
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).current_dir(dir.path()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    git(&["clone", "--quiet", &url, "shop"]);
    let log = git(&["-C", "shop", "log", "--format=%s"]);
    let log: Vec<&str> = log.lines().collect();
    assert_eq!((log[0], log[2], log[3], log[4]), ("go on", "Before going back", "use digits", "build a shop"));
    assert!(log[1].starts_with("Back to "));
    assert_eq!(git(&["-C", "shop", "show", "HEAD~2:hand.txt"]), "mine");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_message_can_be_changed_and_sent_again() {
    let (_fake, app, project, _) = two_turns(vec![edit("a.txt", "two", "zwei"), says("third")]).await;
    let state = app.services().store.events().state(&project).await.unwrap();
    let message = state.messages[2].id.clone();
    let body = json!({"message": message, "text": "use German"});
    let (status, _) = answer(app.post(&format!("/api/projects/{project}/resend"), &body)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let state = until(&app, &project, |s| s.turn.is_none() && answers(s).len() == 2 && s.messages.len() == 4).await;
    assert_eq!(state.messages[2].text(), "use German");
    assert_eq!(text(&app, &project, "a.txt").await.as_deref(), Some("one\nzwei\n"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_has_files_conversation_and_history_up_to_its_point_and_goes_its_own_way() {
    let (_fake, app, project, [first, _]) = two_turns(vec![edit("a.txt", "two", "II"), says("forked")]).await;
    let (status, made) = answer(app.post(&format!("/api/projects/{project}/fork"), &json!({"message": first}))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let fork = ProjectId::parse(made["id"].as_str().unwrap()).unwrap();
    until(&app, &fork, |s| s.runs.iter().any(|r| r.task == "startFork" && r.status.is_final())).await;
    assert_eq!(text(&app, &fork, "a.txt").await.as_deref(), Some("one\ntwo\n"));
    let state = ask(&app, &fork, "roman").await;
    let said: Vec<String> = state.messages.iter().map(Message::text).collect();
    assert_eq!(said, ["build a shop", "first", "roman", "forked"]);
    assert_eq!(text(&app, &fork, "a.txt").await.as_deref(), Some("one\nII\n"));
    assert_eq!(text(&app, &project, "a.txt").await.as_deref(), Some("one\n2\n"));
    let last = answers(&state)[1].checkpoint.clone().unwrap();
    assert_eq!((last.files, last.added, last.removed), (1, 1, 1));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_edit_that_comes_while_the_agent_works_is_given_back_with_the_reason() {
    let (_fake, app, project, _) = two_turns(vec![vec![crate::fake_model::Act::Hang]]).await;
    let state = app.services().store.events().state(&project).await.unwrap();
    let page = format!("/p/{project}/edit/{}", state.messages[2].id);
    app.services().agent.send(&project, "and more", None).await.unwrap();
    until(&app, &project, |s| s.turn.is_some()).await;
    let send = |body: &'static str| {
        let request = app.request(reqwest::Method::POST, &page).header("accept", "text/html");
        request.header("content-type", "application/x-www-form-urlencoded").body(body).send()
    };
    let refused = send("text=a+%3Clong%3E+edit").await.unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    let html = refused.text().await.unwrap();
    assert!(html.contains("The agent is at work") && html.contains("a &lt;long&gt; edit</textarea>"), "{html}");
    assert!(html.contains(&format!("action=\"{page}\"")), "{html}");
    app.services().agent.stop(&project).await.unwrap();
    until(&app, &project, |s| s.turn.is_none()).await;
    let empty = send("text=+").await.unwrap();
    assert_eq!(empty.status(), StatusCode::BAD_REQUEST);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_is_asked_for_twice_is_made_once() {
    let (_fake, app, project, [first, _]) = two_turns(Vec::new()).await;
    let page = format!("/p/{project}/changes/{first}");
    let html = app.get(&page).send().await.unwrap().text().await.unwrap();
    let (_, mark) = html.split_once("name=\"once\" value=\"").unwrap();
    let (mark, _) = mark.split_once('"').unwrap();
    let fork = async || {
        let request = app.request(reqwest::Method::POST, &format!("/p/{project}/fork"));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let answer = request.body(format!("message={first}&once={mark}")).send().await.unwrap();
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    let (one, two) = tokio::join!(fork(), fork());
    assert_eq!(one, two);
    assert_eq!(app.services().store.events().count_projects().await.unwrap(), 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_gone_back_to_is_refused_in_words() {
    let (_fake, app, project, _) = two_turns(Vec::new()).await;
    let state = app.services().store.events().state(&project).await.unwrap();
    let back = format!("/api/projects/{project}/back");
    let (status, body) = answer(app.post(&back, &json!({"message": state.messages[0].id}))).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::CONFLICT, Some("conflict")));
    let (status, _) = answer(app.post(&back, &json!({"message": "msg_0"}))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let (status, _) = answer(app.post(&back, &json!({}))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let path = format!("/api/projects/{project}/repo.git/../../../db.sqlite");
    assert_ne!(answer(app.get(&path)).await.0, StatusCode::OK);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_sent_again_takes_nothing_back() {
    // Only the demo is there, so any other model is an error.
    let app = TestApp::start().await;
    let events = app.services().store.events();
    let project = events.create_project("Shop").await.unwrap();
    let turn = sandcastle::store::new_run_id();
    let model = ModelRef { id: "demo".to_owned(), label: "Demo".to_owned(), demo: true };
    let message = sandcastle::store::new_message_id();
    let asked = |text: &str| EventBody::UserMessage {
        message: sandcastle::store::new_message_id(),
        text: text.to_owned(),
        attachments: Vec::new(),
        model: None,
    };
    let finished = EventBody::TurnFinished { turn: turn.clone(), outcome: TurnOutcome::Completed, usage: None };
    let log = vec![asked("build a shop"), EventBody::TurnStarted { turn, message, model, waiting: 0 }, finished];
    events.append(&project, log).await.unwrap();
    let before = events.state(&project).await.unwrap();
    let body = json!({"message": before.messages[0].id, "text": "build a bank", "model": "no-such-model"});
    let (status, said) = answer(app.post(&format!("/api/projects/{project}/resend"), &body)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{said}");
    assert_eq!(events.state(&project).await.unwrap().messages, before.messages);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_turn_ends_at_once_and_keeps_its_cost_and_its_checkpoint() {
    let files = json!({"files": [{"path": "a.txt", "content": "one"}]}).to_string();
    let first = calls(&[("create_sandbox", "{}"), ("generate_files", &files)]);
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 900, "completion_tokens": 9, "cost": 0.5}});
    let with_usage = |act: Act| match act {
        Act::Send(bytes) => {
            let text = String::from_utf8(bytes).unwrap();
            Act::Send(text.replace("data: [DONE]", &format!("data: {usage}\n\ndata: [DONE]")).into_bytes())
        }
        act => act,
    };
    let first = first.into_iter().map(with_usage).collect();
    let asked_again = Arc::new(Notify::new());
    let fake = FakeModel::start(vec![first, vec![Act::Tell(Arc::clone(&asked_again)), Act::Hang]]).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("Shop").await.unwrap();
    app.services().agent.send(&project, "build", None).await.unwrap();
    asked_again.notified().await;
    app.services().agent.stop(&project).await.unwrap();
    let state = until(&app, &project, |s| s.messages[1].checkpoint.is_some()).await;
    assert_eq!(state.messages[1].outcome, Some(TurnOutcome::Stopped));
    assert_eq!(state.messages[1].usage.unwrap().cost, Some(500_000));
    let events = app.services().store.events().after(&project, 0, 1000).await.unwrap();
    let at = |kind: &str| events.iter().position(|e| serde_json::to_value(e).unwrap()["type"] == kind).unwrap();
    assert!(at("turn_finished") < at("checkpoint_made"), "a person who stops does not wait for the checkpoint");
    app.stop().await;
}
