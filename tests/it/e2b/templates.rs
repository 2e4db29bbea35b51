//! Templates below the SDKs: who may, what is told, what stays on disk, and nonsense.

use super::Server;
use crate::support::answer;
use reqwest::{Method, StatusCode};
use sandcastle::store::KeyKind;
use serde_json::{Value, json};
use std::time::Duration;

/// Asks for a build and starts it; its template and build ids.
async fn begin(server: &Server, name: &str, recipe: Value) -> (String, String) {
    let asked = server.ask(Method::POST, "/v3/templates", &json!({"name": name}), 202).await;
    let text = |name: &str| asked[name].as_str().unwrap().to_owned();
    let (template, build) = (text("templateID"), text("buildID"));
    server.ask(Method::POST, &format!("/v2/templates/{template}/builds/{build}"), &recipe, 202).await;
    (template, build)
}

/// The status of a build that has ended.
async fn end(server: &Server, (template, build): &(String, String)) -> Value {
    let path = format!("/templates/{template}/builds/{build}/status");
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let status = server.ask(Method::GET, &path, &json!({}), 200).await;
            if !["waiting", "building"].contains(&status["status"].as_str().unwrap()) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    waited.await.expect("the build ends")
}

/// Builds a template; its template and build ids.
pub async fn build(server: &Server, name: &str, recipe: Value) -> (String, String) {
    let ids = begin(server, name, recipe).await;
    let status = end(server, &ids).await;
    assert_eq!(status["status"], "ready", "{status}");
    ids
}

fn folders(server: &Server) -> Vec<String> {
    let entries = std::fs::read_dir(server.dir.path().join("data/fleet")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn templates_are_listed_shown_and_deleted_with_their_files() {
    let server = Server::start().await;
    let recipe =
        |word: &str| json!({"fromTemplate": "base", "steps": [{"type": "RUN", "args": [format!("echo {word} > x")]}]});
    let (template, first) = build(&server, "listed:v1", recipe("one")).await;
    let (same, second) = build(&server, "listed", recipe("two")).await;
    assert_eq!(template, same);
    let list = server.ask(Method::GET, "/templates", &json!({}), 200).await;
    assert_eq!((list.as_array().unwrap().len(), &list[0]["buildCount"]), (1, &json!(2)), "{list}");
    assert_eq!((&list[0]["names"], &list[0]["buildID"]), (&json!(["listed"]), &json!(second)));
    server.sandbox_of(&json!({"templateID": "listed"})).await;
    let shown = server.ask(Method::GET, "/templates/listed", &json!({}), 200).await;
    assert_eq!((&shown["builds"][1]["buildID"], &shown["spawnCount"]), (&json!(first), &json!(1)), "{shown}");
    // Built before this start: still ready, its log gone.
    let server = server.restart().await;
    let path = format!("/templates/{template}/builds/{first}/status");
    let status = server.ask(Method::GET, &path, &json!({}), 200).await;
    assert_eq!((&status["status"], &status["logEntries"]), (&json!("ready"), &json!([])));
    assert_eq!(server.ask(Method::GET, "/templates/listed", &json!({}), 200).await, shown);
    assert_eq!(folders(&server).len(), 3);
    server.ask(Method::DELETE, &format!("/templates/{template}"), &json!({}), 204).await;
    server.ask(Method::DELETE, &format!("/templates/{template}"), &json!({}), 404).await;
    server.ask(Method::GET, "/templates/listed", &json!({}), 404).await;
    server.ask(Method::POST, "/v2/sandboxes", &json!({"templateID": "listed"}), 404).await;
    assert_eq!(folders(&server).len(), 1, "the sandbox stays");
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_failed_leaves_nothing_and_says_where() {
    let server = Server::start().await;
    let steps = json!([
        {"type": "RUN", "args": ["echo fine"]},
        {"type": "RUN", "args": ["echo broken >&2; exit 2"]},
    ]);
    let ids = begin(&server, "failing", json!({"fromImage": "x", "steps": steps})).await;
    let status = end(&server, &ids).await;
    assert_eq!((&status["status"], &status["reason"]["step"]), (&json!("error"), &json!("2")), "{status}");
    assert_eq!(status["reason"]["message"], "exit status 2: broken");
    let lines = status["logEntries"].as_array().unwrap();
    let line = |message: &str| lines.iter().find(|line| line["message"] == message).unwrap();
    assert_eq!((&line("fine")["step"], &line("fine")["level"]), (&json!("1"), &json!("info")));
    assert_eq!((&line("broken")["step"], &line("broken")["level"]), (&json!("2"), &json!("warn")));
    assert_eq!(folders(&server), Vec::<String>::new());
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_come_only_by_the_address_that_was_given() {
    let server = Server::start().await;
    let asked = server.ask(Method::POST, "/v3/templates", &json!({"name": "filed"}), 202).await;
    // Asked for again before it was ever built, it is the same template.
    let again = server.ask(Method::POST, "/v3/templates", &json!({"name": "filed"}), 202).await;
    assert_eq!((&again["templateID"], again["buildID"] == asked["buildID"]), (&asked["templateID"], false));
    let asked = again;
    let (template, build) = (asked["templateID"].as_str().unwrap(), asked["buildID"].as_str().unwrap());
    let digest = "ab".repeat(32);
    let link = server.ask(Method::GET, &format!("/templates/{template}/files/{digest}"), &json!({}), 201).await;
    assert_eq!(link["present"], false);
    let url = link["url"].as_str().unwrap();
    assert!(url.starts_with(&server.url()), "{url}");
    let put = async |url: &str| answer(server.http.put(url).body("not a tar")).await.0;
    assert_eq!(put(&url[..url.len() - 1]).await, StatusCode::FORBIDDEN);
    assert_eq!(put(url.split('?').next().unwrap()).await, StatusCode::FORBIDDEN);
    assert_eq!(put(&url.replace(&digest, "..%2f..%2fx")).await, StatusCode::BAD_REQUEST);
    assert_eq!(put(url).await, StatusCode::OK);
    server.ask(Method::GET, &format!("/templates/{template}/files/short"), &json!({}), 400).await;
    let again = server.ask(Method::GET, &format!("/templates/{template}/files/{digest}"), &json!({}), 201).await;
    assert_eq!(again["present"], true);
    // A key of somebody else has no part in it.
    let (_, other) = server.app.services().store.keys().create(KeyKind::E2b, "other").await.unwrap();
    for (method, path) in [
        (Method::GET, format!("/templates/{template}/files/{digest}")),
        (Method::GET, format!("/templates/{template}/builds/{build}/status")),
        (Method::POST, format!("/v2/templates/{template}/builds/{build}")),
    ] {
        let request = server.request(method.clone(), &path).header("x-api-key", &other).json(&json!({}));
        assert_eq!(answer(request).await.0, StatusCode::NOT_FOUND, "{method} {path}");
    }
    let steps = json!([{"type": "COPY", "args": ["x", "."], "filesHash": digest}]);
    let recipe = json!({"fromImage": "x", "steps": steps});
    let path = format!("/v2/templates/{template}/builds/{build}");
    server.ask(Method::POST, &path, &recipe, 202).await;
    let status = end(&server, &(template.to_owned(), build.to_owned())).await;
    let message = status["reason"]["message"].as_str().unwrap();
    assert!(message.starts_with("COPY x: unpacking: exit status 2"), "{message}");
    server.ask(Method::POST, &path, &recipe, 409).await;
    // Once it has ended there is nothing to send for it any more.
    assert_eq!(put(url).await, StatusCode::FORBIDDEN);
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_archive_stays_inside() {
    use std::io::Write as _;
    let server = Server::start().await;
    // A link out of the place where it is unpacked, and a file behind it.
    let mut archive = Vec::new();
    let mut entry = |name: &str, kind: u8, link: &str, content: &[u8]| {
        let mut head = [0u8; 512];
        head[..name.len()].copy_from_slice(name.as_bytes());
        head[100..107].copy_from_slice(b"0000777");
        head[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        head[136..147].copy_from_slice(b"00000000000");
        head[156] = kind;
        head[157..157 + link.len()].copy_from_slice(link.as_bytes());
        head[148..156].fill(b' ');
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        archive.write_all(&head).unwrap();
        archive.write_all(content).unwrap();
        archive.resize(archive.len().next_multiple_of(512), 0);
    };
    entry("out", b'2', "/etc", b"");
    entry("out/planted", b'0', "", b"planted");
    entry("../../../../../tmp/planted-by-a-template", b'0', "", b"planted");
    archive.resize(archive.len() + 1024, 0);
    let asked = server.ask(Method::POST, "/v3/templates", &json!({"name": "hostile"}), 202).await;
    let ids = (asked["templateID"].as_str().unwrap().to_owned(), asked["buildID"].as_str().unwrap().to_owned());
    let digest = "cd".repeat(32);
    let link = server.ask(Method::GET, &format!("/templates/{}/files/{digest}", ids.0), &json!({}), 201).await;
    assert_eq!(answer(server.http.put(link["url"].as_str().unwrap()).body(archive)).await.0, StatusCode::OK);
    let steps = json!([{"type": "COPY", "args": [".", "."], "filesHash": digest}]);
    let path = format!("/v2/templates/{}/builds/{}", ids.0, ids.1);
    server.ask(Method::POST, &path, &json!({"fromImage": "x", "steps": steps}), 202).await;
    end(&server, &ids).await;
    assert!(!std::path::Path::new("/etc/planted").exists());
    assert!(!std::path::Path::new("/tmp/planted-by-a-template").exists());
    server.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nonsense_about_templates_gets_a_precise_error() {
    let server = Server::start().await;
    for (body, why) in [
        (json!({}), "name is missing"),
        (json!({"name": "../x"}), "1 to 128 characters"),
        (json!({"name": "base"}), "belongs to the server"),
        (json!({"name": "x", "tags": ["a b"]}), "a tag has"),
        (json!({"name": "x", "cpuCount": 4096}), "cpuCount: every sandbox of this server has"),
        (json!({"name": "x", "minFreeDiskMb": 1u64 << 40}), "SANDCASTLE_DISK_MIB"),
        (json!({"name": 7}), "invalid type"),
    ] {
        let said = server.ask(Method::POST, "/v3/templates", &body, 400).await;
        assert!(said["message"].as_str().unwrap().contains(why), "{body}: {said}");
    }
    let asked = server.ask(Method::POST, "/v3/templates", &json!({"name": "fine"}), 202).await;
    let path = format!(
        "/v2/templates/{}/builds/{}",
        asked["templateID"].as_str().unwrap(),
        asked["buildID"].as_str().unwrap()
    );
    let step = |step: Value| json!({"fromImage": "x", "steps": [step]});
    for (body, why) in [
        (json!({}), "either fromImage or fromTemplate"),
        (json!({"fromImage": "x", "fromTemplate": "y"}), "either fromImage or fromTemplate"),
        (json!({"fromImage": "x", "fromImageRegistry": {"type": "aws"}}), "fromImageRegistry"),
        (step(json!({"type": "HEALTHCHECK"})), "there is no step \"HEALTHCHECK\""),
        (step(json!({"type": "RUN"})), "step 1: RUN has no command"),
        (step(json!({"type": "COPY", "args": ["a", "b"]})), "COPY has no filesHash"),
        (step(json!({"type": "ENV", "args": ["A"]})), "ENV has no value"),
        (step(json!({"type": "ENV", "args": ["A=B", "c"]})), "not the name of a variable"),
        (step(json!({"type": "RUN", "args": ["a\u{0}b"]})), "NUL"),
    ] {
        let said = server.ask(Method::POST, &path, &body, 400).await;
        assert!(said["message"].as_str().unwrap().contains(why), "{body}: {said}");
    }
    for (method, path) in [
        (Method::GET, "/templates/nosuch"),
        (Method::GET, "/templates/nosuch/tags"),
        (Method::GET, "/templates/nosuch/builds/x/status"),
        (Method::DELETE, "/templates/nosuch"),
        (Method::GET, "/templates/aliases/nosuch"),
    ] {
        let said = server.ask(method, path, &json!({}), 404).await;
        assert_eq!(said["code"], 404, "{path}");
    }
    server.ask(Method::PATCH, "/templates/fine", &json!({"public": true}), 501).await;
    server.app.stop().await;
}
