//! The plain routes of a sandbox: what is composed, what a browser may, and where the disk ends.

use super::Server;
use crate::support::answer;
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn files_are_composed_in_their_order_and_the_sources_stay() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    for (path, content) in [("a", "one "), ("/tmp/b", "two "), ("c", "three")] {
        server.upload(&sandbox, path, content.into(), 200).await;
    }
    let compose = async |body: serde_json::Value| {
        answer(server.inside(&sandbox, Method::POST, "/files/compose").json(&body)).await
    };
    let (status, said) = compose(json!({"source_paths": ["a", "/tmp/b", "c"], "destination": "all/text"})).await;
    assert_eq!((status, &said["path"]), (StatusCode::OK, &json!("/home/user/all/text")), "{said}");
    assert_eq!(server.read(&sandbox, "all/text").await.1, "one two three");
    assert_eq!(server.read(&sandbox, "a").await.1, "one ");
    for (body, status) in [
        (json!({"source_paths": [], "destination": "x"}), 400),
        (json!({"source_paths": ["nope"], "destination": "x"}), 404),
        (json!({"source_paths": ["a"], "destination": "a"}), 400),
        (json!({"source_paths": ["a"], "destination": "/etc/x"}), 403),
        (json!({"source_paths": ["a"], "destination": "x", "username": "zz"}), 401),
        (json!({"source_paths": "a"}), 400),
    ] {
        let (got, said) = compose(body.clone()).await;
        assert_eq!(got.as_u16(), status, "{body}: {said}");
    }
    assert_eq!(server.read(&sandbox, "x").await.0, StatusCode::NOT_FOUND);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_of_a_sandbox_is_what_its_owner_set() {
    let server = Server::start().await;
    let sandbox = server.sandbox_of(&json!({"templateID": "base", "envVars": {"MODE": "fast"}})).await;
    let (status, envs) = answer(server.inside(&sandbox, Method::GET, "/envs")).await;
    assert_eq!(status, StatusCode::OK);
    let expected =
        json!({"MODE": "fast", "E2B_SANDBOX": "true", "E2B_SANDBOX_ID": sandbox.0, "E2B_TEMPLATE_ID": "base"});
    assert_eq!(envs, expected);
    let said = server.shell(&sandbox, "echo $MODE $E2B_SANDBOX $E2B_SANDBOX_ID $E2B_TEMPLATE_ID").await.0;
    assert_eq!(said, format!("fast true {} base\n", sandbox.0));
    let stranger = (sandbox.0.clone(), "wrong".to_owned());
    for path in ["/envs", "/metrics"] {
        let status = server.inside(&stranger, Method::GET, path).send().await.unwrap().status();
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}");
    }
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_any_site_may_ask_a_sandbox_and_nothing_else() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let preflight = async |path: &str, headers: &str| {
        let request = server.request(Method::OPTIONS, path).header("origin", "https://app.example");
        let request = request.header("access-control-request-method", "POST");
        request.header("access-control-request-headers", headers).send().await.unwrap()
    };
    let asked = "e2b-sandbox-id,e2b-sandbox-port,x-access-token,content-type";
    for path in ["/process.Process/Start", "/files", "/filesystem.Filesystem/Stat"] {
        let response = preflight(path, asked).await;
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(response.status(), StatusCode::NO_CONTENT, "{path}");
        assert_eq!(header("access-control-allow-origin").as_deref(), Some("*"));
        assert_eq!(header("access-control-allow-headers").as_deref(), Some(asked));
        assert_eq!(header("access-control-allow-methods").as_deref(), Some("POST"));
        assert_eq!(header("access-control-max-age").as_deref(), Some("7200"));
    }
    let allowed = |response: &reqwest::Response| response.headers().contains_key("access-control-allow-origin");
    let from_page = server.inside(&sandbox, Method::GET, "/envs").header("origin", "https://app.example");
    assert!(allowed(&from_page.send().await.unwrap()));
    // Neither the control plane nor the interface is open to pages.
    assert!(!allowed(&preflight("/v2/sandboxes", "x-api-key").await));
    assert!(!allowed(&preflight("/api/projects", "content-type").await));
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_has_so_many_watches_and_one_that_ends_makes_room() {
    let server = Server::start().await;
    let sandbox = server.sandbox().await;
    let call = |method: &str, body: serde_json::Value| {
        server.inside(&sandbox, Method::POST, &format!("/filesystem.Filesystem/{method}")).json(&body)
    };
    let mut watchers = Vec::new();
    for _ in 0..32 {
        let (status, made) = answer(call("CreateWatcher", json!({"path": "/home/user"}))).await;
        assert_eq!(status, StatusCode::OK, "{made}");
        watchers.push(made["watcherId"].clone());
    }
    let stream = async || {
        let request = server.inside(&sandbox, Method::POST, "/filesystem.Filesystem/WatchDir");
        let request = request.header("content-type", "application/connect+json").header("connect-timeout-ms", "200");
        let body = super::frame(&json!({"path": "/home/user"}));
        super::frames(&request.body(body).send().await.unwrap().bytes().await.unwrap())
    };
    let refused = &stream().await[0].1["error"];
    assert_eq!(refused["code"], "resource_exhausted", "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("at most 32 watches"), "{refused}");
    assert_eq!(answer(call("CreateWatcher", json!({"path": "/home/user"}))).await.1["code"], "resource_exhausted");
    assert_eq!(answer(call("RemoveWatcher", json!({"watcherId": watchers[0]}))).await.0, StatusCode::OK);
    for _ in 0..2 {
        assert_eq!(stream().await[0].1, json!({"start": {}}), "a stream that ended gives its place back");
    }
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_to_an_idle_sandbox_end_at_its_disk_limit() {
    let server = Server::start_with(|config| config.sandbox.disk_mib = 8).await;
    let sandbox = server.sandbox().await;
    let piece = || vec![7; 3 << 20];
    server.upload(&sandbox, "one", piece(), 200).await;
    server.upload(&sandbox, "two", piece(), 200).await;
    let said = server.upload(&sandbox, "three", piece(), 507).await;
    assert_eq!(said["message"], "not enough disk space for '/home/user/three'");
    let compose = json!({"source_paths": ["one", "two"], "destination": "four"});
    let composed = answer(server.inside(&sandbox, Method::POST, "/files/compose").json(&compose)).await;
    assert_eq!(composed.0, StatusCode::INSUFFICIENT_STORAGE);
    // What a file may unpack to counts, not what was sent.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 50 << 20), &mut packed).unwrap();
    let bomb = server.inside(&sandbox, Method::POST, "/files?path=bomb").header("content-encoding", "gzip");
    let bomb = bomb.header("content-type", "application/octet-stream").body(packed.finish().unwrap());
    assert_eq!(answer(bomb).await.0, StatusCode::INSUFFICIENT_STORAGE);
    // Room that was made is there at once, and the same file may be written again and again.
    for path in ["one", "three", "four", "bomb"] {
        let remove = json!({"path": path});
        let removed = server.inside(&sandbox, Method::POST, "/filesystem.Filesystem/Remove").json(&remove);
        assert_eq!(answer(removed).await.0, StatusCode::OK, "{path}");
    }
    for _ in 0..8 {
        server.upload(&sandbox, "two", piece(), 200).await;
    }
    server.app.stop().await;
}
