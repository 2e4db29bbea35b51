//! Callers who leave while their request is under way: what was begun is seen through to its end.

use super::{Made, Server, eventually};
use crate::support::answer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Sends a request over a connection of its own; aborting the task closes that.
fn begin(server: &Server, method: Method, path: &str, body: &Value) -> JoinHandle<()> {
    let request = reqwest::Client::new().request(method, format!("{}{path}", server.url()));
    let request = request.header("x-api-key", &server.key).json(body);
    tokio::spawn(async move { drop(request.send().await) })
}

async fn leave(asked: JoinHandle<()>) {
    asked.abort();
    // On a busy machine the answer may have come before: then this caller has not left early, and nothing is wrong.
    let _ = asked.await;
}

fn fleet(server: &Server) -> PathBuf {
    server.dir.path().join("data/fleet")
}

fn folders(server: &Server) -> usize {
    std::fs::read_dir(fleet(server)).unwrap().count()
}

/// A sandbox that counts in a file, with so many files that a copy takes a while.
async fn busy(server: &Server) -> (Made, PathBuf) {
    let sandbox = server.sandbox().await;
    let count = "while :; do echo x >> ticks; sleep 0.02; done";
    let line = format!("seq 4000 | split -l 1 -a 4 - f; ({count}) >/dev/null 2>&1 & echo");
    server.shell(&sandbox, &line).await;
    let ticks = fleet(server).join(&sandbox.0).join("workspace/ticks");
    (sandbox, ticks)
}

/// Begins a snapshot and returns in its middle.
async fn begin_snapshot(server: &Server, (id, _): &Made) -> JoinHandle<()> {
    let before = folders(server);
    let asked = begin(server, Method::POST, &format!("/sandboxes/{id}/snapshots"), &json!({}));
    let begun = async {
        while folders(server) == before {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.expect("the copy begins");
    asked
}

fn length(file: &std::path::Path) -> u64 {
    std::fs::metadata(file).map_or(0, |data| data.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_goes_on_when_whoever_wanted_a_snapshot_of_it_leaves() {
    let server = Server::start().await;
    let (sandbox, ticks) = busy(&server).await;
    leave(begin_snapshot(&server, &sandbox).await).await;
    let before = length(&ticks);
    eventually("its processes go on", || async { length(&ticks) > before }).await;
    let asking = &server;
    eventually("the snapshot is there", || async move {
        answer(asking.api(Method::GET, "/snapshots")).await.1.as_array().is_some_and(|list| list.len() == 1)
    })
    .await;
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_gets_ready_is_known_when_its_caller_has_left() {
    let server = Server::start().await;
    slow_template(&server).await;
    let asking = &server;
    let asked = begin(&server, Method::POST, "/v2/sandboxes", &json!({"templateID": "slow", "timeout": 60}));
    let workspace = started(&server).await;
    leave(asked).await;
    assert_eq!(server.ask(Method::GET, "/v2/sandboxes", &json!({}), 200).await, json!([]));
    std::fs::write(workspace.join("go"), "").unwrap();
    let known = || async move {
        let list = answer(asking.api(Method::GET, "/v2/sandboxes")).await.1;
        list.as_array().is_some_and(|list| list.len() == 1)
    };
    eventually("it is listed", known).await;
    server.app.stop().await;
}

/// A template whose sandboxes are ready once somebody has put the file `go` there; its build needs none.
async fn slow_template(server: &Server) {
    let recipe = json!({
        "fromTemplate": "base", "steps": [],
        "startCmd": "touch started$E2B_SANDBOX; sleep 1000", "readyCmd": "[ -z \"$E2B_SANDBOX\" ] || [ -e go ]",
    });
    super::templates::build(server, "slow", recipe).await;
}

/// The workspace of the sandbox that was just made of that template.
async fn started(server: &Server) -> PathBuf {
    let found = || {
        let entries = std::fs::read_dir(fleet(server)).unwrap().flatten().map(|entry| entry.path().join("workspace"));
        entries.into_iter().find(|workspace| workspace.join("startedtrue").exists())
    };
    eventually("it is started", || async { found().is_some() }).await;
    found().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_sandbox_is_gone_whole_when_its_caller_has_left() {
    let server = Server::start().await;
    let (sandbox, ticks) = busy(&server).await;
    // The copy holds the deletion up.
    let snapshot = begin_snapshot(&server, &sandbox).await;
    let path = format!("/sandboxes/{}", sandbox.0);
    let asked = begin(&server, Method::DELETE, &path, &json!({}));
    while answer(server.api(Method::GET, &path)).await.0 != StatusCode::NOT_FOUND {}
    leave(asked).await;
    snapshot.await.unwrap();
    let folder = ticks.parent().unwrap().parent().unwrap();
    eventually("its files are gone, and with them what wrote them", || async { !folder.exists() }).await;
    let server = server.restart().await;
    assert_eq!(answer(server.api(Method::GET, &path)).await.0, StatusCode::NOT_FOUND);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_does_not_wait_for_another() {
    let server = Server::start().await;
    slow_template(&server).await;
    let create = async |key: &str, template: &str| {
        let request = server.api(Method::POST, "/v2/sandboxes").header("idempotency-key", key);
        answer(request.json(&json!({"templateID": template, "timeout": 60}))).await
    };
    let first = create("one", "slow");
    let others = async {
        let workspace = started(&server).await;
        let base = create("two", "base").await;
        std::fs::write(workspace.join("go"), "").unwrap();
        let same = create("one", "slow").await;
        (base, same)
    };
    let (first, (base, same)) = tokio::join!(first, others);
    assert_eq!((first.0, base.0, same.0), (StatusCode::CREATED, StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.1["sandboxID"], same.1["sandboxID"]);
    let logs = format!("/v2/sandboxes/{}/logs", same.1["sandboxID"].as_str().unwrap());
    let logs = server.ask(Method::GET, &logs, &json!({}), 200).await;
    assert!(!logs.to_string().contains("not ready"), "the other waited for it: {logs}");
    server.app.stop().await;
}
