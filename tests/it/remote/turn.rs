//! A whole project in a remote sandbox: the agent's turns, the preview, checkpoints, restarts.

use super::{Far, Near};
use crate::fake_model::{Act, FakeModel, calls, says};
use http_body_util::BodyExt as _;
use hyper_util::rt::TokioIo;
use sandcastle::domain::{Message, ProjectId, ProjectState, Role, SandboxId, SandboxPhase};
use serde_json::json;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PORT: u16 = 3457;
const SERVER: &str = include_str!("../preview_app.mjs");

fn answers(state: &ProjectState) -> Vec<&Message> {
    state.messages.iter().filter(|m| m.role == Role::Assistant && m.outcome.is_some()).collect()
}

async fn ask(near: &Near, project: &ProjectId, text: &str) -> Arc<ProjectState> {
    let before = answers(&near.app.services().store.events().state(project).await.unwrap()).len();
    near.app.services().agent.send(project, text, None).await.unwrap();
    near.until(project, |s| s.turn.is_none() && answers(s).len() > before).await
}

fn host(near: &Near, sandbox: &SandboxId) -> String {
    format!("{PORT}-{sandbox}.localhost:{}", near.app.addr().port())
}

/// A page of the app through the preview: status and body.
async fn page(near: &Near, host: &str, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(near.app.addr()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(path).header("host", host).body(http_body_util::Empty::<bytes::Bytes>::new());
    let answer = sender.send_request(request.unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// The same, once it is answered.
async fn page_in_time(near: &Near, host: &str, path: &str) -> String {
    let reached = async {
        loop {
            match page(near, host, path).await {
                (200, body) => return body,
                _ => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(super::PATIENCE, reached).await.expect("the app never answered")
}

/// What a WebSocket of the app sends back.
async fn echo(near: &Near, host: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(near.app.addr()).await.unwrap();
    let request = format!(
        "GET /socket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="));
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.unwrap();
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).await.unwrap();
    frame.to_vec()
}

fn failed(state: &ProjectState) -> bool {
    state.sandbox.as_ref().is_some_and(|sandbox| sandbox.phase == SandboxPhase::Failed)
}

fn builds() -> Vec<Vec<Act>> {
    let files =
        json!({"files": [{"path": "server.mjs", "content": SERVER}, {"path": "notes.txt", "content": "one\n"}]});
    let command = json!({"command": format!("exec node server.mjs {PORT}"), "background": true});
    let edit =
        json!({"path": "server.mjs", "edits": [{"search": "</head><body>hello", "replace": "</head><body>changed"}]});
    let again = json!({"command": "ls -a; cat notes.txt"});
    vec![
        calls(&[("create_sandbox", "{}")]),
        calls(&[("generate_files", &files.to_string())]),
        calls(&[("run_command", &command.to_string())]),
        calls(&[("get_sandbox_url", &json!({"port": PORT}).to_string())]),
        says("It runs."),
        calls(&[("edit_file", &edit.to_string()), ("run_command", &again.to_string())]),
        says("Changed."),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_builds_an_app_far_away_and_it_survives_the_restart_of_either_side() {
    let far = Far::start().await;
    let fake = FakeModel::start(builds()).await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let near = Near::with(far.config(), Some(&fake.endpoint), Arc::clone(&dir)).await;
    let project = near.project().await;

    let state = ask(&near, &project, "build it").await;
    assert_eq!(answers(&state)[0].text(), "It runs.", "{state:#?}");
    assert_eq!(state.preview.as_ref().map(|preview| (preview.port, preview.status)), Some((PORT, 200)));
    let sandbox = state.sandbox.clone().unwrap();
    assert_eq!((sandbox.provider.as_str(), sandbox.phase), ("e2b", SandboxPhase::Running));
    let host = host(&near, &sandbox.id);
    assert!(page_in_time(&near, &host, "/").await.contains("<body>hello"));
    let headers = page_in_time(&near, &host, "/headers").await;
    assert!(headers.contains(&format!("\"host\":\"localhost:{PORT}\"")), "the app sees itself: {headers}");
    assert!(!headers.contains("e2b-") && !headers.contains("token"), "{headers}");
    assert_eq!(echo(&near, &host).await, [0x81, 2, b'h', b'i']);

    let state = ask(&near, &project, "change it").await;
    let points: Vec<_> = answers(&state).iter().map(|m| m.checkpoint.clone().unwrap()).collect();
    assert_eq!((points[0].files, points[1].files, points[1].added), (2, 1, 1));

    // The near side starts again: files are here, the sandbox is asleep, and a visit wakes it with its server.
    near.app.stop().await;
    assert_eq!(far.sandboxes().await[0].1, "paused");
    let near = Near::with(far.config(), Some(&fake.endpoint), Arc::clone(&dir)).await;
    let host = self::host(&near, &sandbox.id);
    assert_eq!(near.text(&project, "notes.txt").await.as_deref(), Some("one\n"));
    assert!(page_in_time(&near, &host, "/").await.contains("<body>changed"));

    // Then the far side: the sandbox is the same, its processes are lost, and start again with it.
    let far = far.restart().await;
    let state = near.until(&project, failed).await;
    let said = state.sandbox.as_ref().unwrap().detail.clone();
    assert_eq!(said.as_deref(), Some("e2b started its machine again"));
    near.service().ensure(&project).await.unwrap();
    assert!(page_in_time(&near, &host, "/").await.contains("<body>changed"));
    assert_eq!(far.sandboxes().await.len(), 1);

    // At last somebody deletes it. The next use has another one, with the files of the last turn.
    let id = far.sandboxes().await[0].0.clone();
    far.kill(&id).await;
    near.until(&project, failed).await;
    near.service().ensure(&project).await.unwrap();
    assert!(page_in_time(&near, &host, "/").await.contains("<body>changed"));
    assert_ne!(far.sandboxes().await[0].0, id);
    near.app.stop().await;
    far.app.stop().await;
}
