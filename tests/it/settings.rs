//! What a person sets: endpoints and keys, favourites, secrets; and projects made from what is there already.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, calls, http, says};
use crate::history::{app_with, until};
use crate::support::{TestApp, answer};
use reqwest::{Method, StatusCode};
use sandcastle::domain::{ProjectId, Role};
use sandcastle::llm::Aptitude;
use sandcastle::sandbox::{CommandSpec, LogFrom};
use serde_json::{Value, json};
use std::io::{Cursor, Write};
use tokio_util::sync::CancellationToken;

pub async fn form(app: &TestApp, path: &str, fields: &[(&str, &str)]) -> StatusCode {
    send(app, path, fields).await.status()
}

/// Sends a form as a page does.
pub async fn send(app: &TestApp, path: &str, fields: &[(&str, &str)]) -> reqwest::Response {
    let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let request = app.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
    request.body(body.join("&")).send().await.unwrap()
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// Whether any file of the data folder holds the bytes.
fn on_disk(app: &TestApp, needle: &str) -> bool {
    let mut open = vec![app.dir().join("data")];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        } else if std::fs::read(&path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|w| w == needle.as_bytes())) {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_added_in_the_settings_answers_also_after_a_restart_and_its_key_is_never_shown() {
    let fake = FakeModel::respond(|_| Some(says("from the endpoint"))).await;
    let app = TestApp::start().await;
    let url = fake.endpoint.base_url.clone();
    let fields = [("set", "endpoint"), ("name", "My Gateway"), ("url", url.as_str()), ("key", "sk-very-private")];
    let settings = async || app.get("/settings").send().await.unwrap().text().await.unwrap();
    assert!(settings().await.contains("No model is connected"));
    assert_eq!(form(&app, "/settings/models", &fields).await, StatusCode::SEE_OTHER);
    // The list of models is read behind the answer.
    while settings().await.contains("No model is connected") {
        tokio::task::yield_now().await;
    }
    let app = app.restart().await;
    let (_, list) = answer(app.get("/api/models")).await;
    let ids: Vec<&str> = list["models"].as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert!(ids.contains(&"my-gateway/test-model"), "{ids:?}");
    let body = json!({"prompt": "hi", "model": "my-gateway/test-model"});
    let (_, made) = answer(app.post("/api/projects", &body)).await;
    let project = ProjectId::parse(made["id"].as_str().unwrap()).unwrap();
    let state = until(&app, &project, |s| s.messages.iter().any(|m| m.outcome.is_some())).await;
    assert_eq!(state.messages[1].text(), "from the endpoint");

    assert_eq!(
        form(&app, "/settings/models", &[("set", "favourite"), ("name", "my-gateway/other")]).await,
        StatusCode::SEE_OTHER
    );
    let html = app.get("/settings/models?q=other").send().await.unwrap().text().await.unwrap();
    assert!(html.contains("★ Favourite") && html.contains("My Gateway") && html.contains("key set"), "{html}");
    assert!(!html.contains("my-gateway/test-model") && !html.contains("sk-very-private"));
    assert!(!on_disk(&app, "sk-very-private"));
    assert_eq!(
        form(&app, "/settings/models", &[("set", "remove"), ("name", "my-gateway")]).await,
        StatusCode::SEE_OTHER
    );
    let (_, list) = answer(app.get("/api/models")).await;
    assert!(!list.to_string().contains("my-gateway"));
    assert_eq!(
        form(&app, "/settings/models", &[("set", "endpoint"), ("name", "x"), ("url", "ftp://y")]).await,
        StatusCode::BAD_REQUEST
    );
    let refused = app.request(Method::POST, "/settings/models").header("accept", "text/html");
    let refused = refused.header("content-type", "application/x-www-form-urlencoded");
    let refused = refused.body("set=endpoint&name=My+Box&url=ftp%3A%2F%2Fy&key=sk-private").send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let html = refused.text().await.unwrap();
    for kept in ["value=\"My Box\"", "value=\"ftp://y\"", "must begin with http"] {
        assert!(html.contains(kept), "{kept} is not in {html}");
    }
    assert!(!html.contains("sk-private"));
    app.stop().await;
}

/// What a trial finds.
async fn tried(app: &TestApp, model: &str) -> Aptitude {
    let mut news = app.services().trials.begin(model);
    let trial = news.wait_for(|trial| trial.end.is_some()).await.unwrap().clone();
    assert_eq!(trial.end, Some(Ok(())));
    trial.found
}

/// A model that does what the battery asks; without tools if its server takes none.
pub fn able(request: &Value, tools: bool) -> Vec<Act> {
    if !tools && request.get("tools").is_some() {
        return vec![Act::Send(http(
            "400 Bad Request",
            "application/json",
            "",
            "{\"error\":\"m does not support tools\"}",
        ))];
    }
    let asked = request["messages"].as_array().unwrap().last().unwrap()["content"].as_str().unwrap();
    let notes: Vec<Value> = if asked.contains("sea") {
        vec![json!({"title": "sea", "lines": ["one"]})]
    } else if asked.contains("twice") {
        vec![json!({"title": "a"}), json!({"title": "b"})]
    } else if asked.contains("four lines") {
        vec![json!({"title": "list", "lines": ["He said \"no\"", "a\\b", "{\"k\": [1, 2]}", "100 %"]})]
    } else if asked.contains("second line") {
        vec![json!({"title": "copy", "lines": [asked.lines().nth(3).unwrap()]})]
    } else {
        vec![json!({"title": "heron"})]
    };
    if tools {
        let notes: Vec<String> = notes.iter().map(Value::to_string).collect();
        return calls(&notes.iter().map(|n| ("note", n.as_str())).collect::<Vec<_>>());
    }
    let call = |n: &Value| format!("<tool_call>{}</tool_call>", json!({"name": "note", "arguments": n}));
    says(&notes.iter().map(call).collect::<String>())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_asked_what_it_can_do_and_the_protocol_its_server_takes_is_found() {
    for tools in [true, false] {
        let fake = FakeModel::respond(move |request| Some(able(request, tools))).await;
        let app = app_with(&fake).await;
        let aptitude = tried(&app, "test-model").await;
        assert_eq!((aptitude.badge(), aptitude.parallel, aptitude.spoken), ("apps and edits", true, !tools));
        let html = app.get("/settings/models").send().await.unwrap().text().await.unwrap();
        assert!(html.contains("apps and edits"), "{html}");
        app.stop().await;
    }
    // llama.cpp drops tools without a word where the model's template knows none.
    let deaf = |request: &Value| match request["tools"].is_array() {
        true => Some(says("I have no tools")),
        false => Some(able(request, false)),
    };
    let fake = FakeModel::respond(deaf).await;
    let app = app_with(&fake).await;
    let aptitude = tried(&app, "test-model").await;
    assert_eq!((aptitude.badge(), aptitude.spoken), ("apps and edits", true));
    app.stop().await;

    let fake = FakeModel::respond(|_| Some(says("I cannot do that"))).await;
    let app = app_with(&fake).await;
    assert!(tried(&app, "test-model").await.badge().contains("chat only"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_renamed_and_deleted_on_its_settings_page_and_a_bad_name_is_given_back() {
    let app = TestApp::start().await;
    let project: ProjectId = app.project().await.parse().unwrap();
    let path = format!("/p/{project}/settings");
    assert_eq!(form(&app, &path, &[("set", "name"), ("value", " Tide table ")]).await, StatusCode::SEE_OTHER);
    let events = app.services().store.events().clone();
    assert_eq!(events.state(&project).await.unwrap().name, "Tide table");
    let long = "x".repeat(500);
    let refused = app.request(Method::POST, &path).header("accept", "text/html");
    let refused = refused.header("content-type", "application/x-www-form-urlencoded");
    let refused = refused.body(format!("set=name&value={long}")).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
    let html = refused.text().await.unwrap();
    assert!(html.contains("A name has 1 to") && html.contains(&long), "{html}");
    assert_eq!(events.state(&project).await.unwrap().name, "Tide table");
    assert_eq!(form(&app, &path, &[("set", "delete")]).await, StatusCode::SEE_OTHER);
    assert_eq!(app.get(&path).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_a_projects_secrets_and_the_disk_does_not_tell_them() {
    let app = TestApp::start().await;
    let project: ProjectId = app.project().await.parse().unwrap();
    let path = format!("/p/{project}/settings");
    let fields = [("set", "secret"), ("name", "API_TOKEN"), ("value", "tide-pool-7")];
    assert_eq!(form(&app, &path, &fields).await, StatusCode::SEE_OTHER);
    let html = app.get(&path).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("API_TOKEN") && !html.contains("tide-pool-7"));
    assert!(!on_disk(&app, "tide-pool-7"));
    let spec = CommandSpec { line: "echo \"[$API_TOKEN]\"".to_owned(), ..CommandSpec::default() };
    let sandbox = &app.services().sandbox;
    let command = sandbox.start_command(&project, spec).await.unwrap();
    sandbox.wait_command(&project, &command, &CancellationToken::new()).await.unwrap();
    let log = sandbox.read_log(&project, &command, LogFrom::Offset(0), 1000).await.unwrap();
    assert_eq!(log.text, "[tide-pool-7]\n");
    assert_eq!(
        form(&app, &path, &[("set", "secret"), ("name", "no spaces"), ("value", "x")]).await,
        StatusCode::BAD_REQUEST
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_archive_becomes_a_project_with_a_checkpoint_and_what_is_none_is_refused() {
    let app = TestApp::start().await;
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    // More than any other request may carry.
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("shop-main/photo.raw", stored).unwrap();
    zip.write_all(&vec![7; 3 << 20]).unwrap();
    zip.start_file("shop-main/index.html", zip::write::SimpleFileOptions::default()).unwrap();
    zip.write_all(b"<h1>Shop</h1>").unwrap();
    let archive = zip.finish().unwrap().into_inner();
    let import = |body: Vec<u8>| app.request(Method::POST, "/api/projects/import?name=Shop").body(body);
    let (status, made) = answer(import(archive)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let project = ProjectId::parse(made["id"].as_str().unwrap()).unwrap();
    let file = app.services().sandbox.read_file(&project, "index.html").await.unwrap();
    assert_eq!(file.text.as_deref(), Some("<h1>Shop</h1>"));
    let (status, error) = answer(import(b"nonsense".to_vec())).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error["message"].as_str().unwrap().contains("cannot be read"));
    let (_, list) = answer(app.get("/api/projects")).await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_projects_own_rules_are_told_once_and_again_when_they_changed() {
    let write = |text: &str| {
        let files = json!({"files": [{"path": "AGENTS.md", "content": text}]}).to_string();
        calls(&[("create_sandbox", "{}"), ("generate_files", &files)])
    };
    let scripts = vec![write("Use tabs."), says("1"), says("2"), write("Use spaces."), says("3"), says("4")];
    let fake = FakeModel::start(scripts).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("x").await.unwrap();
    for turn in 1..=4 {
        app.services().agent.send(&project, "go", None).await.unwrap();
        until(&app, &project, |s| {
            s.turn.is_none() && s.messages.iter().filter(|m| m.outcome.is_some()).count() == turn
        })
        .await;
    }
    let requests = fake.requests();
    let told =
        |at: usize, words: &str| requests[at]["messages"].to_string().matches(&format!("follow:\\n{words}")).count();
    assert_eq!((told(0, "Use tabs."), told(2, "Use tabs."), told(3, "Use tabs.")), (0, 1, 1));
    assert_eq!((told(5, "Use tabs."), told(5, "Use spaces.")), (1, 1));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blank_page_is_found_before_the_agent_says_it_is_done() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let serve = format!(
        "node -e \"require('http').createServer((q,r)=>{{r.setHeader('content-type','text/html');r.end('<html><body></body></html>')}}).listen({port})\""
    );
    let start = json!({"command": serve, "background": true}).to_string();
    let show = json!({"port": port}).to_string();
    let first = calls(&[("create_sandbox", "{}"), ("run_command", &start), ("get_sandbox_url", &show)]);
    let fake = FakeModel::start(vec![first, says("done"), says("it is meant to be empty"), says("really")]).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("x").await.unwrap();
    app.services().agent.send(&project, "an empty page", None).await.unwrap();
    let state = until(&app, &project, |s| s.messages.iter().any(|m| m.outcome.is_some())).await;
    let answer = state.messages.iter().find(|m| m.role == Role::Assistant).unwrap();
    let found: Vec<(&str, bool)> = answer.checks.iter().map(|c| (c.name.as_str(), c.ok)).collect();
    assert_eq!(found, [("The app answers", true), ("The page is not blank", false), ("No errors seen", true)]);
    let requests = fake.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests[2]["messages"].to_string().contains("The page is not blank"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_rule_is_added_and_removed_on_the_projects_page() {
    // Only the real provider holds rules.
    let app = TestApp::start_for_real().await;
    let (_, made) = answer(app.post("/api/projects", &json!({"name": "ruled"}))).await;
    let id = made["id"].as_str().unwrap();
    let (page, api) = (format!("/p/{id}/settings"), format!("/api/projects/{id}/network"));
    let rules = async || answer(app.get(&api)).await.1["policy"]["allow"].clone();
    for rule in ["db.example.com:5432", "*.example.org"] {
        assert_eq!(form(&app, &page, &[("set", "rule_on"), ("value", rule)]).await, StatusCode::SEE_OTHER);
    }
    assert_eq!(rules().await, json!(["db.example.com:5432", "*.example.org"]));
    let html = app.get(&page).send().await.unwrap().text().await.unwrap();
    assert!(html.contains("aria-label=\"Remove db.example.com:5432\""), "{html}");
    let remove = [("set", "rule_off"), ("value", "db.example.com:5432")];
    assert_eq!(form(&app, &page, &remove).await, StatusCode::SEE_OTHER);
    assert_eq!(rules().await, json!(["*.example.org"]));
    assert_eq!(form(&app, &page, &[("set", "rule_on"), ("value", "no name")]).await, StatusCode::BAD_REQUEST);
    app.stop().await;
}
