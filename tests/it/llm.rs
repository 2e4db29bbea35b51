//! The model client against servers that misbehave in every way we know of, and the demo model over its real wire.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, chunk, http, says, stream_head};
use futures::StreamExt;
use sandcastle::config::{ModelConfig, Secret};
use sandcastle::llm::{
    Answer, Catalog, DEMO_MODEL, DemoServer, Endpoint, Finish, ModelClient, ModelError, ModelEvent, ModelRequest,
    ModelSource, OpenAiClient, StreamLimits,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

fn limits() -> StreamLimits {
    StreamLimits {
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        waiting: Duration::from_secs(2),
        attempts: 3,
        backoff: Duration::from_millis(1),
        ..StreamLimits::default()
    }
}

fn request(messages: Value) -> ModelRequest {
    ModelRequest {
        model: "test-model".to_owned(),
        messages: messages.as_array().unwrap().clone(),
        tools: Vec::new(),
        effort: None,
    }
}

async fn ask(endpoint: &Endpoint, limits: StreamLimits) -> Result<(String, String, Answer), ModelError> {
    let client = OpenAiClient::new(endpoint, limits)?;
    let mut events =
        client.stream(request(json!([{"role": "user", "content": "hi"}])), &CancellationToken::new()).await?;
    let (mut text, mut reasoning) = (String::new(), String::new());
    while let Some(event) = events.next().await {
        match event? {
            ModelEvent::Text(more) => text.push_str(&more),
            ModelEvent::Reasoning(more) => reasoning.push_str(&more),
            ModelEvent::Done(answer) => return Ok((text, reasoning, answer)),
            ModelEvent::CallStarted { .. } | ModelEvent::CallArguments { .. } | ModelEvent::Waiting { .. } => {}
        }
    }
    panic!("the stream ended without an answer");
}

async fn ask_raw(parts: Vec<Vec<u8>>) -> Result<(String, String, Answer), ModelError> {
    let mut bytes = stream_head();
    bytes.extend(parts.concat());
    let fake = FakeModel::start(vec![vec![Act::Send(bytes)]]).await;
    ask(&fake.endpoint, limits()).await
}

async fn refusal(status: &str, kind: &str, headers: &str, body: &str) -> String {
    let scripts = (0..3).map(|_| vec![Act::Send(http(status, kind, headers, body))]).collect();
    let fake = FakeModel::start(scripts).await;
    ask(&fake.endpoint, limits()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn comments_reasoning_null_fields_and_a_missing_done_are_no_trouble() {
    let (text, reasoning, answer) = ask_raw(vec![
        b": PROCESSING\n\n".to_vec(),
        chunk(json!({"role": null, "content": null, "reasoning_content": "hm", "tool_calls": null}), None),
        b": PROCESSING\r\n\r\n".to_vec(),
        chunk(json!({"content": "hel"}), None),
        chunk(json!({"content": "lo"}), Some("stop")),
    ])
    .await
    .unwrap();
    assert_eq!((text.as_str(), reasoning.as_str()), ("hello", "hm"));
    assert_eq!(answer, Answer { finish: Finish::Stop, usage: None, calls: Vec::new() });
}

#[tokio::test]
async fn a_done_without_a_finish_reason_is_an_end() {
    let (text, ..) = ask_raw(vec![chunk(json!({"content": "x"}), None), b"data: [DONE]\n\n".to_vec()]).await.unwrap();
    assert_eq!(text, "x");
}

#[tokio::test]
async fn a_cut_stream_is_an_error_and_not_half_an_answer() {
    let error = ask_raw(vec![chunk(json!({"content": "hel"}), None)]).await.unwrap_err();
    assert!(matches!(error, ModelError::Interrupted { .. }), "{error}");
}

#[tokio::test]
async fn an_error_in_mid_stream_keeps_the_providers_words() {
    let error = ask_raw(vec![
        chunk(json!({"content": "x"}), None),
        b"data: {\"error\": {\"message\": \"overloaded, sorry\", \"code\": 529}}\n\n".to_vec(),
    ])
    .await
    .unwrap_err();
    assert_eq!(error, ModelError::MidStream { message: "overloaded, sorry".to_owned() });
}

#[tokio::test]
async fn a_web_page_and_nonsense_are_named_as_such() {
    let page = "<!DOCTYPE html><html><body>Welcome to nginx</body></html>";
    assert!(refusal("200 OK", "text/html", "", page).await.contains("a web page"));
    assert!(refusal("404 Not Found", "text/html", "", page).await.contains("does not answer like"));
    let error = ask_raw(vec![b"data: hello there\n\ndata: friend\n\n".to_vec()]).await.unwrap_err().to_string();
    assert!(error.contains("hello there"), "{error}");
    let error = ask_raw(vec![(0..=255u8).cycle().take(5000).collect()]).await.unwrap_err();
    assert!(matches!(error, ModelError::NotAModel { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_in_one_piece_is_read_too() {
    let body = json!({"choices": [{"message": {"role": "assistant", "content": "whole"}, "finish_reason": "stop"}]})
        .to_string();
    let fake = FakeModel::start(vec![vec![Act::Send(http("200 OK", "application/json", "", &body))]]).await;
    assert_eq!(ask(&fake.endpoint, limits()).await.unwrap().0, "whole");
}

#[tokio::test]
async fn refusals_show_the_providers_own_words_and_never_the_key() {
    let body = |message: &str| json!({"error": {"message": message, "type": "x"}}).to_string();
    let json = "application/json";
    let auth = refusal("401 Unauthorized", json, "", &body("Incorrect API key provided")).await;
    assert!(auth.contains("Incorrect API key provided") && auth.contains("AI_GATEWAY_API_KEY"), "{auth}");
    assert!(!auth.contains("sk-test-secret"));
    let long = refusal("400 Bad Request", json, "", &body("maximum context length is 8192 tokens")).await;
    assert!(long.contains("too long for this model"), "{long}");
    let tools = refusal("400 Bad Request", json, "", &body("m does not support tools")).await;
    assert!(tools.contains("cannot call tools"), "{tools}");
    let other = refusal("402 Payment Required", json, "", "{\"detail\": \"no credit\"}").await;
    assert!(other.contains("no credit left: no credit"), "{other}");
    let wrapped = json!({"error": {"message": "Provider returned error", "metadata": {"raw": "{\"error\":{\"message\":\"real reason\"}}"}}});
    let wrapped = refusal("400 Bad Request", json, "", &wrapped.to_string()).await;
    assert!(wrapped.contains("real reason"), "{wrapped}");
}

#[tokio::test]
async fn a_server_error_before_the_first_token_is_tried_again_and_after_it_is_not() {
    let failing = || vec![Act::Send(http("503 Service Unavailable", "text/plain", "", "busy"))];
    let fake = FakeModel::start(vec![failing(), failing(), says("ok")]).await;
    assert_eq!(ask(&fake.endpoint, limits()).await.unwrap().0, "ok");
    assert_eq!(fake.requests().len(), 3);

    let mut cut = stream_head();
    cut.extend(chunk(json!({"content": "x"}), None));
    let fake = FakeModel::start(vec![vec![Act::Send(cut)], says("never")]).await;
    assert!(ask(&fake.endpoint, limits()).await.is_err());
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_within_bounds_and_told() {
    let limited = |seconds: &str| {
        vec![Act::Send(http(
            "429 Too Many Requests",
            "application/json",
            &format!("retry-after: {seconds}\r\n"),
            "{\"error\": \"slow down\"}",
        ))]
    };
    let fake = FakeModel::start(vec![limited("0.01"), says("ok")]).await;
    let client = OpenAiClient::new(&fake.endpoint, limits()).unwrap();
    let events =
        client.stream(request(json!([{"role": "user", "content": "hi"}])), &CancellationToken::new()).await.unwrap();
    let events: Vec<_> = events.collect().await;
    assert!(
        matches!(&events[0], Ok(ModelEvent::Waiting { delay, reason }) if delay.as_millis() == 10 && reason.contains("slow down"))
    );
    assert!(matches!(events.last(), Some(Ok(ModelEvent::Done(_)))));

    let fake = FakeModel::start(vec![limited("3600")]).await;
    let error = ask(&fake.endpoint, limits()).await.unwrap_err().to_string();
    assert!(error.contains("for the next 3600 s") && error.contains("slow down"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_with_its_address() {
    let endpoint = Endpoint { base_url: "http://user:pass@127.0.0.1:9/v1".to_owned(), api_key: None };
    let error = ask(&endpoint, limits()).await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:9/v1") && error.contains("refused") && !error.contains("pass"), "{error}");
    let endpoint = Endpoint { base_url: "not a url".to_owned(), api_key: None };
    assert!(ask(&endpoint, limits()).await.unwrap_err().to_string().contains("not a URL"));
    let endpoint = Endpoint { base_url: "http://127.0.0.1:9/v1".to_owned(), api_key: Some(Secret::new("a\nb")) };
    assert!(matches!(ask(&endpoint, limits()).await, Err(ModelError::Auth { .. })));
}

#[tokio::test]
async fn a_silent_server_is_given_up_after_the_time_limit() {
    let fake = FakeModel::start(vec![vec![Act::Send(stream_head()), Act::Hang]]).await;
    let short = StreamLimits { stall: Duration::from_millis(50), ..limits() };
    assert!(matches!(ask(&fake.endpoint, short).await, Err(ModelError::Stalled { .. })));
}

#[tokio::test]
async fn cancelling_ends_the_stream_at_once_in_every_phase() {
    let reached = Arc::new(Notify::new());
    let mut some = stream_head();
    some.extend(chunk(json!({"content": "x"}), None));
    let scripts = vec![
        vec![Act::Tell(Arc::clone(&reached)), Act::Hang],
        vec![Act::Send(some), Act::Tell(Arc::clone(&reached)), Act::Hang],
    ];
    let fake = FakeModel::start(scripts).await;
    for _ in 0..2 {
        let client = OpenAiClient::new(&fake.endpoint, limits()).unwrap();
        let cancel = CancellationToken::new();
        let events = client.stream(request(json!([{"role": "user", "content": "hi"}])), &cancel).await.unwrap();
        let collect = tokio::spawn(events.collect::<Vec<_>>());
        reached.notified().await;
        cancel.cancel();
        assert_eq!(collect.await.unwrap().pop(), Some(Err(ModelError::Cancelled)));
    }
}

#[tokio::test]
async fn the_demo_server_wants_its_key_and_streams_a_recorded_run() {
    let demo = DemoServer::start().await.unwrap();
    let endpoint = demo.endpoint();
    let stranger = Endpoint { api_key: Some(Secret::new("guess")), ..endpoint.clone() };
    assert!(matches!(ask(&stranger, limits()).await, Err(ModelError::Auth { .. })));

    let client = OpenAiClient::new(&endpoint, limits()).unwrap();
    assert_eq!(client.models(Duration::from_secs(5)).await.unwrap()[0].id, DEMO_MODEL);
    let prompt = json!([{"role": "user", "content": "A calm kanban board for a small team"}]);
    let events: Vec<_> = client.stream(request(prompt), &CancellationToken::new()).await.unwrap().collect().await;
    let Some(Ok(ModelEvent::Done(answer))) = events.last() else { panic!("{:?}", events.last()) };
    let names: Vec<&str> = answer.calls.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["update_plan", "create_sandbox", "generate_files", "run_command", "get_sandbox_url"]);
    assert!(serde_json::from_str::<Value>(&answer.calls[2].arguments).unwrap()["files"].as_array().unwrap().len() >= 3);
    demo.shutdown().await;
    assert!(matches!(ask(&endpoint, limits()).await, Err(ModelError::Unreachable { .. })));
}

#[tokio::test]
async fn the_catalog_offers_the_demo_only_while_nothing_is_configured() {
    let fake = FakeModel::start(Vec::new()).await;
    let catalog = |configured: bool| {
        let config = ModelConfig {
            base_url: fake.endpoint.base_url.clone(),
            api_key: fake.endpoint.api_key.clone(),
            default_model: configured.then(|| "other".to_owned()),
            configured,
        };
        Catalog::new(config, fake.endpoint.clone(), limits(), false)
    };
    let (models, problem) = catalog(false).list().await;
    assert!(problem.is_none() && models.len() == 1 && models[0].source == ModelSource::Demo && models[0].default);
    let (models, _) = catalog(true).list().await;
    let ids: Vec<&str> = models.iter().map(|m| m.model.id.as_str()).collect();
    assert_eq!(ids, ["other", "test-model"]);
    assert!(models[0].default && !models[1].default);
    assert!(matches!(catalog(false).resolve(Some("x")).await.err(), Some(ModelError::Unknown(_))));
    assert_eq!(catalog(true).resolve(None).await.unwrap().wire, "other");
}
