//! The e2b API over real sandboxes.

mod control;
mod files;
mod hostile;
mod interrupted;
mod keys;
mod lives;
mod network;
mod output;
mod restart;
mod sdk;
mod templates;
mod transcript;

use crate::support::{answer, config};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::{Method, StatusCode};
use sandcastle::boot::App;
use sandcastle::config::Config;
use sandcastle::store::KeyKind;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A sandbox: its id and token.
type Made = (String, String);

/// A server with real sandboxes, and a key for it.
struct Server {
    app: App,
    key: String,
    http: reqwest::Client,
    dir: Arc<tempfile::TempDir>,
}

impl Server {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let mut config = config(&dir);
        change(&mut config);
        Self::over(App::start(config).await.unwrap(), dir).await
    }

    async fn over(app: App, dir: Arc<tempfile::TempDir>) -> Self {
        let (_, key) = app.services().store.keys().create(KeyKind::E2b, "test").await.unwrap();
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { app, key, http, dir }
    }

    /// Stops the server and starts another over the same data.
    async fn restart(self) -> Self {
        let Self { app, key, http, dir } = self;
        app.stop().await;
        Self { app: App::start(config(&dir)).await.unwrap(), key, http, dir }
    }

    fn url(&self) -> String {
        format!("http://{}", self.app.addr())
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.url()))
    }

    fn api(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.request(method, path).header("x-api-key", &self.key)
    }

    /// Asks the control plane and expects a status.
    async fn ask(&self, method: Method, path: &str, body: &Value, status: u16) -> Value {
        let (got, said) = answer(self.api(method.clone(), path).json(body)).await;
        assert_eq!(got.as_u16(), status, "{method} {path} {body}: {said}");
        said
    }

    async fn sandbox(&self) -> Made {
        self.sandbox_of(&json!({"templateID": "base"})).await
    }

    async fn sandbox_of(&self, asked: &Value) -> Made {
        let body = self.ask(Method::POST, "/v2/sandboxes", asked, 201).await;
        let text = |name: &str| body[name].as_str().unwrap().to_owned();
        (text("sandboxID"), text("envdAccessToken"))
    }

    fn inside(&self, (id, token): &Made, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.request(method, path);
        request.header("e2b-sandbox-id", id).header("e2b-sandbox-port", "49983").header("x-access-token", token)
    }

    /// A streamed call with one message; every frame of the answer.
    async fn stream(&self, sandbox: &Made, path: &str, message: &Value) -> Vec<(u8, Value)> {
        let request = self.inside(sandbox, Method::POST, path).header("content-type", "application/connect+json");
        frames(&request.body(frame(message)).send().await.unwrap().bytes().await.unwrap())
    }

    /// What a line of the shell printed, its errors included, and its exit code.
    async fn shell(&self, sandbox: &Made, line: &str) -> (String, i64) {
        let process = json!({"cmd": "/bin/bash", "args": ["-l", "-c", line]});
        let (mut output, mut code) = (Vec::new(), None);
        for (_, message) in self.stream(sandbox, "/process.Process/Start", &json!({"process": process})).await {
            for kind in ["stdout", "stderr"] {
                if let Some(text) = message["event"]["data"][kind].as_str() {
                    output.extend(STANDARD.decode(text).unwrap());
                }
            }
            if let Some(end) = message["event"].get("end") {
                code = Some(end["exitCode"].as_i64().unwrap_or(0));
            }
        }
        (String::from_utf8(output).unwrap(), code.expect("the command ended"))
    }

    /// Puts a file there and expects a status.
    async fn upload(&self, sandbox: &Made, path: &str, content: Vec<u8>, status: u16) -> Value {
        let request = self.inside(sandbox, Method::POST, &format!("/files?path={path}"));
        let (got, said) = answer(request.header("content-type", "application/octet-stream").body(content)).await;
        assert_eq!(got.as_u16(), status, "{path}: {said}");
        said
    }

    async fn read(&self, sandbox: &Made, path: &str) -> (StatusCode, String) {
        let response = self.inside(sandbox, Method::GET, &format!("/files?path={path}")).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }
}

/// One message as a stream has it.
fn frame(message: &Value) -> Vec<u8> {
    let body = message.to_string();
    [&[0][..], &u32::try_from(body.len()).unwrap().to_be_bytes(), body.as_bytes()].concat()
}

/// The frames of a whole stream: flag and message.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Value)> {
    let mut found = Vec::new();
    while let [flag, a, b, c, d, rest @ ..] = bytes {
        let (body, next) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        found.push((*flag, serde_json::from_slice(body).unwrap()));
        bytes = next;
    }
    found
}

/// Waits for a condition.
async fn eventually<F: Future<Output = bool>>(what: &str, check: impl Fn() -> F) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !check().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}");
}
