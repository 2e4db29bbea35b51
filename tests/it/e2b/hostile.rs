//! Callers that may not, and callers that send nonsense.

use super::Server;
use crate::support::{TestApp, answer};
use reqwest::{Method, StatusCode};
use sandcastle::store::KeyKind;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sees_its_own_sandboxes_only_and_no_project() {
    let server = Server::start().await;
    let (id, _) = server.sandbox().await;
    let (_, other) = server.app.services().store.keys().create(KeyKind::E2b, "other").await.unwrap();
    for (method, path) in [(Method::GET, ""), (Method::DELETE, ""), (Method::POST, "/pause"), (Method::POST, "/fork")] {
        let path = format!("/sandboxes/{id}{path}");
        let foreign =
            server.http.request(method.clone(), format!("{}{path}", server.url())).header("x-api-key", &other);
        let (status, body) = answer(foreign).await;
        assert_eq!((status, &body["code"]), (StatusCode::NOT_FOUND, &json!(404)), "{method} {path}");
    }
    let project = server.app.services().store.events().create_project("mine").await.unwrap();
    let view = server.app.services().sandbox.ensure(&project).await.unwrap();
    let (status, _) = answer(server.api(Method::GET, &format!("/sandboxes/{}", view.id))).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let services = server.inside(&(view.id.to_string(), "x".to_owned()), Method::POST, "/process.Process/List");
    assert_eq!(answer(services.json(&json!({}))).await.0, StatusCode::BAD_GATEWAY);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_gets_a_precise_error_and_nothing_hangs() {
    let server = Server::start().await;
    for (body, why) in [
        (json!({}), "templateID is missing"),
        (json!({"templateID": 7}), "invalid type"),
        (json!({"templateID": "nosuch"}), "template 'nosuch' not found"),
        (json!({"templateID": "base", "timeout": 0}), "Timeout must be greater than 0"),
        (json!({"templateID": "base", "timeout": 99_999_999}), "Timeout cannot be greater than 720 hours"),
        (json!({"templateID": "base", "envVars": {"A=B": "c"}}), "not the name of a variable"),
        (json!({"templateID": "base", "metadata": {"a": 1}}), "invalid type"),
        (json!({"templateID": "base", "mcp": {}}), "mcp is not supported"),
        (json!({"templateID": "base", "network": {"allowOut": ["example.com"]}}), "network.allowOut"),
        (json!({"templateID": "base", "network": {"denyOut": ["example.com"]}}), "network.denyOut"),
        (json!({"templateID": "base", "network": {"egressProxy": {"address": "x"}}}), "network.egressProxy"),
    ] {
        let (status, said) = answer(server.api(Method::POST, "/v2/sandboxes").json(&body)).await;
        assert!(status.is_client_error(), "{body}: {said}");
        assert_eq!(said["code"], status.as_u16());
        assert!(said["message"].as_str().unwrap().contains(why), "{body}: {said}");
    }
    for path in ["/volumes", "/secrets", "/teams"] {
        let (status, said) = answer(server.api(Method::POST, path).json(&json!({}))).await;
        assert_eq!((status, &said["code"]), (StatusCode::NOT_IMPLEMENTED, &json!(501)), "{path}");
    }
    for query in ["limit=0", "limit=x", "nextToken=%ff", "state=dead", "order=up", "startedAfter=now"] {
        let (status, said) = answer(server.api(Method::GET, &format!("/v2/sandboxes?{query}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {said}");
    }
    let sandbox = server.sandbox().await;
    hostile_bodies(&server, &sandbox).await;
    hostile_calls(&server, &sandbox).await;
    hostile_files(&server, &sandbox).await;
    let (status, _) = answer(server.api(Method::DELETE, &format!("/sandboxes/{}", sandbox.0))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    server.app.stop().await;
}

/// Every route and call that reads a body, with what is none.
async fn hostile_bodies(server: &Server, sandbox: &(String, String)) {
    let bodies = || [b"\"words\"".to_vec(), b"{\"timeout\":\"\xff\xfe\"}".to_vec(), b"{".to_vec(), vec![b'['; 2 << 20]];
    let of = |action: &str| format!("/sandboxes/{}/{action}", sandbox.0);
    let mut routes = vec![
        (Method::POST, "/sandboxes".to_owned()),
        (Method::POST, "/v2/sandboxes".to_owned()),
        (Method::POST, "/v3/templates".to_owned()),
        (Method::PUT, of("network")),
    ];
    for action in ["timeout", "refreshes", "pause", "resume", "connect", "snapshots", "fork"] {
        routes.push((Method::POST, of(action)));
    }
    for (method, path) in routes {
        for body in bodies() {
            let shown = String::from_utf8_lossy(&body).chars().take(12).collect::<String>();
            let request = server.api(method.clone(), &path).header("content-type", "application/json").body(body);
            let (status, said) = answer(request).await;
            assert!(status.is_client_error(), "{method} {path} {shown}: {status} {said}");
            assert_eq!(said["code"], status.as_u16(), "{method} {path} {shown}: {said}");
            assert!(said["message"].is_string(), "{method} {path} {shown}: {said}");
        }
    }
    let calls = ["Stat", "MakeDir", "Move", "ListDir", "Remove", "CreateWatcher", "GetWatcherEvents", "RemoveWatcher"];
    let files = calls.map(|call| format!("/filesystem.Filesystem/{call}"));
    let calls = ["List", "Update", "SendInput", "SendSignal", "CloseStdin"];
    let processes = calls.map(|call| format!("/process.Process/{call}"));
    for path in files.iter().chain(&processes) {
        for body in bodies() {
            let shown = String::from_utf8_lossy(&body).chars().take(12).collect::<String>();
            let request = server.inside(sandbox, Method::POST, path).header("content-type", "application/json");
            let (status, said) = answer(request.body(body)).await;
            assert!(status.is_client_error() && said["code"].is_string(), "{path} {shown}: {status} {said}");
        }
    }
    for path in ["/process.Process/Connect", "/process.Process/StreamInput", "/filesystem.Filesystem/WatchDir"] {
        for body in bodies() {
            let framed = [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), &body].concat();
            let request = server.inside(sandbox, Method::POST, path).header("content-type", "application/connect+json");
            let frame = request.body(framed).send().await.unwrap().bytes().await.unwrap();
            assert_eq!(frame[0], 2, "{path}");
            let said: Value = serde_json::from_slice(&frame[5..]).unwrap();
            assert!(said["error"]["code"].is_string(), "{path}: {said}");
        }
    }
}

async fn hostile_calls(server: &Server, sandbox: &(String, String)) {
    let call = |path: &str| server.inside(sandbox, Method::POST, path).header("content-type", "application/json");
    for (path, body, code) in [
        ("/filesystem.Filesystem/Stat", "{", "invalid_argument"),
        ("/filesystem.Filesystem/Stat", "{\"path\":7}", "invalid_argument"),
        ("/filesystem.Filesystem/Stat", "{\"path\":\"a\\u0000b\"}", "invalid_argument"),
        ("/filesystem.Filesystem/Stat", "{\"path\":\"/nope\"}", "not_found"),
        ("/filesystem.Filesystem/Stat", "{\"path\":\"/proc/1/environ\"}", "permission_denied"),
        ("/filesystem.Filesystem/Remove", "{\"path\":\"/\"}", "permission_denied"),
        ("/filesystem.Filesystem/GetWatcherEvents", "{\"watcherId\":\"wx\"}", "not_found"),
        ("/process.Process/SendSignal", "{\"process\":{\"pid\":999999},\"signal\":9}", "not_found"),
        ("/process.Process/SendSignal", "{\"process\":{\"pid\":-1},\"signal\":9}", "invalid_argument"),
        ("/process.Process/SendInput", "{\"process\":{}}", "invalid_argument"),
    ] {
        let (status, said) = answer(call(path).body(body)).await;
        assert!(status.is_client_error() && said["code"] == code, "{path} {body}: {status} {said}");
    }
    let huge = call("/filesystem.Filesystem/Stat").body(vec![b' '; 5 << 20]).send().await;
    assert!(huge.is_err() || huge.unwrap().status() == StatusCode::TOO_MANY_REQUESTS);
    for (body, code) in [
        (b"".to_vec(), "invalid_argument"),
        (vec![0, 0, 0], "invalid_argument"),
        (vec![0, 255, 255, 255, 255], "resource_exhausted"),
        (vec![1, 0, 0, 0, 0], "unimplemented"),
        (vec![0, 0, 0, 0, 2, 0xff, 0xfe], "invalid_argument"),
        ([&[0, 0, 0, 0, 2][..], b"{}"].concat(), "invalid_argument"),
    ] {
        let start = server.inside(sandbox, Method::POST, "/process.Process/Start");
        let start = start.header("content-type", "application/connect+json").body(body.clone());
        let frame = start.send().await.unwrap().bytes().await.unwrap();
        assert_eq!(frame[0], 2, "{body:?}");
        let said: Value = serde_json::from_slice(&frame[5..]).unwrap();
        assert_eq!(said["error"]["code"], code, "{body:?}: {said}");
    }
}

async fn hostile_files(server: &Server, sandbox: &(String, String)) {
    let get = |query: &str| server.inside(sandbox, Method::GET, &format!("/files?{query}"));
    for (query, status) in [
        ("path=/nope", 404),
        ("path=/etc", 400),
        ("path=/etc/hostname&username=zz", 401),
        ("path=/../../../etc/shadow", 404),
        ("path=/dev/zero", 400),
        ("path=%00", 400),
        ("path=/proc/self/environ", 404),
        ("", 400),
    ] {
        let (got, said) = answer(get(query)).await;
        assert_eq!(got.as_u16(), status, "{query}: {said}");
    }
    let id = format!("{}.", sandbox.0);
    for (header, value, status) in [
        ("e2b-sandbox-id", id.as_str(), 400),
        ("e2b-sandbox-id", "iaaaaaaaaaaaaaaaaaaa", 502),
        ("e2b-sandbox-port", "0", 400),
        ("e2b-sandbox-port", "99999", 400),
        ("x-access-token", "wrong", 401),
    ] {
        let mut request = get("path=/etc/hostname").build().unwrap();
        request.headers_mut().insert(header, value.parse().unwrap());
        let got = server.http.execute(request).await.unwrap().status();
        assert_eq!(got.as_u16(), status, "{header}: {value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_a_browser_on_any_site_gets_nothing() {
    let app = TestApp::start().await;
    for (method, path) in
        [(Method::POST, "/v2/sandboxes"), (Method::GET, "/sandboxes"), (Method::DELETE, "/sandboxes/x")]
    {
        let request = app.request(method.clone(), path).header("origin", "http://evil.example");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{method} {path}");
    }
    app.stop().await;
}
