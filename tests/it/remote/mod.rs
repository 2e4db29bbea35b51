//! The remote provider: one Sandcastle whose sandboxes are another one's, over e2b's protocol and a wire that breaks.

mod commands;
mod failures;
mod files;
mod network;
mod recorded;
mod turn;
mod wire;

use sandcastle::boot::App;
use sandcastle::config::{Config, E2bConfig, ModelConfig, Secret};
use sandcastle::domain::{CommandExit, CommandId, ProjectId, ProjectState};
use sandcastle::llm::Endpoint;
use sandcastle::sandbox::{CommandSpec, FileWrite, LogFrom, Service};
use sandcastle::store::KeyKind;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use wire::Wire;

const PATIENCE: Duration = Duration::from_secs(60);

/// An e2b service: a Sandcastle with real sandboxes on this machine, reached over a wire.
struct Far {
    app: App,
    wire: Wire,
    key: String,
    http: reqwest::Client,
    dir: TempDir,
}

impl Far {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let app = Self::serve(dir.path(), ([127, 0, 0, 1], 0).into()).await;
        let (_, key) = app.services().store.keys().create(KeyKind::E2b, "near").await.unwrap();
        let wire = Wire::to(app.addr()).await;
        Self { app, wire, key, http: reqwest::Client::new(), dir }
    }

    async fn serve(dir: &Path, addr: SocketAddr) -> App {
        let mut config = Config::defaults(dir.join("data"));
        config.server.addr = addr;
        config.server.site_root = dir.join("site");
        App::start(config).await.unwrap()
    }

    /// Stops the service and starts it again where it was.
    async fn restart(self) -> Self {
        let Self { app, wire, key, http, dir } = self;
        let addr = app.addr();
        app.stop().await;
        let app = Self::serve(dir.path(), addr).await;
        Self { app, wire, key, http, dir }
    }

    /// How a client of it is set.
    fn config(&self) -> E2bConfig {
        let url = format!("http://{}", self.wire.addr());
        E2bConfig {
            api_key: Secret::new(self.key.clone()),
            api_url: url.clone(),
            domain: "localhost".to_owned(),
            sandbox_url: Some(url),
            template: "base".to_owned(),
            timeout: Duration::from_secs(300),
        }
    }

    async fn api(&self, method: reqwest::Method, path: &str) -> Value {
        let request = self.http.request(method, format!("http://{}{path}", self.app.addr()));
        let answer = request.header("x-api-key", &self.key).send().await.unwrap();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// All sandboxes there are: id and state.
    async fn sandboxes(&self) -> Vec<(String, String)> {
        let list = self.api(reqwest::Method::GET, "/v2/sandboxes").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        list.as_array().unwrap().iter().map(|one| (text(&one["sandboxID"]), text(&one["state"]))).collect()
    }

    /// Deletes a sandbox behind its user's back.
    async fn kill(&self, id: &str) {
        self.api(reqwest::Method::DELETE, &format!("/sandboxes/{id}")).await;
    }
}

/// A Sandcastle whose projects' sandboxes are far away.
struct Near {
    app: App,
    dir: Arc<TempDir>,
}

impl Near {
    async fn to(far: &Far) -> Self {
        Self::with(far.config(), None, Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn with(e2b: E2bConfig, model: Option<&Endpoint>, dir: Arc<TempDir>) -> Self {
        let mut config = Config::defaults(dir.path().join("data"));
        config.server.addr = ([127, 0, 0, 1], 0).into();
        config.server.site_root = dir.path().join("site");
        config.e2b = Some(e2b);
        if let Some(model) = model {
            config.model = ModelConfig {
                base_url: model.base_url.clone(),
                api_key: model.api_key.clone(),
                default_model: Some("test-model".to_owned()),
                configured: true,
            };
        }
        Self { app: App::start(config).await.unwrap(), dir }
    }

    fn service(&self) -> &Service {
        &self.app.services().sandbox
    }

    async fn project(&self) -> ProjectId {
        self.app.services().store.events().create_project("far away").await.unwrap()
    }

    /// Waits until the project looks as wanted.
    async fn until(&self, project: &ProjectId, wanted: impl Fn(&ProjectState) -> bool) -> Arc<ProjectState> {
        let events = self.app.services().store.events();
        let mut watch = events.watch(project).await.unwrap();
        let found = async {
            loop {
                let state = events.state(project).await.unwrap();
                if wanted(&state) {
                    return state;
                }
                watch.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(state) => state,
            Err(_) => panic!("never came: {:#?}", events.state(project).await.unwrap()),
        }
    }

    async fn start(&self, project: &ProjectId, line: &str, background: bool) -> CommandId {
        let spec = CommandSpec { line: line.to_owned(), background, ..CommandSpec::default() };
        self.service().start_command(project, spec).await.unwrap()
    }

    async fn run(&self, project: &ProjectId, line: &str) -> (CommandExit, String) {
        let command = self.start(project, line, false).await;
        let exit = self.service().wait_command(project, &command, &CancellationToken::new()).await.unwrap();
        (exit, self.output(project, &command).await)
    }

    async fn output(&self, project: &ProjectId, command: &CommandId) -> String {
        self.service().read_log(project, command, LogFrom::Offset(0), 1 << 20).await.unwrap().text
    }

    async fn write(&self, project: &ProjectId, files: &[(&str, &str)]) {
        let file =
            |(path, content): &(&str, &str)| FileWrite { path: (*path).to_owned(), content: (*content).to_owned() };
        self.service().write_files(project, None, files.iter().map(file).collect()).await.unwrap();
    }

    async fn text(&self, project: &ProjectId, path: &str) -> Option<String> {
        self.service().read_file(project, path).await.ok()?.text
    }
}
