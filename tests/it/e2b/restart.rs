//! What of a sandbox is there after the server was started again.

use super::{Server, eventually};
use crate::support::answer;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_are_there_again_with_files_tokens_and_rules_but_without_processes() {
    let server = Server::start().await;
    let asked = json!({
        "templateID": "base", "timeout": 600, "metadata": {"who": "me"}, "envVars": {"MODE": "fast"},
        "network": {"denyOut": ["203.0.113.0/24"]},
    });
    let sandbox = server.sandbox_of(&asked).await;
    let paused = server.sandbox().await;
    server.upload(&sandbox, "kept", b"yes".to_vec(), 200).await;
    server.upload(&paused, "kept", b"too".to_vec(), 200).await;
    let (said, _) = server.shell(&sandbox, "sleep 1000 >/dev/null 2>&1 & echo left > /tmp/lost; echo done").await;
    assert_eq!(said, "done\n");
    server.ask(Method::POST, &format!("/sandboxes/{}/pause", paused.0), &json!({}), 204).await;
    let path = format!("/sandboxes/{}", sandbox.0);
    // All but the domain, which has the port, and that is another one at each start of a test's server.
    let told = async |server: &Server| {
        let mut detail = server.ask(Method::GET, &path, &json!({}), 200).await;
        detail.as_object_mut().unwrap().remove("domain");
        detail
    };
    let before = told(&server).await;
    let server = server.restart().await;
    assert_eq!(told(&server).await, before);
    assert_eq!(server.read(&sandbox, "kept").await, (StatusCode::OK, "yes".to_owned()));
    assert_eq!(server.shell(&sandbox, "echo $MODE; pgrep sleep; cat /tmp/lost 2>/dev/null; true").await.0, "fast\n");
    // A paused one stays so until it is resumed.
    assert_eq!(server.inside(&paused, Method::GET, "/health").send().await.unwrap().status(), StatusCode::BAD_GATEWAY);
    server.ask(Method::POST, &format!("/v2/sandboxes/{}/connect", paused.0), &json!({"timeout": 60}), 201).await;
    assert_eq!(server.read(&paused, "kept").await.1, "too");
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_time_ended_while_the_server_was_down_is_gone() {
    let server = Server::start().await;
    let (id, _) = server.sandbox_of(&json!({"templateID": "base", "timeout": 1})).await;
    let kept = server.sandbox_of(&json!({"templateID": "base", "timeout": 1, "autoPause": true})).await;
    let server = server.restart().await;
    let (asking, path) = (&server, format!("/sandboxes/{id}"));
    let path = path.as_str();
    eventually("it is gone", || async move { answer(asking.api(Method::GET, path)).await.0 == StatusCode::NOT_FOUND })
        .await;
    let path = format!("/sandboxes/{}", kept.0);
    let path = path.as_str();
    eventually("the other one is paused", || async move {
        answer(asking.api(Method::GET, path)).await.1["state"] == "paused"
    })
    .await;
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_template_starts_runs_again() {
    let server = Server::start().await;
    super::templates::build(
        &server,
        "web",
        json!({
            "fromImage": "python:3", "steps": [{"type": "RUN", "args": ["echo served > page"]}],
            "startCmd": "python3 -m http.server 8300", "readyCmd": "[ -n \"$(ss -Htuln sport = :8300)\" ]",
        }),
    )
    .await;
    let sandbox = server.sandbox_of(&json!({"templateID": "web", "timeout": 600})).await;
    let fetch = "curl -s http://127.0.0.1:8300/page";
    assert_eq!(server.shell(&sandbox, fetch).await.0, "served\n");
    let server = server.restart().await;
    assert_eq!(server.shell(&sandbox, fetch).await.0, "served\n");
    let again = server.sandbox_of(&json!({"templateID": "web"})).await;
    assert_eq!(server.shell(&again, fetch).await.0, "served\n");
    server.app.stop().await;
}
