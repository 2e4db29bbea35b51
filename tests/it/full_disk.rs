//! The data folder on a disk that is really full: what is asked for is refused with words, what is there stays
//! readable, and once there is room everything goes on by itself.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, chunk, says, stream_head};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server whose data folder is a small disk of its own, in a mount namespace of its own.
struct Server {
    child: Child,
    url: String,
    data: PathBuf,
    http: reqwest::Client,
}

impl Server {
    async fn start(data: &std::path::Path, model: &str) -> Self {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let addr = format!("127.0.0.1:{port}");
        let child = Command::new("unshare")
            .args(["--mount", "--map-root-user", "--", "sh", "-c"])
            .arg("mount -t tmpfs -o size=16m tmpfs \"$0\" && exec \"$@\"")
            .arg(data)
            .args([env!("CARGO_BIN_EXE_sandcastle"), "serve", "--addr", &addr, "--data-dir"])
            .arg(data)
            .current_dir(data.parent().unwrap())
            .env("AI_GATEWAY_BASE_URL", model)
            .env("AI_GATEWAY_API_KEY", "sk-test-secret")
            .env("AI_MODEL", "test-model")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let data = PathBuf::from(format!("/proc/{}/root{}", child.id(), data.display()));
        let server = Self { child, url: format!("http://{addr}"), data, http: reqwest::Client::new() };
        let began = Instant::now();
        while server.http.get(format!("{}/healthz", server.url)).send().await.is_err() {
            assert!(began.elapsed() < PATIENCE, "the server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        server
    }

    async fn post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let answer = self.http.post(format!("{}{path}", self.url)).json(&body).send().await.unwrap();
        (answer.status(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        self.http.get(format!("{}{path}", self.url)).send().await.unwrap().json().await.unwrap()
    }

    /// The project once no turn runs.
    async fn settled(&self, project: &str) -> Value {
        let began = Instant::now();
        loop {
            let state = self.get(&format!("/api/projects/{project}")).await;
            if state["turn"].is_null() {
                return state;
            }
            assert!(began.elapsed() < PATIENCE, "the turn does not end: {state:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn filler(&self) -> PathBuf {
        self.data.join("filler")
    }

    fn fill(&self) {
        let mut filler = File::create(self.filler()).unwrap();
        // Ever smaller pieces, until not a byte has room.
        for size in [1 << 20, 1 << 12, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_nothing_is_half_done_and_with_room_again_all_goes_on() {
    let (streaming, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let mut begins = stream_head();
    begins.extend(chunk(json!({"content": "It begins. "}), None));
    let mut rest = chunk(json!({"content": "And it goes on."}), None);
    rest.extend(chunk(json!({}), Some("stop")));
    let sent = Arc::new(Notify::new());
    let interrupted = vec![
        Act::Send(begins),
        Act::Tell(Arc::clone(&streaming)),
        Act::Wait(Arc::clone(&go_on)),
        Act::Send(rest),
        Act::Tell(Arc::clone(&sent)),
    ];
    let fake = FakeModel::start(vec![interrupted, says("Now it is done."), says("The second.")]).await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let server = Server::start(&data, &fake.endpoint.base_url).await;

    let (status, made) = server.post("/api/projects", json!({"prompt": "a shop"})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let project = made["id"].as_str().unwrap().to_owned();
    streaming.notified().await;
    let began = Instant::now();
    while !server.get(&format!("/api/projects/{project}")).await.to_string().contains("It begins") {
        assert!(began.elapsed() < PATIENCE, "the answer does not arrive");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.fill();

    let (status, refused) = server.post("/api/projects", json!({"prompt": "x".repeat(100_000)})).await;
    assert_eq!(status, StatusCode::INSUFFICIENT_STORAGE, "{refused}");
    assert!(refused.to_string().contains("full"), "{refused}");
    let listed = server.get("/api/projects").await;
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "nothing half made: {listed}");
    go_on.notify_one();
    let state = server.get(&format!("/api/projects/{project}")).await;
    assert!(state["messages"][1]["parts"].to_string().contains("It begins"), "what is there is readable: {state:#}");

    // Time for the turn to meet the full disk. Were it too short, the turn would find room, which is right too.
    sent.notified().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.empty();
    let state = server.settled(&project).await;
    let outcome = state["messages"][1]["outcome"].to_string();
    assert!(outcome == "\"completed\"" || outcome.contains("full"), "the turn ended and says why: {state:#}");
    let (status, sent) = server.post(&format!("/api/projects/{project}/messages"), json!({"text": "go on"})).await;
    assert!(status.is_success(), "{sent}");
    let state = server.settled(&project).await;
    let last = state["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["outcome"], json!("completed"), "{state:#}");
    // A run ends right after what it was for.
    let began = Instant::now();
    loop {
        let runs = server.get("/api/runs").await;
        if runs.as_array().unwrap().iter().all(|run| run["status"] != "EXECUTING") {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "a run is left open: {runs:#}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
