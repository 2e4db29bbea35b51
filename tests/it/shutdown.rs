//! Stopping: streams are told and end, and everything is there after the next start.

use crate::support::{PATIENCE, TestApp, answer};
use sandcastle::boot::{App, BootError};
use sandcastle::config::Config;
use sandcastle::sandbox::CommandSpec;
use serde_json::json;
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_says_bye_on_every_stream_and_ends_it() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let mut one = app.events(&project, "").await;
    let mut two = app.events(&project, "?after=1").await;
    one.next().await.unwrap();
    let stopped = tokio::time::timeout(PATIENCE, app.stop());
    let read = async {
        assert_eq!(one.next().await.unwrap().name, "bye");
        assert_eq!(two.next().await.unwrap().name, "bye");
        assert_eq!(one.next().await, None);
        assert_eq!(two.next().await, None);
    };
    let (stopped, ()) = tokio::join!(stopped, read);
    stopped.expect("open streams hold up the shutdown");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_command_does_not_hold_up_the_shutdown_and_is_recorded() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let id = project.parse().unwrap();
    let spec = CommandSpec { line: "sleep 1000".to_owned(), background: true, ..CommandSpec::default() };
    app.services().sandbox.start_command(&id, spec).await.unwrap();
    let app = tokio::time::timeout(PATIENCE, app.restart()).await.unwrap();
    let (_, state) = answer(app.get(&format!("/api/projects/{project}"))).await;
    assert_eq!(state["sandbox"]["phase"], "asleep");
    assert_ne!(state["commands"][0]["exit"], json!(null));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_is_refused_with_the_reason() {
    let app = TestApp::start().await;
    let provider = || Arc::new(crate::host_provider::HostProvider::default());
    let mut same_port = Config::defaults(app.dir().join("other"));
    same_port.server.addr = app.app().addr();
    let error = App::start_over(same_port, provider()).await.err().unwrap();
    assert!(matches!(error, BootError::AddressInUse(_)));
    assert!(error.to_string().contains("--addr"), "{error}");

    let mut same_data = Config::defaults(app.dir().join("data"));
    same_data.server.addr = ([127, 0, 0, 1], 0).into();
    let error = App::start_over(same_data, provider()).await.err().unwrap();
    assert!(error.to_string().contains("--data-dir"), "{error}");
    app.stop().await;
}
