//! A whole server on a port and data folder of its own, and a client for it.

use crate::host_provider::HostProvider;
use reqwest::{Method, RequestBuilder, StatusCode};
use sandcastle::boot::App;
use sandcastle::config::Config;
use sandcastle::services::Services;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Longer than anything here takes, so that a test that hangs fails instead.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub struct TestApp {
    app: App,
    dir: Arc<TempDir>,
    http: reqwest::Client,
    provider: Arc<HostProvider>,
}

impl TestApp {
    /// Starts one with default settings.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts one with settings changed.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(Arc::new(tempfile::tempdir().unwrap()), change).await
    }

    /// Starts one over real sandboxes.
    pub async fn start_for_real() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let app = App::start(config(&dir)).await.unwrap();
        Self::around(app, dir, Arc::default())
    }

    async fn start_in(dir: Arc<TempDir>, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = config(&dir);
        change(&mut config);
        let provider = Arc::new(HostProvider::default());
        let app = App::start_over(config, provider.clone()).await.unwrap();
        Self::around(app, dir, provider)
    }

    fn around(app: App, dir: Arc<TempDir>, provider: Arc<HostProvider>) -> Self {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_gzip().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        Self { app, dir, http, provider }
    }

    /// Stops the server and starts another over the same data.
    pub async fn restart(self) -> Self {
        let Self { app, dir, .. } = self;
        app.stop().await;
        Self::start_in(dir, |_| {}).await
    }

    /// Stops the server.
    pub async fn stop(self) {
        self.app.stop().await;
    }

    /// The parts behind the routes.
    pub fn services(&self) -> &Services {
        self.app.services()
    }

    /// What makes its sandboxes, unless they are real.
    pub fn provider(&self) -> &HostProvider {
        &self.provider
    }

    /// Where the server listens.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The folder that holds `data` and `site`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A request to be completed by the test.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.app.addr()))
    }

    /// A GET.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    /// A POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        self.request(Method::POST, path).json(body)
    }

    /// Creates a project without a prompt and returns its id.
    pub async fn project(&self) -> String {
        let (status, body) = answer(self.post("/api/projects", &json!({"name": "test"}))).await;
        assert_eq!(status, StatusCode::CREATED, "{body}");
        body["id"].as_str().unwrap().to_owned()
    }

    /// Opens a project's event stream.
    pub async fn events(&self, project: &str, query: &str) -> Events {
        Events::new(self.get(&format!("/api/projects/{project}/events{query}")).send().await.unwrap())
    }
}

/// Default settings, over this folder and on a free port.
pub fn config(dir: &TempDir) -> Config {
    let mut config = Config::defaults(dir.path().join("data"));
    config.server.addr = ([127, 0, 0, 1], 0).into();
    config.server.site_root = dir.path().join("site");
    config.try_models = false;
    config
}

/// Sends and reads status and JSON body (null for an empty one).
pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    let text = response.text().await.unwrap();
    let body = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: not JSON: {text}"))
    };
    (status, body)
}

/// One event of a stream.
#[derive(Debug, Default, PartialEq)]
pub struct StreamEvent {
    pub name: String,
    pub id: Option<u64>,
    pub data: String,
}

impl StreamEvent {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

/// A reader of an event stream.
pub struct Events {
    response: reqwest::Response,
    unread: Vec<u8>,
}

impl Events {
    fn new(response: reqwest::Response) -> Self {
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: Vec::new() }
    }

    /// The next event; none at the end of the stream. Comments and `retry` are skipped.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        tokio::time::timeout(PATIENCE, self.read()).await.expect("the stream stays silent")
    }

    /// The next event that fits.
    pub async fn until(&mut self, fits: impl Fn(&StreamEvent) -> bool) -> StreamEvent {
        loop {
            let event = self.next().await.expect("the stream ended");
            if fits(&event) {
                return event;
            }
        }
    }

    async fn read(&mut self) -> Option<StreamEvent> {
        loop {
            // A character may be split between two reads, a blank line never ends inside one.
            while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.unread.drain(..end + 2).collect();
                let event = parse(std::str::from_utf8(&block).unwrap());
                if !event.data.is_empty() {
                    return Some(event);
                }
            }
            let chunk = self.response.chunk().await.ok()??;
            self.unread.extend_from_slice(&chunk);
        }
    }
}

fn parse(block: &str) -> StreamEvent {
    let mut event = StreamEvent { name: "message".to_owned(), ..StreamEvent::default() };
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("event", name)) => event.name = name.to_owned(),
            Some(("id", id)) => event.id = id.parse().ok(),
            Some(("data", data)) => event.data.push_str(data),
            _ => {}
        }
    }
    event
}
