//! The e2b API over real sandboxes: both SDKs unmodified, in their current versions and one about a year older each,
//! and callers that send nonsense.

use crate::support::{TestApp, answer};
use reqwest::{Method, StatusCode};
use sandcastle::boot::App;
use sandcastle::config::Config;
use sandcastle::store::KeyKind;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A server with real sandboxes, and a key for it.
struct Server {
    app: App,
    key: String,
    http: reqwest::Client,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::defaults(dir.path().join("data"));
        config.server.addr = ([127, 0, 0, 1], 0).into();
        config.server.site_root = dir.path().join("site");
        let app = App::start(config).await.unwrap();
        let (_, key) = app.services().store.keys().create(KeyKind::E2b, "test").await.unwrap();
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        Self { app, key, http: reqwest::Client::new(), _dir: dir }
    }

    fn url(&self) -> String {
        format!("http://{}", self.app.addr())
    }

    fn api(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url())).header("x-api-key", &self.key)
    }

    /// A sandbox: its id and token.
    async fn sandbox(&self) -> (String, String) {
        let create = self.api(Method::POST, "/v2/sandboxes").json(&json!({"templateID": "base"}));
        let (status, body) = answer(create).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("sandboxID"), text("envdAccessToken"))
    }

    fn inside(&self, (id, token): &(String, String), method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url()));
        request.header("e2b-sandbox-id", id).header("e2b-sandbox-port", "49983").header("x-access-token", token)
    }

    /// Runs a program of `tests/sdk` to its end; it must succeed.
    async fn drive(self, mut program: Command) {
        let run = program
            .env("E2B_API_URL", self.url())
            .env("E2B_SANDBOX_URL", self.url())
            .env("E2B_API_KEY", &self.key)
            .env_remove("E2B_DEBUG")
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(300), run).await.expect("the SDK hangs").unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        self.app.stop().await;
    }
}

/// Where a version of an SDK is installed, once; `install` fills the folder.
async fn installed(name: &str, install: impl AsyncFnOnce(&Path)) -> PathBuf {
    let folder = Path::new(ROOT).join("target/sdk").join(name);
    let done = folder.join(".installed");
    if !done.exists() {
        std::fs::create_dir_all(&folder).unwrap();
        install(&folder).await;
        std::fs::write(done, "").unwrap();
    }
    folder
}

async fn run(program: &mut Command) {
    let output = program.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn javascript(version: &str, age: &str) {
    let folder = installed(&format!("js-{version}"), async |folder: &Path| {
        std::fs::write(folder.join("package.json"), "{\"private\": true}").unwrap();
        let install = ["install", "--no-audit", "--no-fund", "--silent"];
        run(Command::new("npm").args(install).arg(format!("e2b@{version}")).current_dir(folder)).await;
    })
    .await;
    let mut node = Command::new("node");
    node.arg(Path::new(ROOT).join("tests/sdk/drive.mjs"));
    node.arg(folder.join("node_modules/e2b/dist/index.mjs")).arg(age);
    Server::start().await.drive(node).await;
}

async fn python(version: &str, age: &str) {
    let folder = installed(&format!("py-{version}"), async |folder: &Path| {
        run(Command::new("python3").args(["-m", "venv"]).arg(folder)).await;
        let install = ["install", "--quiet", "--disable-pip-version-check"];
        run(Command::new(folder.join("bin/pip")).args(install).arg(format!("e2b=={version}"))).await;
    })
    .await;
    let mut python = Command::new(folder.join("bin/python"));
    python.arg(Path::new(ROOT).join("tests/sdk/drive.py")).arg(age);
    Server::start().await.drive(python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_works_unmodified() {
    javascript("2.51.0", "current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_javascript_sdk_of_a_year_ago_works_unmodified() {
    javascript("2.7.0", "old").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_works_unmodified() {
    python("2.63.0", "current").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_of_a_year_ago_works_unmodified() {
    python("2.7.0", "old").await;
}

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
    for path in ["/volumes", "/secrets", "/v3/templates", "/teams"] {
        let (status, said) = answer(server.api(Method::POST, path).json(&json!({}))).await;
        assert_eq!((status, &said["code"]), (StatusCode::NOT_IMPLEMENTED, &json!(501)), "{path}");
    }
    for query in ["limit=0", "limit=x", "nextToken=%ff", "state=dead", "order=up", "startedAfter=now"] {
        let (status, said) = answer(server.api(Method::GET, &format!("/v2/sandboxes?{query}"))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}: {said}");
    }
    let sandbox = server.sandbox().await;
    hostile_calls(&server, &sandbox).await;
    hostile_files(&server, &sandbox).await;
    let (status, _) = answer(server.api(Method::DELETE, &format!("/sandboxes/{}", sandbox.0))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    server.app.stop().await;
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
