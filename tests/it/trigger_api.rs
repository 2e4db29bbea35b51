//! The Trigger.dev-compatible API where its SDK does not look: keys and tokens that end, what is sent twice, limits.

use crate::support::{TestApp, answer};
use reqwest::{Method, RequestBuilder, StatusCode};
use sandcastle::config::Secret;
use sandcastle::store::KeyKind;
use serde_json::{Value, json};

async fn key(app: &TestApp) -> (String, String) {
    let (key, text) = app.services().store.keys().create(KeyKind::Trigger, "test").await.unwrap();
    (key.id, text)
}

fn send(app: &TestApp, key: &str, method: Method, path: &str) -> RequestBuilder {
    app.request(method, path).bearer_auth(key)
}

async fn trigger(app: &TestApp, key: &str, task: &str, body: &Value) -> (StatusCode, Value) {
    answer(send(app, key, Method::POST, &format!("/api/v1/tasks/{task}/trigger")).json(body)).await
}

/// A sandbox made over the API.
async fn sandbox(app: &TestApp, key: &str) -> String {
    let (_, handle) = trigger(app, key, "create-sandbox", &json!({"payload": {}})).await;
    let id = sandcastle::domain::RunId::parse(handle["id"].as_str().unwrap().to_owned()).unwrap();
    let output = app.services().workflow.wait(&id).await.unwrap();
    output["sandboxId"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn its_keys_open_it_where_the_server_asks_for_a_token_and_open_nothing_else() {
    let app = TestApp::start_with(|config| config.server.access_token = Some(Secret::new("the token"))).await;
    let (_, key) = key(&app).await;
    let (status, _) = answer(send(&app, &key, Method::GET, "/api/v1/runs")).await;
    assert_eq!(status, StatusCode::OK);
    let (status, body) = answer(send(&app, "the token", Method::GET, "/api/v1/runs")).await;
    assert_eq!((status, &body), (StatusCode::UNAUTHORIZED, &json!({"error": "Invalid API key."})));
    let (status, body) = answer(app.get("/api/v1/runs")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(body["error"].as_str().unwrap().contains("keys create NAME --kind trigger"), "{body}");
    let (status, _) = answer(send(&app, &key, Method::GET, "/api/runs")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_token_ends_with_its_key() {
    let app = TestApp::start().await;
    let (id, key) = key(&app).await;
    let body = json!({"scopes": ["read:runs"], "expirationTime": "1h"});
    let (_, made) = answer(send(&app, &key, Method::POST, "/api/v1/auth/public-tokens").json(&body)).await;
    let token = made["token"].as_str().unwrap();
    let list = || answer(send(&app, token, Method::GET, "/api/v1/runs"));
    assert_eq!(list().await.0, StatusCode::OK);
    let body = json!({"scopes": ["write:runs"]});
    let (status, _) = answer(send(&app, &key, Method::POST, "/api/v1/auth/public-tokens").json(&body)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    app.services().store.keys().revoke(&id).await.unwrap();
    assert_eq!(list().await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(answer(send(&app, &key, Method::GET, "/api/v1/runs")).await.0, StatusCode::UNAUTHORIZED);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_triggers_that_race_on_one_key_make_one_run() {
    let app = TestApp::start().await;
    let (_, key) = key(&app).await;
    let sandbox_id = sandbox(&app, &key).await;
    let body = json!({
        "payload": {"sandboxId": sandbox_id, "command": "echo once"},
        "options": {"idempotencyKey": "race"},
    });
    let all = futures::future::join_all((0..8).map(|_| trigger(&app, &key, "run-command", &body))).await;
    assert!(all.iter().all(|(status, body)| *status == StatusCode::OK && body["id"] == all[0].1["id"]), "{all:?}");
    assert_eq!(all.iter().filter(|(_, body)| body["isCached"] == false).count(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_that_are_sent_again_are_not_run_again_and_a_wrong_one_is_named() {
    let app = TestApp::start().await;
    let (_, key) = key(&app).await;
    let sandbox_id = sandbox(&app, &key).await;
    let new = json!({"runCount": 2});
    let (status, batch) = answer(send(&app, &key, Method::POST, "/api/v3/batches").json(&new)).await;
    assert_eq!(status, StatusCode::ACCEPTED);
    let path = format!("/api/v3/batches/{}/items", batch["id"].as_str().unwrap());
    let item = |index: u32, command: &str| {
        let payload = json!({"sandboxId": sandbox_id, "command": command});
        format!("{}\n", json!({"index": index, "task": "run-command", "payload": payload}))
    };
    let items = |text: String| {
        answer(send(&app, &key, Method::POST, &path).header("content-type", "application/x-ndjson").body(text))
    };
    let (_, first) = items(item(0, "echo a")).await;
    assert_eq!((&first["sealed"], &first["enqueuedCount"]), (&json!(false), &json!(1)));
    let (_, both) = items(item(0, "echo a") + &item(1, "echo b")).await;
    assert_eq!(
        (&both["itemsAccepted"], &both["itemsDeduplicated"], &both["sealed"]),
        (&json!(1), &json!(1), &json!(true))
    );
    let (status, wrong) = items(item(2, "echo c")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(wrong["error"].as_str().unwrap().contains("beyond the batch's 2 runs"), "{wrong}");
    let (status, wrong) = items("{\"index\": 0".to_owned()).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(wrong["error"].as_str().unwrap().starts_with("Line 1"), "{wrong}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_and_its_sandbox_outlive_the_server() {
    let app = TestApp::start().await;
    let (_, key) = key(&app).await;
    let sandbox_id = sandbox(&app, &key).await;
    let late = json!({
        "payload": {"sandboxId": sandbox_id, "command": "echo still here"},
        "options": {"delay": "1h", "tags": ["late"], "metadata": "{\"n\":1}"},
    });
    let (_, handle) = trigger(&app, &key, "run-command", &late).await;
    let run = handle["id"].as_str().unwrap().to_owned();
    let app = app.restart().await;
    let (_, waiting) = answer(send(&app, &key, Method::GET, &format!("/api/v3/runs/{run}"))).await;
    assert_eq!(
        (&waiting["status"], &waiting["tags"], &waiting["metadata"]["n"]),
        (&json!("DELAYED"), &json!(["late"]), &json!(1))
    );
    let now = json!({"delay": "0s"});
    let path = format!("/api/v1/runs/{run}/reschedule");
    assert_eq!(answer(send(&app, &key, Method::POST, &path).json(&now)).await.0, StatusCode::OK);
    let id = sandcastle::domain::RunId::parse(run.clone()).unwrap();
    assert_eq!(app.services().workflow.wait(&id).await.unwrap()["stdout"], "still here\n");
    let (status, refused) = answer(send(&app, &key, Method::POST, &path).json(&now)).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(refused["error"].as_str().unwrap().contains("has started already"), "{refused}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_listed_under_the_status_it_is_shown_with_and_unknown_filters_are_refused() {
    let app = TestApp::start().await;
    let (_, key) = key(&app).await;
    let sandbox_id = sandbox(&app, &key).await;
    let payload = json!({"sandboxId": sandbox_id, "command": "true"});
    let late = json!({"payload": payload, "options": {"delay": "1h"}});
    let (_, late) = trigger(&app, &key, "run-command", &late).await;
    // The sandbox cannot be woken, so its first attempt fails and the next one is waited for.
    let project = app.services().sandbox.find(&sandcastle::domain::SandboxId::parse(sandbox_id).unwrap()).unwrap();
    app.services().sandbox.sleep(&project).await.unwrap();
    *app.provider().fail.lock().unwrap() = Some(sandcastle::sandbox::SandboxError::Io("no process".to_owned()));
    let again = json!({"payload": payload, "options": {"maxAttempts": 250}});
    let (_, again) = trigger(&app, &key, "run-command", &again).await;
    let id = sandcastle::domain::RunId::parse(again["id"].as_str().unwrap().to_owned()).unwrap();
    let workflow = &app.services().workflow;
    while workflow.get(&id).await.unwrap().summary.status != sandcastle::domain::RunStatus::Delayed {
        tokio::task::yield_now().await;
    }
    for (status, run) in [("DELAYED", &late), ("EXECUTING", &again)] {
        let (_, list) = answer(send(&app, &key, Method::GET, &format!("/api/v1/runs?filter[status]={status}"))).await;
        let listed: Vec<_> = list["data"].as_array().unwrap().iter().map(|r| (&r["id"], &r["status"])).collect();
        assert_eq!(listed, [(&run["id"], &json!(status))]);
    }
    let (status, refused) = answer(send(&app, &key, Method::GET, "/api/v1/runs?filter[machine]=micro")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(refused["error"].as_str().unwrap().contains("\"machine\" is not supported"), "{refused}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payload_of_almost_three_mib_is_taken_also_where_its_text_needs_escaping() {
    let app = TestApp::start().await;
    let (_, key) = key(&app).await;
    // Not a field of the task, which ignores it.
    let payload = json!({"timeout": 1_000, "note": "\"".repeat((3 << 19) - 100)}).to_string();
    assert!(payload.len() < 3 << 20 && json!(payload).to_string().len() > 4 << 20);
    let later = json!({"payload": payload, "options": {"payloadType": "application/json", "delay": "1h"}});
    let (status, answer) = trigger(&app, &key, "create-sandbox", &later).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_done_is_refused_before_a_run_is_made() {
    let app = TestApp::start().await;
    let (_, key) = key(&app).await;
    let (long, longer) = ("x".repeat(3 << 20), "x".repeat(8 << 20));
    for (task, body, status, words) in [
        ("create-sandbox", json!({"payload": "{"}), StatusCode::BAD_REQUEST, "not JSON"),
        ("create-sandbox", json!({"payload": {"timeout": "long"}}), StatusCode::UNPROCESSABLE_ENTITY, "does not fit"),
        ("create-sandbox", json!({"payload": {}, "options": {"delay": "soon"}}), StatusCode::BAD_REQUEST, "duration"),
        (
            "create-sandbox",
            json!({"payload": {}, "options": {"debounce": {"key": "a"}}}),
            StatusCode::BAD_REQUEST,
            "debounce",
        ),
        (
            "create-sandbox",
            json!({"payload": {}, "options": {"maxAttempts": 0}}),
            StatusCode::BAD_REQUEST,
            "maxAttempts",
        ),
        ("write-files", json!({"payload": {"files": [long]}}), StatusCode::PAYLOAD_TOO_LARGE, "at most 3145728 bytes"),
        ("write-files", json!({"payload": {"files": [longer]}}), StatusCode::PAYLOAD_TOO_LARGE, "larger than 7 MiB"),
    ] {
        let (got, answer) = trigger(&app, &key, task, &body).await;
        assert_eq!(got, status, "{answer}");
        assert!(answer.to_string().contains(words), "{words}: {answer}");
    }
    assert!(app.services().workflow.list(Default::default()).await.unwrap().is_empty());
    app.stop().await;
}
