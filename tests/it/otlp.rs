//! Export of traces: what a collector gets, and that one that is away holds up nothing.

use crate::fake_model::{FakeModel, calls, says};
use crate::support::{PATIENCE, TestApp};
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use sandcastle::config::{ModelConfig, OtlpConfig, Secret};
use sandcastle::domain::RunId;
use sandcastle::workflow::{RunRequest, Task, TaskContext, TaskError};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// A collector on a port of its own; it keeps the spans of requests with the right key.
async fn collector() -> (String, mpsc::UnboundedReceiver<Vec<Value>>) {
    let (sender, spans) = mpsc::unbounded_channel();
    let take = |State(sender): State<mpsc::UnboundedSender<Vec<Value>>>,
                headers: HeaderMap,
                Json(body): Json<Value>| async move {
        assert_eq!(headers["x-key"], "secret");
        assert_eq!(body["resourceSpans"][0]["resource"]["attributes"][0]["value"]["stringValue"], "test");
        let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        sender.send(spans).ok();
    };
    let router = Router::new().route("/v1/traces", post(take)).with_state(sender);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, spans)
}

fn config(endpoint: String) -> OtlpConfig {
    let headers = vec![("x-key".to_owned(), Secret::new("secret"))];
    OtlpConfig { endpoint, headers, service: "test".to_owned() }
}

/// A run with a step that starts a child of the same task.
struct Nested;

#[async_trait::async_trait]
impl Task for Nested {
    const NAME: &'static str = "nested";
    type Input = Value;
    type Output = Value;

    async fn run(&self, ctx: TaskContext, depth: Value) -> Result<Value, TaskError> {
        if depth == json!(0) {
            return Ok(json!({"commandId": "cmd_1", "exitCode": 3}));
        }
        let submit = Box::pin(ctx.step("submit", async {
            let request = RunRequest { parent: Some(ctx.run.clone()), ..request(0) };
            Ok(ctx.workflow().submit(request).await.unwrap())
        }));
        let child = submit.await?;
        ctx.wait(&child).await.map_err(TaskError::Fatal)
    }
}

fn request(depth: u32) -> RunRequest {
    RunRequest { task: "nested".to_owned(), payload: json!(depth), ..RunRequest::default() }
}

/// An attribute's value, in OTLP's form.
fn attribute(span: &Value, key: &str) -> Value {
    let found = span["attributes"].as_array().into_iter().flatten().find(|a| a["key"] == key);
    found.map(|a| a["value"].clone()).unwrap_or_default()
}

async fn run(app: &TestApp) -> RunId {
    let workflow = &app.services().workflow;
    workflow.register(Nested);
    let id = workflow.submit(request(1)).await.unwrap();
    workflow.wait(&id).await.unwrap();
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_runs_is_one_trace_down_to_the_command() {
    let (url, mut batches) = collector().await;
    let app = TestApp::start_with(|settings| settings.otlp = Some(config(url))).await;
    let id = run(&app).await;
    let mut spans: Vec<Value> = Vec::new();
    let all = async {
        while spans.iter().filter(|span| span["name"] == "nested").count() < 2 {
            spans.extend(batches.recv().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    assert!(spans.iter().all(|span| span["traceId"] == spans[0]["traceId"]), "{spans:#?}");
    let parent = spans.iter().find(|span| attribute(span, "sandcastle.run")["stringValue"] == id.as_str()).unwrap();
    let child = spans.iter().find(|span| span["name"] == "nested" && span["spanId"] != parent["spanId"]).unwrap();
    assert_eq!(child["parentSpanId"], parent["spanId"]);
    assert_eq!(parent.get("parentSpanId"), None);
    assert_eq!(attribute(child, "sandcastle.exit_code")["intValue"], "3");
    assert_eq!(attribute(child, "sandcastle.command")["stringValue"], "cmd_1");
    let attempt = spans.iter().find(|s| s["name"] == "attempt 1" && s["parentSpanId"] == parent["spanId"]).unwrap();
    let step = spans.iter().find(|span| span["name"] == "submit").unwrap();
    assert_eq!((&step["parentSpanId"], &step["status"]["code"]), (&attempt["spanId"], &json!(1)));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_of_the_agent_is_one_trace_down_to_the_command_it_ran() {
    let (url, mut batches) = collector().await;
    let fake = FakeModel::start(vec![calls(&[("run_command", r#"{"command":"exit 3"}"#)]), says("done")]).await;
    let endpoint = fake.endpoint.clone();
    let app = TestApp::start_with(move |settings| {
        settings.otlp = Some(config(url));
        settings.model = ModelConfig {
            base_url: endpoint.base_url,
            api_key: endpoint.api_key,
            default_model: Some("test-model".to_owned()),
            configured: true,
        };
    })
    .await;
    let (project, _) = app.services().create_project(None, Some("trace me"), &[], None).await.unwrap();
    let mut spans: Vec<Value> = Vec::new();
    // The turn ends last.
    let all = async {
        while !spans.iter().any(|span| span["name"] == "agentTurn") {
            spans.extend(batches.recv().await.unwrap());
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
    let state = app.services().store.events().state(&project).await.unwrap();
    let command = state.commands[0].id.as_str();
    let ran = spans.iter().find(|span| attribute(span, "sandcastle.command")["stringValue"] == command).unwrap();
    assert_eq!(
        (&ran["name"], attribute(ran, "sandcastle.exit_code")),
        (&json!("runCommand"), json!({"intValue": "3"}))
    );
    let turn = spans.iter().find(|span| span["spanId"] == ran["parentSpanId"]).unwrap();
    assert_eq!((&turn["name"], turn.get("parentSpanId")), (&json!("agentTurn"), None));
    assert_eq!(attribute(turn, "sandcastle.title")["stringValue"], "trace me");
    assert_eq!(attribute(turn, "sandcastle.run")["stringValue"], state.messages[1].turn.as_ref().unwrap().as_str());
    assert!(spans.iter().all(|span| span["traceId"] == turn["traceId"]), "{spans:#?}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_holds_up_nothing() {
    let nobody = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}/v1/traces", nobody.local_addr().unwrap());
    drop(nobody);
    let app = TestApp::start_with(|settings| settings.otlp = Some(config(url))).await;
    run(&app).await;
    app.stop().await;
}
