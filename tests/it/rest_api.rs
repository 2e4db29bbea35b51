//! The REST interface as a program sees it.

use crate::support::{TestApp, answer};
use reqwest::{Method, StatusCode};
use sandcastle::sandbox::CommandSpec;
use sandcastle::workflow::RunRequest;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// Every documented operation: method and path.
fn documented() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(sandcastle::api::OPENAPI).unwrap();
    let paths = document["paths"].as_object().unwrap();
    let operations = paths.iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    operations.collect()
}

/// A path with ids that have the right shape and name nothing.
fn with_unknown_ids(path: &str) -> String {
    path.replace("{project}", "prj_0")
        .replace("{sandbox}", "i0000000000000000000")
        .replace("{run}", "run_0")
        .replace("{command}", "cmd_0")
        .replace("{attachment}", &"0".repeat(64))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_names_exactly_the_routes_for_programs() {
    let routes: BTreeSet<String> = sandcastle::api::program_paths().map(str::to_owned).collect();
    let paths: BTreeSet<String> = documented().into_iter().map(|(_, path)| path).collect();
    assert_eq!(routes, paths);
    let app = TestApp::start().await;
    for path in &paths {
        for method in ["GET", "POST", "DELETE", "PUT", "PATCH"] {
            let known = documented().contains(&(method.to_owned(), path.clone()));
            let request = app.request(method.parse().unwrap(), &with_unknown_ids(path)).json(&json!({"text": "x"}));
            let status = request.send().await.unwrap().status();
            assert_eq!(status != StatusCode::METHOD_NOT_ALLOWED, known, "{method} {path}: {status}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_id_is_404_as_json_in_every_route() {
    let app = TestApp::start().await;
    for (method, path) in documented().into_iter().filter(|(_, path)| path.contains('{')) {
        for path in [with_unknown_ids(&path), path.replace('{', "no-").replace('}', "")] {
            let request = app.request(method.parse().unwrap(), &path).json(&json!({"text": "x"}));
            let (status, body) = answer(request).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{method} {path}: {body}");
            assert_eq!(body["code"], "not_found", "{method} {path}");
            assert!(!body["message"].as_str().unwrap().is_empty());
            assert_eq!(body["request_id"].as_str().unwrap().len(), 26, "{method} {path}");
        }
    }
    for path in ["/api", "/api/nothing", "/nothing", "/api/projects/", "/pkg/../../etc/passwd"] {
        assert_eq!(answer(app.get(path)).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(answer(app.post("/api/fn/nothing", &json!({}))).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_created_read_listed_and_deleted() {
    let app = TestApp::start().await;
    let (status, created) = answer(app.post("/api/projects", &json!({"prompt": "A todo app\nin two lines"}))).await;
    assert_eq!(status, StatusCode::CREATED, "{created}");
    let id = created["id"].as_str().unwrap();
    assert!(created["message"].as_str().unwrap().starts_with("msg_"));
    let (_, project) = answer(app.get(&format!("/api/projects/{id}"))).await;
    assert_eq!(project["name"], "A todo app");
    assert_eq!(project["messages"][0]["parts"][0]["text"]["text"], "A todo app\nin two lines");
    let (_, list) = answer(app.get("/api/projects")).await;
    assert_eq!(list[0]["id"], id);
    let (status, _) = answer(app.request(Method::DELETE, &format!("/api/projects/{id}"))).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(answer(app.get(&format!("/api/projects/{id}"))).await.0, StatusCode::NOT_FOUND);
    assert!(!app.dir().join("data/projects").join(id).exists());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_that_is_empty_binary_or_huge_is_refused_with_words() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let messages = format!("/api/projects/{project}/messages");
    let huge = "a".repeat((1 << 20) + 1);
    for (text, expected) in [("", 400), ("  \n ", 400), ("a\0b", 400), ("\u{1b}[31m", 400), (huge.as_str(), 413)] {
        let (status, body) = answer(app.post(&messages, &json!({ "text": text }))).await;
        assert_eq!(status.as_u16(), expected, "{body}");
        assert!(body["message"].as_str().unwrap().starts_with("The message "), "{body}");
        let (status, _) = answer(app.post("/api/projects", &json!({ "prompt": text }))).await;
        assert_eq!(status.as_u16(), expected);
    }
    let (_, list) = answer(app.get("/api/projects")).await;
    assert_eq!(list.as_array().unwrap().len(), 1, "a refused prompt leaves no project behind");
    let over = app.post(&messages, &json!({ "text": "a".repeat(3 << 20) }));
    assert_eq!(answer(over).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_is_documented_is_refused_as_json() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let messages = format!("/api/projects/{project}/messages");
    let refused = [
        (app.post(&messages, &json!({"txt": "x"})), 400),
        (app.post(&messages, &json!({"text": 1})), 400),
        (app.request(Method::POST, &messages).header("content-type", "application/json").body("{"), 400),
        (app.request(Method::POST, &messages).body("text=x"), 415),
        (app.get("/api/runs?status=nonsense"), 400),
        (app.get(&format!("/api/projects/{project}/events?after=x")), 400),
        (app.get(&format!("/api/projects/{project}/events?outputs=x")), 400),
    ];
    for (request, expected) in refused {
        let (status, body) = answer(request).await;
        assert_eq!((status.as_u16(), &body["code"]), (expected, &json!("invalid_input")), "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_commands_and_their_output_are_read_by_the_sandbox_id() {
    let app = TestApp::start().await;
    let project = app.project().await.parse().unwrap();
    let sandbox = &app.services().sandbox;
    let view = sandbox.ensure(&project).await.unwrap();
    let spec = CommandSpec { line: "printf 'one\\ntwo\\n' | tee a.txt".to_owned(), ..CommandSpec::default() };
    let command = sandbox.start_command(&project, spec).await.unwrap();
    sandbox.wait_command(&project, &command, &CancellationToken::new()).await.unwrap();
    let base = format!("/api/sandboxes/{}", view.id);

    let (_, body) = answer(app.get(&base)).await;
    assert_eq!((&body["phase"], &body["project"]), (&json!("running"), &json!(project)));
    let (_, body) = answer(app.get(&format!("{base}/files"))).await;
    assert_eq!(body["files"][0]["path"], "a.txt");
    let (_, body) = answer(app.get(&format!("{base}/files?path=a.txt"))).await;
    assert_eq!(body["text"], "one\ntwo\n");
    assert_eq!(answer(app.get(&format!("{base}/files?path=missing"))).await.0, StatusCode::NOT_FOUND);
    assert_eq!(answer(app.get(&format!("{base}/files?path=../../../etc/passwd"))).await.0, StatusCode::BAD_REQUEST);
    let (_, body) = answer(app.get(&format!("{base}/cmds/{command}"))).await;
    assert_eq!(body["exit"]["code"], 0);

    let response = app.get(&format!("{base}/cmds/{command}/logs")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let output: String = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(output, "one\ntwo\n");
    assert_eq!(lines.last().unwrap()["exit"]["code"], 0);
    let response = app.get(&format!("{base}/cmds/{command}/logs?text=true")).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(response.text().await.unwrap(), "one\ntwo\n");

    let archive = app.get(&format!("/api/projects/{project}/archive")).send().await.unwrap();
    assert_eq!(archive.headers()["content-disposition"], "attachment; filename=\"test.zip\"");
    let bytes = archive.bytes().await.unwrap();
    let mut zip = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    assert!(zip.by_name("a.txt").is_ok());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_figures_are_served() {
    let app = TestApp::start().await;
    let project = app.project().await;
    let run = RunRequest {
        task: "readFile".to_owned(),
        title: "a file that is not there".to_owned(),
        payload: json!({"project": project, "path": "none"}),
        ..RunRequest::default()
    };
    let run = app.services().workflow.submit(run).await.unwrap();
    let _failed = app.services().workflow.wait(&run).await;
    assert_eq!(app.get("/healthz").send().await.unwrap().text().await.unwrap(), "ok\n");
    assert_eq!(app.get("/readyz").send().await.unwrap().status(), StatusCode::OK);
    let metrics = app.get("/metrics").send().await.unwrap().text().await.unwrap();
    let status = app.services().workflow.get(&run).await.unwrap().summary.status.as_str();
    for line in [
        "sandcastle_projects 1",
        "sandcastle_sandboxes_live 0",
        "sandcastle_event_streams 0",
        "sandcastle_runs_open 0",
        "sandcastle_runs_executing 0",
        "sandcastle_engine_reachable 1",
        &format!("sandcastle_runs{{task=\"readFile\",status=\"{status}\"}} 1"),
        &format!("sandcastle_runs_ended_total{{task=\"readFile\",status=\"{status}\"}} 1"),
        "sandcastle_run_queue_seconds_count{task=\"readFile\"} 1",
        "sandcastle_run_duration_seconds_bucket{task=\"readFile\",le=\"+Inf\"} 1",
        "# TYPE sandcastle_run_duration_seconds histogram",
    ] {
        assert!(metrics.lines().any(|have| have == line), "{line} is not in\n{metrics}");
    }
    assert!(metrics.contains("process_resident_memory_bytes "));
    let (_, models) = answer(app.get("/api/models")).await;
    assert_eq!(models["models"][0]["demo"], true, "without a model the demo is offered");
}
