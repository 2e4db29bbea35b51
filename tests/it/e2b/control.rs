//! Routes of the control plane that the SDKs do not show, or show in part.

use super::Server;
use crate::support::answer;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

fn time(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_gives_more_time_and_never_less() {
    let server = Server::start().await;
    let (id, _) = server.sandbox_of(&json!({"templateID": "base", "timeout": 60})).await;
    let end = async || {
        let detail = server.ask(Method::GET, &format!("/sandboxes/{id}"), &json!({}), 200).await;
        time(&detail, "endAt")
    };
    let before = end().await;
    server.ask(Method::POST, &format!("/sandboxes/{id}/refreshes"), &json!({"duration": 20}), 204).await;
    assert_eq!(end().await, before);
    server.ask(Method::POST, &format!("/sandboxes/{id}/refreshes"), &json!({"duration": 3600}), 204).await;
    assert!(end().await > before);
    server.ask(Method::POST, &format!("/sandboxes/{id}/refreshes"), &json!({"duration": 3601}), 400).await;
    // A time-out is absolute, and sets it back.
    server.ask(Method::POST, &format!("/sandboxes/{id}/timeout"), &json!({"timeout": 30}), 204).await;
    assert!(end().await < before);
    server.ask(Method::POST, &format!("/sandboxes/{id}/timeout"), &json!({}), 400).await;
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_list_has_running_sandboxes_only() {
    let server = Server::start().await;
    let (kept, _) = server.sandbox().await;
    let (paused, _) = server.sandbox_of(&json!({"templateID": "base", "metadata": {"who": "me"}})).await;
    server.ask(Method::POST, &format!("/sandboxes/{paused}/pause"), &json!({}), 204).await;
    let ids = |list: &Value| {
        let mut ids: Vec<String> = list.as_array().unwrap().iter().map(|item| time(item, "sandboxID")).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&server.ask(Method::GET, "/sandboxes", &json!({}), 200).await), std::slice::from_ref(&kept));
    let both = ids(&server.ask(Method::GET, "/v2/sandboxes?state=running,paused", &json!({}), 200).await);
    let mut expected = [kept, paused];
    expected.sort();
    assert_eq!(both, expected);
    let found = server.ask(Method::GET, "/sandboxes?metadata=who%3Dyou", &json!({}), 200).await;
    assert_eq!(found, json!([]));
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_sandbox_is_resumed_by_the_old_route_too() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let path = |action: &str| format!("/sandboxes/{}/{action}", sandbox.0);
    server.ask(Method::POST, &path("resume"), &json!({"timeout": 60}), 409).await;
    server.ask(Method::POST, &path("pause"), &json!({}), 204).await;
    server.ask(Method::POST, &path("pause"), &json!({}), 409).await;
    let health = server.inside(&sandbox, Method::GET, "/health").send().await.unwrap().status();
    assert_eq!(health, StatusCode::BAD_GATEWAY);
    let resumed = server.ask(Method::POST, &path("resume"), &json!({"timeout": 60}), 201).await;
    assert_eq!(resumed["envdAccessToken"], sandbox.1);
    assert_eq!(server.shell(&sandbox, "echo back").await, ("back\n".to_owned(), 0));
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_idempotency_key_makes_one_sandbox() {
    let server = Server::start().await;
    let create = async |key: &str, body: Value| {
        answer(server.api(Method::POST, "/v2/sandboxes").header("idempotency-key", key).json(&body)).await
    };
    let body = || json!({"templateID": "base", "timeout": 60});
    let (first, second) = tokio::join!(create("one", body()), create("one", body()));
    assert_eq!((first.0, second.0), (StatusCode::CREATED, StatusCode::CREATED));
    assert_eq!(first.1["sandboxID"], second.1["sandboxID"]);
    assert_ne!(create("two", body()).await.1["sandboxID"], first.1["sandboxID"]);
    let (status, said) = create("one", json!({"templateID": "base", "timeout": 61})).await;
    assert_eq!(status, StatusCode::CONFLICT, "{said}");
    assert_eq!(create("Not Valid", body()).await.0, StatusCode::BAD_REQUEST);
    let all = server.ask(Method::GET, "/v2/sandboxes", &json!({}), 200).await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_sandbox_is_filtered_ordered_and_paged() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    for word in ["first", "second"] {
        server.shell(&sandbox, &format!("echo {word}")).await;
    }
    server.ask(Method::POST, &format!("/sandboxes/{}/snapshots", sandbox.0), &json!({}), 201).await;
    let logs = async |query: &str| {
        let said = server.ask(Method::GET, &format!("/v2/sandboxes/{}/logs?{query}", sandbox.0), &json!({}), 200).await;
        let lines = said["logs"].as_array().unwrap().clone();
        lines.iter().map(|line| time(line, "message")).collect::<Vec<_>>()
    };
    let all = logs("").await;
    assert!(all.len() == 3 && all[0].contains("echo first") && all[1].contains("echo second"), "{all:?}");
    assert_eq!(logs("level=info").await, ["snapshot taken"]);
    assert_eq!(logs("search=second").await, [all[1].clone()]);
    assert_eq!(logs("direction=backward&limit=1").await, [all[2].clone()]);
    assert_eq!(logs("cursor=99999999999999").await, Vec::<String>::new());
    let old = server.ask(Method::GET, &format!("/sandboxes/{}/logs", sandbox.0), &json!({}), 200).await;
    assert_eq!((old["logs"].as_array().unwrap().len(), old["logEntries"].as_array().unwrap().len()), (3, 3));
    assert_eq!(old["logs"][2]["line"], "snapshot taken");
    for query in ["level=loud", "limit=x", "cursor=x"] {
        server.ask(Method::GET, &format!("/v2/sandboxes/{}/logs?{query}", sandbox.0), &json!({}), 400).await;
    }
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_told_for_one_and_for_several_and_grow_with_use() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let path = format!("/sandboxes/{}/metrics", sandbox.0);
    let first = server.ask(Method::GET, &path, &json!({}), 200).await;
    assert!(first[0]["memTotal"].as_u64() > first[0]["memUsed"].as_u64(), "{first}");
    server.upload(&sandbox, "big", vec![7; 3 << 20], 200).await;
    server.shell(&sandbox, "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").await;
    let samples = server.ask(Method::GET, &path, &json!({}), 200).await;
    let used = |sample: &Value| sample["cpuUsedPct"].as_f64().unwrap() > 0.0;
    assert!(samples.as_array().unwrap().iter().any(used), "{samples}");
    let both = server.ask(Method::GET, &format!("/sandboxes/metrics?sandbox_ids={}", sandbox.0), &json!({}), 200).await;
    assert!(both["sandboxes"][&sandbox.0]["timestampUnix"].as_u64().unwrap() > 0, "{both}");
    assert_eq!(server.ask(Method::GET, &format!("{path}?end=1"), &json!({}), 200).await, json!([]));
    for query in ["start=2&end=1", "start=x"] {
        server.ask(Method::GET, &format!("{path}?{query}"), &json!({}), 400).await;
    }
    let own = answer(server.inside(&sandbox, Method::GET, "/metrics")).await.1;
    assert!(own["cpu_count"].as_u64().unwrap() > 0 && own["mem_total"].as_u64() > own["mem_used"].as_u64(), "{own}");
    assert_eq!(own["disk_total"].as_u64().unwrap(), 4096 << 20);
    let remeasured = server.upload(&sandbox, "more", vec![7; 1 << 20], 200).await;
    let own = answer(server.inside(&sandbox, Method::GET, "/metrics")).await.1;
    assert!(own["disk_used"].as_u64().unwrap() > 0, "{own} {remeasured}");
    server.app.stop().await;
}
