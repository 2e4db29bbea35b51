//! The agent without an HTTP front: real store, workflow and model client, a scripted model and fake sandbox tasks.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel};
use async_trait::async_trait;
use sandcastle::agent::{Agent, AgentDeps, turn_task};
use sandcastle::config::{AgentConfig, ModelConfig};
use sandcastle::domain::{ProjectId, ProjectState, TurnOutcome};
use sandcastle::llm::{Catalog, StreamLimits};
use sandcastle::store::Store;
use sandcastle::tools::RunCommandLimits;
use sandcastle::workflow::{Task, TaskContext, TaskError, Workflow, WorkflowOptions};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// What the fake tasks were asked, and how a command ends.
#[derive(Clone, Default)]
pub struct Sandbox {
    pub asked: Arc<Mutex<Vec<(&'static str, Value)>>>,
    pub exit: Arc<Mutex<i32>>,
    /// A command that says `hang` tells this and then hangs.
    pub hanging: Arc<Notify>,
}

impl Sandbox {
    pub fn asked(&self) -> Vec<&'static str> {
        self.asked.lock().unwrap().iter().map(|(name, _)| *name).collect()
    }
}

macro_rules! fake_task {
    ($name:ident, $wire:literal, $answer:expr) => {
        struct $name(Sandbox);

        #[async_trait]
        impl Task for $name {
            const NAME: &'static str = $wire;
            type Input = Value;
            type Output = Value;

            async fn run(&self, _: TaskContext, input: Value) -> Result<Value, TaskError> {
                self.0.asked.lock().unwrap().push(($wire, input.clone()));
                if input["command"] == "hang" {
                    self.0.hanging.notify_one();
                    std::future::pending::<()>().await;
                }
                let answer: fn(&Sandbox) -> Value = $answer;
                Ok(answer(&self.0))
            }
        }
    };
}

fake_task!(CreateSandbox, "createSandbox", |_| json!({}));
fake_task!(WriteFiles, "writeFiles", |_| json!({}));
fake_task!(RunCommand, "runCommand", |s| {
    json!({"commandId": "cmd_1", "exitCode": *s.exit.lock().unwrap(), "output": "out", "durationMs": 5, "interrupted": false})
});

/// A server without its HTTP front.
pub struct Bench {
    pub store: Store,
    pub workflow: Workflow,
    pub agent: Agent,
    pub sandbox: Sandbox,
    pub fake: FakeModel,
}

impl Bench {
    pub async fn start(dir: &Path, fake: FakeModel, sandbox: Sandbox, max_steps: u32) -> Self {
        let limits = StreamLimits { attempts: 1, backoff: Duration::from_millis(1), ..StreamLimits::default() };
        Self::start_with(dir, fake, sandbox, max_steps, limits).await
    }

    /// The same with other patience towards the model.
    pub async fn start_with(
        dir: &Path,
        fake: FakeModel,
        sandbox: Sandbox,
        max_steps: u32,
        limits: StreamLimits,
    ) -> Self {
        let store = Store::open(dir).await.unwrap();
        let config = ModelConfig {
            base_url: fake.endpoint.base_url.clone(),
            api_key: fake.endpoint.api_key.clone(),
            default_model: Some("test-model".to_owned()),
            configured: true,
        };
        let catalog = Catalog::new(config, fake.endpoint.clone(), limits, false);
        let command = RunCommandLimits { default: Duration::from_secs(300) };
        let deps =
            AgentDeps::new(store.clone(), catalog, AgentConfig { max_steps }, command, std::sync::Arc::new(Vec::new));
        let workflow = Workflow::new(&store, WorkflowOptions::default());
        workflow.register(turn_task(deps.clone()));
        workflow.register(CreateSandbox(sandbox.clone()));
        workflow.register(WriteFiles(sandbox.clone()));
        workflow.register(RunCommand(sandbox.clone()));
        workflow.boot().await.unwrap();
        let agent = Agent::new(deps, workflow.clone());
        agent.recover().await.unwrap();
        Self { store, workflow, agent, sandbox, fake }
    }

    pub async fn state(&self, project: &ProjectId) -> Arc<ProjectState> {
        self.store.events().state(project).await.unwrap()
    }

    /// Waits until the fold looks as the test wants it.
    pub async fn until(&self, project: &ProjectId, wanted: impl Fn(&ProjectState) -> bool) -> Arc<ProjectState> {
        let mut watch = self.store.events().watch(project).await.unwrap();
        let found = async {
            loop {
                let state = self.state(project).await;
                if wanted(&state) {
                    return state;
                }
                watch.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), found).await {
            Ok(state) => state,
            Err(_) => panic!("never came: {:#?}", self.state(project).await),
        }
    }

    /// Waits until so many turns have ended and none runs.
    pub async fn turns(&self, project: &ProjectId, count: usize) -> Arc<ProjectState> {
        self.until(project, |s| s.turn.is_none() && s.messages.iter().filter(|m| m.outcome.is_some()).count() == count)
            .await
    }
}

/// A project on a fresh bench. The folder must outlive it.
pub async fn bench(scripts: Vec<Vec<Act>>) -> (tempfile::TempDir, Bench, ProjectId) {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), FakeModel::start(scripts).await, Sandbox::default(), 10).await;
    let project = bench.store.events().create_project("test").await.unwrap();
    (dir, bench, project)
}

/// How the last turn ended.
pub fn outcome(state: &ProjectState) -> TurnOutcome {
    state.messages.iter().rev().find_map(|m| m.outcome.clone()).unwrap()
}
