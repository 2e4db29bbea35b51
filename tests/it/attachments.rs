//! Files with messages: stored once, put into the workspace, shown to models that see and kept from those that do not.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, http, says};
use crate::history::{app_with, until};
use crate::support::{TestApp, answer};
use reqwest::{Method, StatusCode};
use sandcastle::domain::{ProjectId, TurnOutcome};
use serde_json::{Value, json};

/// A picture of one pixel.
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\0\0\0\nIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

async fn upload(app: &TestApp, name: &str, content: &[u8]) -> Value {
    let request = app.request(Method::POST, &format!("/api/attachments?name={name}")).body(content.to_vec());
    let (status, stored) = answer(request).await;
    assert_eq!(status, StatusCode::CREATED, "{stored}");
    stored
}

/// Sends a message and waits until so many turns have ended.
async fn send(app: &TestApp, project: &ProjectId, text: &str, files: &[&Value], turns: usize) -> TurnOutcome {
    let files: Vec<Value> = files.iter().map(|file| json!({"id": file["id"], "name": file["name"]})).collect();
    let body = json!({"text": text, "attachments": files});
    let (status, sent) = answer(app.post(&format!("/api/projects/{project}/messages"), &body)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{sent}");
    ended(app, project, turns).await
}

async fn ended(app: &TestApp, project: &ProjectId, turns: usize) -> TurnOutcome {
    let state =
        until(app, project, |s| s.turn.is_none() && s.messages.iter().filter(|m| m.outcome.is_some()).count() == turns)
            .await;
    state.messages.iter().rev().find_map(|m| m.outcome.clone()).unwrap()
}

async fn begun(scripts: Vec<Vec<Act>>) -> (FakeModel, TestApp, ProjectId) {
    let fake = FakeModel::start(scripts).await;
    let app = app_with(&fake).await;
    let project = app.services().store.events().create_project("App").await.unwrap();
    (fake, app, project)
}

fn images(request: &Value) -> Vec<String> {
    let parts = request["messages"].as_array().unwrap().iter().filter_map(|m| m["content"].as_array()).flatten();
    parts.filter_map(|part| part.pointer("/image_url/url")?.as_str().map(str::to_owned)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_shown_to_the_model_and_every_file_is_in_the_workspace() {
    let (fake, app, project) = begun(vec![says("seen"), says("again")]).await;
    let (image, table) = (upload(&app, "Logo.png", PIXEL).await, upload(&app, "prices.csv", b"tea,3\ncake,5\n").await);
    assert_eq!((image["image"].as_bool(), table["image"].as_bool()), (Some(true), Some(false)));
    assert_eq!(send(&app, &project, "use these", &[&image, &table], 1).await, TurnOutcome::Completed);

    let requests = fake.requests();
    let shown = images(&requests[0]);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].starts_with("data:image/png;base64,iVBORw0KGgo"), "{shown:?}");
    let words = requests[0]["messages"][1]["content"][0]["text"].as_str().unwrap();
    for wanted in ["use these", "attachments/Logo.png (image, ", "attachments/prices.csv", "tea,3\ncake,5"] {
        assert!(words.contains(wanted), "{wanted}: {words}");
    }
    let file = app.services().sandbox.read_file(&project, "attachments/prices.csv").await.unwrap();
    assert_eq!(file.text.as_deref(), Some("tea,3\ncake,5\n"));
    assert_eq!(
        app.services().sandbox.read_file(&project, "attachments/Logo.png").await.unwrap().size,
        PIXEL.len() as u64
    );

    // It is part of the conversation from then on, and of the page without scripts.
    assert_eq!(send(&app, &project, "and now", &[], 2).await, TurnOutcome::Completed);
    assert_eq!(images(&fake.requests()[1]), shown);
    let page = app.get(&format!("/p/{project}")).send().await.unwrap().text().await.unwrap();
    let address = format!("/api/attachments/{}", image["id"].as_str().unwrap());
    assert!(
        page.contains(&format!("<img src=\"{address}\" alt=\"Logo.png\"")) && page.contains("prices.csv"),
        "{page}"
    );
    let got = app.get(&address).send().await.unwrap();
    assert_eq!(got.headers()["content-type"], "image/png");
    assert_eq!(&got.bytes().await.unwrap()[..], PIXEL);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_images_is_named_and_a_retry_goes_on_without_them() {
    let words = "{\"error\":{\"message\":\"image input is not supported by test-model\"}}";
    let refused = || vec![Act::Send(http("400 Bad Request", "application/json", "", words))];
    let (fake, app, project) = begun(vec![refused(), says("I go by the name"), says("hi")]).await;
    let image = upload(&app, "a.png", PIXEL).await;
    let TurnOutcome::Failed { error } = send(&app, &project, "like this", &[&image], 1).await else { panic!() };
    assert!(error.message.contains("cannot see images: image input is not supported by test-model"), "{error}");
    app.services().agent.retry(&project).await.unwrap();
    assert_eq!(ended(&app, &project, 2).await, TurnOutcome::Completed);
    let requests = fake.requests();
    assert_eq!((images(&requests[0]).len(), images(&requests[1]).len()), (1, 0));
    // In one text, as servers of such models want it.
    let told = requests[1]["messages"][1]["content"].as_str().unwrap();
    assert!(
        told.contains("like this") && told.contains("attachments/a.png is in the workspace, but you cannot see"),
        "{told}"
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_attached_is_refused_with_the_reason() {
    let (_fake, app, project) = begun(Vec::new()).await;
    let post = |name: &str, content: Vec<u8>| {
        answer(app.request(Method::POST, &format!("/api/attachments?name={name}")).body(content))
    };
    let (status, error) = post("empty.txt", Vec::new()).await;
    assert_eq!((status, error["message"].as_str()), (StatusCode::BAD_REQUEST, Some("empty.txt is empty.")));
    let mut large = PIXEL.to_vec();
    large.resize(6 << 20, 0);
    let (status, error) = post("big.png", large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(error["message"], "big.png has 6.0 MiB; an image may have 5 MiB.");
    let (status, error) = post("huge.bin", vec![1; (20 << 20) + 1]).await;
    assert_eq!(
        (status, error["message"].as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, Some("the request is larger than 20 MiB"))
    );

    let path = format!("/api/projects/{project}/messages");
    let unknown = json!({"text": "x", "attachments": [{"id": "0".repeat(64), "name": "a.txt"}]});
    let (status, error) = answer(app.post(&path, &unknown)).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error["message"].as_str().unwrap().contains("a.txt was not uploaded"), "{error}");
    let file = upload(&app, "a.txt", b"a").await;
    let many: Vec<Value> = (0..11).map(|_| json!({"id": file["id"], "name": "a.txt"})).collect();
    let (_, error) = answer(app.post(&path, &json!({"text": "x", "attachments": many}))).await;
    assert!(error["message"].as_str().unwrap().contains("11 files are too many"), "{error}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_stored_once_and_goes_with_the_last_project_that_sent_it() {
    let (_fake, app, first) = begun(vec![says("1"), says("2"), says("3")]).await;
    let second = app.services().store.events().create_project("Other").await.unwrap();
    let (one, two) = (upload(&app, "a.txt", b"same").await, upload(&app, "b.txt", b"same").await);
    assert_eq!(one["id"], two["id"]);
    send(&app, &first, "x", &[&one], 1).await;
    send(&app, &second, "y", &[&two], 1).await;
    // Another file of a name that is taken gets one of its own; a message sent again keeps its files.
    let other = upload(&app, "a.txt", b"other").await;
    send(&app, &first, "z", &[&other], 2).await;
    let state = app.services().store.events().state(&first).await.unwrap();
    let paths: Vec<&str> = state.messages.iter().flat_map(|m| &m.attachments).map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["attachments/a.txt", "attachments/a-2.txt"]);

    let stored = app.dir().join("data/attachments").join(one["id"].as_str().unwrap());
    app.services().delete_project(&first).await.unwrap();
    assert!(stored.exists());
    app.services().delete_project(&second).await.unwrap();
    assert!(!stored.exists());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_home_page_takes_files_without_scripts() {
    let (fake, app, _) = begun(vec![says("seen")]).await;
    let part = |head: &str, content: &[u8]| {
        [format!("--x\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes(), content, b"\r\n"].concat()
    };
    let body = [
        part("name=\"prompt\"", b"Like this picture"),
        part("name=\"files\"; filename=\"shot.png\"", PIXEL),
        part("name=\"files\"; filename=\"\"", b""),
        b"--x--\r\n".to_vec(),
    ]
    .concat();
    let request = app.request(Method::POST, "/new").header("content-type", "multipart/form-data; boundary=x");
    let made = request.body(body).send().await.unwrap();
    assert_eq!(made.status(), StatusCode::SEE_OTHER);
    let project = made.headers()["location"].to_str().unwrap().trim_start_matches("/p/").to_owned();
    let project = ProjectId::parse(project).unwrap();
    assert_eq!(ended(&app, &project, 1).await, TurnOutcome::Completed);
    assert_eq!(images(&fake.requests()[0]).len(), 1);
    app.stop().await;
}
