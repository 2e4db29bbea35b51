//! The server killed with SIGKILL again and again in the middle of a turn, with real sandboxes: each time the turn goes
//! on and ends with the same files.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, calls, says};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Steps of the turn.
const STEPS: usize = 12;
/// How often the server is killed.
const KILLS: u64 = 10;
/// How long the model takes for an answer. Kills come so soon after its start that the turn cannot be over by the last.
const THINKING: Duration = Duration::from_millis(60);
/// Where commands of the turn leave their trace.
const EFFECTS: &str = "effects.log";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// The answer depends on nothing but how far the conversation is, so that a step asked for twice is the same step.
fn step(request: &Value) -> Vec<Act> {
    let messages = request["messages"].as_array().unwrap();
    let done = messages.iter().filter(|m| m["role"] == "assistant").count();
    let write = |path: String, content: String| {
        ("generate_files", json!({"files": [{"path": path, "content": content}]}).to_string())
    };
    let (tool, arguments) = match done {
        0 => ("create_sandbox", "{}".to_owned()),
        n @ (5 | 9) => ("run_command", json!({"command": format!("echo {n} >> {EFFECTS}")}).to_string()),
        n if n >= STEPS => return says("all done"),
        n if n % 4 == 3 => (
            "edit_file",
            json!({"path": format!("f{}.txt", n - 1), "edits": [{"search": "old", "replace": "new"}]}).to_string(),
        ),
        n => write(format!("f{n}.txt"), format!("file {n}, old, {}\n", "x".repeat(n * 100))),
    };
    let mut acts = vec![Act::Pause(THINKING)];
    acts.extend(calls(&[(tool, &arguments)]));
    acts
}

/// The server as a process of its own.
pub struct Server {
    child: Child,
    pub addr: String,
}

impl Server {
    async fn start(data: &Path, model: &str, http: &reqwest::Client) -> Self {
        Self::start_with(data, model, http, |_| {}).await
    }

    /// The same with what it is started with changed.
    pub async fn start_with(
        data: &Path,
        model: &str,
        http: &reqwest::Client,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let addr = format!("127.0.0.1:{port}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sandcastle"));
        command
            .args(["serve", "--addr", &addr, "--data-dir"])
            .arg(data)
            .current_dir(data.parent().unwrap())
            .env("AI_GATEWAY_BASE_URL", model)
            .env("AI_GATEWAY_API_KEY", "sk-test-secret")
            .env("AI_MODEL", "test-model")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        change(&mut command);
        let child = command.spawn().unwrap();
        let began = Instant::now();
        while http.get(format!("http://{addr}/healthz")).send().await.is_err() {
            assert!(began.elapsed() < PATIENCE, "the server does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { child, addr }
    }

    fn kill(mut self) {
        // On Unix this is SIGKILL: nothing is put in order.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub async fn get(&self, http: &reqwest::Client, path: &str) -> Value {
        http.get(format!("http://{}{path}", self.addr)).send().await.unwrap().json().await.unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _gone_already = self.child.wait();
    }
}

fn files_in(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap).filter(|e| e.file_type().unwrap().is_file());
    entries.map(|e| (e.file_name().into_string().unwrap(), std::fs::read_to_string(e.path()).unwrap())).collect()
}

/// Plays the turn over a data folder, killing the server after each of these times. Returns the files; what commands left
/// is looked at here: one that was cut off may have done nothing, but none has run twice.
async fn play(kills: &[Duration]) -> BTreeMap<String, String> {
    let fake = FakeModel::respond(|request| Some(step(request))).await;
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::new();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data, &fake.endpoint.base_url, &http).await;
    let body = json!({"prompt": "write twelve files"});
    let made = http.post(format!("http://{}/api/projects", server.addr)).json(&body).send().await.unwrap();
    let made: Value = made.json().await.unwrap();
    let project = made["id"].as_str().unwrap().to_owned();
    let (mut asked, mut in_the_middle) = (0, 0);
    for after in kills {
        // The model is asked after each start, or the turn could be killed for ever before its first step.
        let began = Instant::now();
        let ended = loop {
            let state = server.get(&http, &format!("/api/projects/{project}")).await;
            let ended = state["turn"].is_null();
            if ended || fake.requests().len() > asked {
                break ended;
            }
            assert!(began.elapsed() < PATIENCE, "nothing happens: {state:#}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        asked = fake.requests().len();
        in_the_middle += usize::from(!ended);
        // The random moment is the point of this test; nothing is expected to have happened by then.
        tokio::time::sleep(*after).await;
        server.kill();
        server = Server::start(&data, &fake.endpoint.base_url, &http).await;
    }
    assert_eq!(in_the_middle, kills.len(), "every kill hits the turn");
    let began = Instant::now();
    loop {
        let state = server.get(&http, &format!("/api/projects/{project}")).await;
        let outcome = &state["messages"][1]["outcome"];
        if !outcome.is_null() {
            assert_eq!(*outcome, json!("completed"), "{state:#}");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "the turn does not end: {state:#}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut files = files_in(&data.join("projects").join(&project).join("workspace"));
    let effects = files.remove(EFFECTS).unwrap_or_default();
    let lines: Vec<&str> = effects.lines().collect();
    assert_eq!(lines.iter().collect::<BTreeSet<_>>().len(), lines.len(), "a command ran twice: {lines:?}");
    assert!(!kills.is_empty() || lines == ["5", "9"]);
    server.kill();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_ten_random_moments_a_turn_of_twelve_steps_ends_with_the_same_files() {
    let undisturbed = play(&[]).await;
    assert_eq!(undisturbed.len(), 6);
    assert!(undisturbed["f2.txt"].contains("new") && undisturbed["f1.txt"].contains("old"));
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos();
    let random = |n: u64, most: u64| (u64::from(seed) / 7 + n * 7919 * (n + 3)) % most;
    // Each third one comes after an answer: a turn that gets no further is given up.
    let moment = |n: u64| if n % 3 == 2 { 100 + random(n, 20) } else { 20 + random(n, 90) };
    let moments: Vec<Duration> = (0..KILLS).map(|n| Duration::from_millis(moment(n))).collect();
    println!("killed after {moments:?}");
    assert_eq!(play(&moments).await, undisturbed, "killed after {moments:?}");
}
