//! `sandcastle bench` as a person runs it: prompts from a file, real sandboxes, restarts, and the table.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use crate::fake_model::{Act, FakeModel, chunk, stream_head};
use serde_json::{Value, json};
use std::process::{Command, Output};

const PROMPTS: &str = r#"
[[prompt]]
name = "tide-table"
text = "A table of the tides"
checks = [{ file = "tides.txt", contains = "HIGH" }, { command = "test -s tides.txt" }]

[[prompt]]
name = "moon-table"
text = "A table of the moon"
checks = [{ file = "tides.txt" }, { file = "moon.txt" }]
"#;

/// One answer that costs a quarter of a dollar.
fn for_a_quarter(delta: Value, finish: &str) -> Vec<Act> {
    let mut bytes = stream_head();
    bytes.extend(chunk(delta, Some(finish)));
    let usage = json!({"choices": [], "usage": {"prompt_tokens": 90, "completion_tokens": 10, "cost": 0.25}});
    bytes.extend(format!("data: {usage}\n\ndata: [DONE]\n\n").into_bytes());
    vec![Act::Send(bytes)]
}

/// The answer depends on nothing but how far the conversation is, so that a step asked for twice is the same step.
fn step(request: &Value) -> Vec<Act> {
    let files = json!({"files": [{"path": "tides.txt", "content": "high 6:12"}]}).to_string();
    let call = |name: &str, arguments: &str| {
        let call = json!({"index": 0, "id": name, "function": {"name": name, "arguments": arguments}});
        for_a_quarter(json!({"tool_calls": [call]}), "tool_calls")
    };
    match request["messages"].as_array().unwrap().iter().filter(|m| m["role"] == "assistant").count() {
        0 => call("create_sandbox", "{}"),
        1 => call("generate_files", &files),
        _ => for_a_quarter(json!({"content": "done"}), "stop"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bench_tells_what_passed_what_it_cost_and_which_restarts_were_survived() {
    let fake = FakeModel::respond(|request| Some(step(request))).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("prompts.toml"), PROMPTS).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sandcastle"));
    command
        .args(["bench", "prompts.toml", "--models", "test-model", "--restarts", "1", "--minutes", "2"])
        .args(["--data-dir", "data"])
        .current_dir(dir.path())
        .env("AI_GATEWAY_BASE_URL", &fake.endpoint.base_url)
        .env("AI_GATEWAY_API_KEY", "sk-test-secret");
    let Output { status, stdout, stderr } =
        tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(told.contains("pass  test-model  tide-table  2/2 checks"), "{told}");
    assert!(told.contains("FAIL  test-model  moon-table  1/2 checks") && told.contains("moon.txt"), "{told}");
    // Three answers a prompt; those before a restart are not paid again.
    assert!(told.contains("test-model | 1 of 2 (50 %) | $1.5000 | 600 | "), "{told}");
    assert!(told.contains(" | 2 of 2\n"), "{told}");
    assert_eq!(status.code(), Some(1), "one prompt failed: {told}");
}
