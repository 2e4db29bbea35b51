//! The event stream: replay, resume, live output, its end.

use crate::support::{TestApp, answer};
use reqwest::{Method, StatusCode};
use sandcastle::domain::{EventBody, ProjectId};
use sandcastle::sandbox::CommandSpec;
use tokio_util::sync::CancellationToken;

async fn rename(app: &TestApp, project: &str, name: &str) {
    let id: ProjectId = project.parse().unwrap();
    let renamed = EventBody::ProjectRenamed { name: name.to_owned() };
    app.services().store.events().append(&id, vec![renamed]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_gets_the_log_and_then_what_happens() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let mut events = app.events(&project, "").await;
    let first = events.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.id), ("message", Some(1)));
    assert_eq!(first.json()["type"], "project_created");
    rename(&app, &project, "two").await;
    let second = events.next().await.unwrap();
    assert_eq!((second.id, second.json()["name"].as_str().unwrap()), (Some(2), "two"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_resumes_by_last_event_id_without_loss_or_repetition() {
    let app = TestApp::start().await;
    let project = app.project().await;
    for n in 2..=600 {
        rename(&app, &project, &format!("name {n}")).await;
    }
    let path = format!("/api/projects/{project}/events?after=0");
    let response = app.get(&path).header("last-event-id", "123").send().await.unwrap();
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert!(response.headers()["cache-control"].to_str().unwrap().starts_with("no-cache"));
    drop(response);
    let mut events = app.events(&project, "?after=123").await;
    for n in 124..=600 {
        assert_eq!(events.next().await.unwrap().id, Some(n));
    }
    let app = app.restart().await;
    let mut events = app.events(&project, "?after=599").await;
    assert_eq!(events.next().await.unwrap().id, Some(600));
    let ahead = answer(app.get(&format!("/api/projects/{project}/events?after=601"))).await;
    assert_eq!(ahead.0, StatusCode::CONFLICT);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_comes_once_from_the_known_offset_and_keeps_its_characters() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let id: ProjectId = project.parse().unwrap();
    let sandbox = &app.services().sandbox;
    let line = "i=0; while [ $i -lt 20000 ]; do echo 'aéß日本'; i=$((i+1)); done";
    let spec = CommandSpec { line: line.to_owned(), ..CommandSpec::default() };
    let mut events = app.events(&project, "").await;
    let command = sandbox.start_command(&id, spec).await.unwrap();
    let mut text = String::new();
    let expected = "aéß日本\n".repeat(20_000);
    while text.len() < expected.len() {
        let event = events.until(|event| event.name == "output").await;
        let chunk = event.json();
        assert_eq!(event.id, None, "output is not in the log");
        assert_eq!(chunk["offset"], text.len());
        assert!(chunk["len"].as_u64().unwrap() <= 64 * 1024);
        text.push_str(chunk["text"].as_str().unwrap());
    }
    assert!(text == expected);
    sandbox.wait_command(&id, &command, &CancellationToken::new()).await.unwrap();

    let seq = app.services().store.events().state(&id).await.unwrap().seq;
    let from = expected.len() - 12;
    let mut events = app.events(&project, &format!("?after={seq}&outputs={command}:{from}")).await;
    let chunk = events.until(|event| event.name == "output").await.json();
    assert_eq!((chunk["offset"].as_u64().unwrap(), chunk["text"].as_str().unwrap()), (from as u64, "aéß日本\n"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_project_ends_its_stream() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let mut events = app.events(&project, "").await;
    events.next().await.unwrap();
    answer(app.request(Method::DELETE, &format!("/api/projects/{project}"))).await;
    while let Some(event) = events.next().await {
        assert_ne!(event.name, "bye");
    }
}
