//! What a person is told when the service cannot be used, and that nothing hangs or is lost.

use super::{Far, Near};
use sandcastle::boot::providers;
use sandcastle::config::{Config, E2bConfig, Secret};
use sandcastle::domain::{ApiError, ErrorCode, SandboxPhase};
use sandcastle::sandbox::SandboxError;
use sandcastle::sandbox::provider::{Check, CheckState};
use std::sync::Arc;
use std::time::Duration;

async fn near(e2b: E2bConfig) -> Near {
    Near::with(e2b, None, Arc::new(tempfile::tempdir().unwrap())).await
}

async fn doctor(e2b: E2bConfig) -> Vec<Check> {
    let dir = tempfile::tempdir().unwrap();
    let mut config = Config::defaults(dir.path().to_owned());
    config.e2b = Some(e2b);
    providers(&config).unwrap().projects.doctor().await
}

/// The refusal of a start, also as it is recorded.
async fn refusal(near: &Near) -> SandboxError {
    let project = near.project().await;
    let error = near.service().ensure(&project).await.unwrap_err();
    let state = near.until(&project, |s| s.sandbox.as_ref().is_some_and(|s| s.phase == SandboxPhase::Failed)).await;
    assert_eq!(state.sandbox.as_ref().unwrap().detail, Some(error.to_string()));
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_named_and_not_tried_again() {
    let far = Far::start().await;
    let wrong = E2bConfig { api_key: Secret::new("e2b_0000"), ..far.config() };
    let near = near(wrong.clone()).await;
    let error = refusal(&near).await;
    assert!(!error.is_retryable() && error.to_string().contains("E2B_API_KEY"), "{error}");
    assert!(!error.to_string().contains("e2b_0000"), "a key is never shown: {error}");
    assert_eq!(ApiError::from(error).code, ErrorCode::Sandbox);
    let checks = doctor(wrong).await;
    assert_eq!((checks.len(), checks[0].state), (1, CheckState::Failed));
    assert!(checks[0].detail.contains("E2B_API_KEY"), "{checks:?}");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_cannot_be_reached_is_named_with_its_address() {
    let nowhere = "http://127.0.0.1:9".to_owned();
    let e2b = E2bConfig {
        api_key: Secret::new("e2b_0000"),
        api_url: nowhere.clone(),
        domain: "localhost".to_owned(),
        sandbox_url: None,
        template: "base".to_owned(),
        timeout: Duration::from_secs(300),
    };
    let near = near(e2b.clone()).await;
    let error = refusal(&near).await;
    assert!(error.is_retryable() && error.to_string().contains(&nowhere), "{error}");
    let checks = doctor(e2b).await;
    assert!(checks[0].state == CheckState::Failed && checks[0].detail.contains(&nowhere), "{checks:?}");
    near.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_not_there_is_named() {
    let far = Far::start().await;
    let near = near(E2bConfig { template: "no-such".to_owned(), ..far.config() }).await;
    let error = refusal(&near).await;
    assert!(!error.is_retryable() && error.to_string().contains("no-such"), "{error}");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_makes_a_sandbox_uses_it_and_deletes_it() {
    let far = Far::start().await;
    let checks = doctor(far.config()).await;
    assert!(checks.iter().all(|check| check.state != CheckState::Failed), "{checks:?}");
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    assert!(names.starts_with(&["e2b", "e2b sandbox", "e2b command"]), "{names:?}");
    assert_eq!(far.sandboxes().await, []);
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_service_is_away_files_are_readable_and_afterwards_work_goes_on() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    near.write(&project, &[("a.txt", "here\n")]).await;
    near.run(&project, "echo there > b.txt").await;
    let server = near.start(&project, "while true; do date > tick; sleep 1; done", true).await;
    near.service().list_files(&project).await.unwrap();

    far.wire.set_down(true);
    let tree = near.service().list_files(&project).await.unwrap();
    assert!(tree.iter().any(|node| node.path == "b.txt"), "a tree that is a moment old is better than none");
    let error = near.service().checkpoint(&project, "away").await.unwrap_err();
    assert!(error.is_retryable(), "a checkpoint is of now or not at all: {error}");
    far.wire.set_down(false);

    assert_eq!(near.text(&project, "b.txt").await.as_deref(), Some("there\n"));
    near.service().stop_command(&project, &server).await.unwrap();
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_was_started_again_has_the_same_sandbox_and_its_commands_run_again() {
    let mut far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    near.service().ensure(&project).await.unwrap();
    near.write(&project, &[("kept.txt", "kept\n")]).await;
    let (id, _) = far.sandboxes().await[0].clone();
    far = far.restart().await;
    let (exit, output) = near.run(&project, "cat kept.txt").await;
    assert!(exit.success() && output == "kept\n", "{exit:?} {output}");
    assert_eq!(far.sandboxes().await, [(id, "running".to_owned())]);
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_finds_its_sandbox_and_ends_what_ran() {
    let far = Far::start().await;
    let first = Near::to(&far).await;
    let project = first.project().await;
    first.start(&project, "echo run >> runs; exec sleep 4321", true).await;
    first.until(&project, |s| s.sandbox.is_some()).await;
    while first.text(&project, "runs").await.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What a killed server leaves: its data, as they are now, and a sandbox that still runs.
    let copy = Arc::new(tempfile::tempdir().unwrap());
    let copied =
        std::process::Command::new("cp").arg("-a").arg(first.dir.path().join("data")).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    let second = Near::with(far.config(), None, copy).await;
    second.service().ensure(&project).await.unwrap();
    let count = "cat runs; grep -lzsx '[4]321' /proc/[0-9]*/cmdline | wc -l";
    let mut output = String::new();
    for _ in 0..50 {
        output = second.run(&project, count).await.1;
        if output == "run\nrun\n1\n" {
            break;
        }
    }
    assert_eq!(output, "run\nrun\n1\n", "the old one is ended, and it is started again once");
    assert_eq!(far.sandboxes().await.len(), 1);
    second.app.stop().await;
    first.app.stop().await;
    far.app.stop().await;
}
