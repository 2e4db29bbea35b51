//! Which server a model's id means, what is known of the model, and how much it thinks: with a provider and endpoints that
//! list what they like.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, says};
use crate::history::until;
use crate::settings::{able, send};
use crate::support::{TestApp, answer};
use reqwest::StatusCode;
use sandcastle::config::ModelConfig;
use sandcastle::domain::ProjectId;
use sandcastle::llm::{Catalog, NamedEndpoint, StreamLimits};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Notify;

/// A server whose provider lists these models.
async fn app_over(provider: &FakeModel, default_model: Option<&str>) -> TestApp {
    let config = config(provider, default_model);
    TestApp::start_with(move |settings| settings.model = config).await
}

fn config(provider: &FakeModel, default_model: Option<&str>) -> ModelConfig {
    ModelConfig {
        base_url: provider.endpoint.base_url.clone(),
        api_key: provider.endpoint.api_key.clone(),
        default_model: default_model.map(str::to_owned),
        configured: true,
    }
}

async fn model(list: Value, words: &'static str) -> FakeModel {
    FakeModel::respond_as(list, move |_| Some(says(words))).await
}

fn endpoint<'a>(name: &'a str, url: &'a str) -> [(&'static str, &'a str); 3] {
    [("set", "endpoint"), ("name", name), ("url", url)]
}

/// What the model with this id says.
async fn ask(app: &TestApp, model: &str) -> String {
    let (status, made) = answer(app.post("/api/projects", &json!({"prompt": "hi", "model": model}))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let project = ProjectId::parse(made["id"].as_str().unwrap()).unwrap();
    let state = until(app, &project, |s| s.messages.iter().any(|m| m.outcome.is_some())).await;
    state.messages[1].text()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_would_take_models_from_someone_else_is_refused_with_the_reason() {
    let provider = model(json!([{"id": "openai/gpt-5"}]), "from the provider").await;
    let other = model(json!([{"id": "gpt-5"}]), "from the endpoint").await;
    let app = app_over(&provider, None).await;
    let url = other.endpoint.base_url.as_str();
    for (name, owner) in [("OpenAI", "the configured provider"), ("Ollama", "Ollama on this machine")] {
        let refused = send(&app, "/settings/models", &endpoint(name, url)).await;
        assert_eq!(refused.status(), StatusCode::CONFLICT);
        let words = refused.text().await.unwrap();
        assert!(words.contains(owner) && words.contains("Choose another name"), "{words}");
    }
    for (name, status) in [
        ("My Gateway", StatusCode::SEE_OTHER),
        ("my-gateway", StatusCode::CONFLICT),
        // The same again changes it.
        ("My Gateway", StatusCode::SEE_OTHER),
    ] {
        assert_eq!(send(&app, "/settings/models", &endpoint(name, url)).await.status(), status, "{name}");
    }
    assert_eq!(app.services().store.secrets().endpoints().await.unwrap().len(), 1);
    assert_eq!(ask(&app, "openai/gpt-5").await, "from the provider");
    assert_eq!(ask(&app, "my-gateway/gpt-5").await, "from the endpoint");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_saved_before_its_prefix_was_taken_is_kept_beside_the_providers_models() {
    let provider = model(json!([{"id": "openai/gpt-5"}]), "from the provider").await;
    let other = model(json!([{"id": "gpt-5"}, {"id": "tuned"}]), "from the endpoint").await;
    let catalog = Catalog::new(config(&provider, None), provider.endpoint.clone(), StreamLimits::default(), false);
    let named = NamedEndpoint { prefix: "openai".into(), name: "OpenAI".into(), endpoint: other.endpoint.clone() };
    catalog.set_endpoints(vec![named]).await;
    // Asked for before any list was read.
    let resolved = catalog.resolve(Some("openai/gpt-5")).await.unwrap();
    assert_eq!(resolved.wire, "openai/gpt-5");
    let (models, _) = catalog.list().await;
    let ids: Vec<&str> = models.iter().map(|m| m.model.id.as_str()).collect();
    assert_eq!(ids, ["openai/gpt-5", "@openai/gpt-5", "openai/tuned"]);
    for (id, wire) in [("@openai/gpt-5", "gpt-5"), ("openai/tuned", "tuned"), ("openai/tuned:low", "tuned")] {
        assert_eq!(catalog.resolve(Some(id)).await.unwrap().wire, wire, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn price_and_window_are_known_also_of_a_model_that_is_told_how_much_to_think() {
    let priced = json!([{"id": "x", "context_length": 9000, "pricing": {"prompt": "0.000001", "completion": "0.000002"}},
        {"id": "phi3:medium", "context_length": 4000}]);
    let provider = model(priced, "hi").await;
    let catalog =
        Catalog::new(config(&provider, Some("x:high")), provider.endpoint.clone(), StreamLimits::default(), false);
    let default = catalog.resolve(None).await.unwrap();
    assert_eq!((default.wire.as_str(), default.effort.as_deref()), ("x", Some("high")));
    let facts = catalog.facts(&default.name.id).await;
    assert!(facts.price.is_some() && facts.context == Some(9000), "{facts:?}");
    let (models, _) = catalog.list().await;
    assert_eq!((models[0].model.id.as_str(), models[0].effort.as_deref()), ("x", Some("high")));
    assert_eq!(models.len(), 2);

    let tagged = catalog.resolve(Some("phi3:medium")).await.unwrap();
    assert_eq!((tagged.wire.as_str(), tagged.effort), ("phi3:medium", None));
    assert_eq!(catalog.split("phi3:medium:low"), ("phi3:medium".to_owned(), "low".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_cannot_act_for_want_of_a_price_says_so_where_it_is_set() {
    let list =
        json!([{"id": "free-form"}, {"id": "priced", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}]);
    let provider = model(list, "hi").await;
    let app = app_over(&provider, Some("free-form")).await;
    let project = app.project().await;
    let page = format!("/p/{project}/settings");
    let html = async || app.get(&page).send().await.unwrap().text().await.unwrap();
    assert!(html().await.contains("No price is known for free-form, so a budget could not stop it"));
    send(&app, &page, &[("set", "budget"), ("value", "1")]).await;
    assert!(html().await.contains("No price is known for free-form, so this budget cannot stop it"));
    let project = ProjectId::parse(project).unwrap();
    app.services().agent.send(&project, "hi", Some("priced:low")).await.unwrap();
    until(&app, &project, |s| s.messages.iter().any(|m| m.outcome.is_some())).await;
    assert!(!html().await.contains("No price is known"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn how_much_a_model_thinks_is_sent_with_a_message_and_remembered_by_the_page() {
    let provider = model(json!([{"id": "x"}, {"id": "y"}]), "hi").await;
    let app = app_over(&provider, Some("x:low")).await;
    let picked = async |path: &str| {
        let html = app.get(path).send().await.unwrap().text().await.unwrap();
        let (_, picker) = html.split_once("name=\"effort\"").unwrap();
        let (before, _) = picker.split_once(" selected").unwrap();
        before.rsplit_once("value=\"").unwrap().1.trim_end_matches('"').to_owned()
    };
    // What was configured stands in the picker beside the model without it.
    app.services().catalog.list().await;
    assert_eq!(picked("/").await, "low");
    let (_, made) = answer(app.post("/api/projects", &json!({"prompt": "hi", "model": "y:high"}))).await;
    let project = ProjectId::parse(made["id"].as_str().unwrap()).unwrap();
    until(&app, &project, |s| s.messages.iter().any(|m| m.outcome.is_some())).await;
    let asked = provider.requests().remove(0);
    assert_eq!((&asked["model"], &asked["reasoning_effort"]), (&json!("y"), &json!("high")));
    assert_eq!(picked(&format!("/p/{project}")).await, "high");
    app.stop().await;
}

/// A server that tries models by itself, over a provider that does all that is asked.
async fn trying(provider: &FakeModel) -> TestApp {
    let config = config(provider, Some("test-model"));
    TestApp::start_with(move |settings| (settings.model, settings.try_models) = (config, true)).await
}

/// What the page is told about a model.
async fn told(app: &TestApp, model: &str, seen: u64) -> Value {
    answer(app.post("/api/fn/try_model", &json!({"model": model, "seen": seen}))).await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_nobody_is_billed_for_is_tried_when_chosen_and_tells_its_results_as_they_come() {
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let held = move |request: &Value| {
        if request["tools"][0]["function"]["name"] != "note" {
            return Some(says("meanwhile"));
        }
        let mut acts = Vec::new();
        if request["messages"].to_string().contains("twice") {
            acts.push(Act::Wait(Arc::clone(&gate)));
        }
        acts.extend(able(request, true));
        Some(acts)
    };
    let provider = FakeModel::respond(|request| Some(able(request, true))).await;
    let own = FakeModel::respond_as(json!([{"id": "a"}, {"id": "b"}, {"id": "c"}, {"id": "d"}]), held).await;
    let app = trying(&provider).await;
    let saved = send(&app, "/settings/models", &endpoint("Box", &own.endpoint.base_url)).await;
    assert_eq!(saved.headers()["location"], "/settings/models?follow=true");
    // The first news comes at once and says nothing yet.
    let news = told(&app, "box/a", 1).await;
    assert!(news["words"].as_str().unwrap().contains("Trying box/a… calls a tool ✓"), "{news}");
    let html = app.get("/settings/models?follow=true").send().await.unwrap();
    assert_eq!(html.headers()["refresh"], "2");
    assert!(html.text().await.unwrap().contains("calls a tool ✓"));
    let queued = told(&app, "box/b", 0).await;
    assert_eq!(
        (&queued["words"], &queued["running"]),
        (&json!("box/b waits: another model is being tried."), &json!(true))
    );
    // A message is answered meanwhile.
    assert_eq!(ask(&app, "box/d").await, "meanwhile");
    for _ in 0..3 {
        go.notify_one();
    }
    let mut seen = 0;
    let last = loop {
        let news = told(&app, "box/a", seen).await;
        if news["running"] == false {
            break news;
        }
        seen = news["step"].as_u64().unwrap();
    };
    assert_eq!(last["words"], "box/a: apps and edits");
    // Another of its models only when it is chosen.
    assert!(!app.services().store.secrets().model_notes().await.unwrap().contains_key("box/d"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_may_cost_money_is_tried_only_when_a_person_asks() {
    let provider = FakeModel::respond(|_| Some(says("I cannot do that"))).await;
    let priced = json!([{"id": "p", "pricing": {"prompt": "0.000001", "completion": "0.000002"}}]);
    let own = FakeModel::respond_as(priced, |_| Some(says("no"))).await;
    let app = trying(&provider).await;
    send(&app, "/settings/models", &endpoint("Box", &own.endpoint.base_url)).await;
    for id in ["test-model", "box/p", "nowhere/x"] {
        assert_eq!(told(&app, id, 0).await["words"], "", "{id}");
    }
    assert!(provider.requests().is_empty() && own.requests().is_empty());
    let html = app.get("/settings/models").send().await.unwrap().text().await.unwrap();
    assert!(html.contains("Any other may cost money"), "{html}");
    send(&app, "/settings/models", &[("set", "probe"), ("name", "test-model")]).await;
    let mut trial = app.services().trials.begin("test-model");
    // It may have ended before it was asked for, and is then asked once more.
    trial.wait_for(|trial| trial.end.is_some()).await.unwrap();
    let words = told(&app, "test-model", 0).await["words"].as_str().unwrap().to_owned();
    assert!(words.contains("chat only") && words.contains("Choose another"), "{words}");
    app.stop().await;
}
