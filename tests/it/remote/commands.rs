//! Commands in a remote sandbox: output, ends, signals, input, and a wire that breaks.

use super::{Far, Near};
use bytes::Bytes;
use sandcastle::domain::SandboxId;
use sandcastle::sandbox::e2b::E2bProvider;
use sandcastle::sandbox::provider::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

/// A sandbox of the provider alone.
async fn instance(far: &Far, dir: &Path) -> Arc<dyn Instance> {
    let provider = E2bProvider::new(far.config(), &sandcastle::config::SandboxConfig::default(), dir).unwrap();
    let id = SandboxId::parse("i1234567890abcdefghi").unwrap();
    provider.start(SandboxSpec { id, workspace: dir.join("workspace"), env: Default::default() }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_whose_making_was_not_answered_is_found_by_its_name() {
    let far = Far::start().await;
    let dir = tempfile::tempdir().unwrap();
    let body = serde_json::json!({"templateID": "base", "metadata": {"sandcastle": "i1234567890abcdefghi"}});
    let url = format!("http://{}/v2/sandboxes", far.app.addr());
    let made = far.http.post(url).header("x-api-key", &far.key).json(&body).send().await.unwrap();
    assert_eq!(made.status(), 201);
    let before = far.sandboxes().await;
    let instance = instance(&far, dir.path()).await;
    assert_eq!(far.sandboxes().await, before);
    instance.shutdown().await;
    far.app.stop().await;
}

fn sh(line: &str) -> ProcessConfig {
    ProcessConfig {
        cmd: "/bin/sh".to_owned(),
        args: vec!["-c".to_owned(), line.to_owned()],
        ..ProcessConfig::default()
    }
}

/// Everything a process says, and how it ended.
async fn finish(process: &mut Process) -> (String, ExitStatus) {
    let mut said = Vec::new();
    let read = async {
        while let Some(event) = process.events.recv().await {
            match event {
                ProcessEvent::Stdout(bytes) | ProcessEvent::Stderr(bytes) => said.extend_from_slice(&bytes),
                ProcessEvent::End(status) => return status,
            }
        }
        panic!("no end");
    };
    let status = timeout(super::PATIENCE, read).await.unwrap();
    (String::from_utf8_lossy(&said).into_owned(), status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_keeps_its_output_its_exit_and_its_environment() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    let (exit, output) = near.run(&project, "echo out; echo err >&2; pwd; echo $TERM; exit 3").await;
    assert_eq!(exit.code, Some(3));
    assert!(output.contains("out\n") && output.contains("err\n") && output.contains("/home/user\n"), "{output}");
    assert!(output.contains("xterm-256color"), "{output}");
    let (exit, _) = near.run(&project, "kill -KILL $$").await;
    assert_eq!((exit.code, exit.signal.as_deref()), (None, Some("KILL")));
    let flood = near.run(&project, "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo the end").await;
    assert!(flood.0.success() && flood.1.len() > 1_000_000);
    let spec =
        sandcastle::sandbox::CommandSpec { line: "true".to_owned(), cwd: "no/such".to_owned(), ..Default::default() };
    let error = near.service().start_command(&project, spec).await.unwrap_err();
    assert!(error.to_string().contains("does not exist") && !error.is_retryable(), "{error}");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_command_ends_all_that_it_started() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    // One child left its parent and its session: a signal to a process or to its group misses it.
    let line = "setsid sleep 1234 & (sleep 1235 &) ; echo started; sleep 1236";
    let command = near.start(&project, line, true).await;
    let count = "grep -lzsE '^sleep$' /proc/[0-9]*/cmdline | wc -l";
    for _ in 0..100 {
        if near.run(&project, count).await.1.trim() == "3" {
            break;
        }
    }
    assert_eq!(near.run(&project, count).await.1.trim(), "3");
    near.service().stop_command(&project, &command).await.unwrap();
    assert_eq!(near.run(&project, count).await.1.trim(), "0");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn input_reaches_a_process_and_its_end_too() {
    let far = Far::start().await;
    let dir = tempfile::tempdir().unwrap();
    let instance = instance(&far, dir.path()).await;
    let mut process = instance.spawn(ProcessConfig { stdin: true, ..sh("cat; echo done") }).await.unwrap();
    let stdin = process.stdin.take().unwrap();
    stdin.send(Bytes::from_static(b"one ")).await.unwrap();
    stdin.send(Bytes::from_static(b"two\n")).await.unwrap();
    drop(stdin);
    let (said, status) = finish(&mut process).await;
    assert_eq!((said.as_str(), status.code), ("one two\ndone\n", Some(0)));
    let size = TerminalSize { columns: 91, rows: 33 };
    let script = sh("stty size; until [ \"$(stty size)\" = '20 50' ]; do sleep 0.1; done; read x; echo got $x");
    let mut process = instance.spawn(ProcessConfig { terminal: Some(size), ..script }).await.unwrap();
    let first = timeout(super::PATIENCE, process.events.recv()).await.unwrap().unwrap();
    assert_eq!(first, ProcessEvent::Stdout(Bytes::from_static(b"33 91\r\n")));
    process.terminal.as_ref().unwrap().resize(TerminalSize { columns: 50, rows: 20 }).unwrap();
    let stdin = process.stdin.take().unwrap();
    stdin.send(Bytes::from_static(b"hello\n")).await.unwrap();
    let (said, status) = finish(&mut process).await;
    assert!(said.contains("got hello") && status.code == Some(0), "{said}");
    instance.shutdown().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_survives_a_broken_connection_and_the_gap_is_told() {
    let far = Far::start().await;
    let near = Near::to(&far).await;
    let project = near.project().await;
    let command = near.start(&project, "echo before; while [ ! -e go ]; do sleep 0.1; done; echo after", true).await;
    while !near.output(&project, &command).await.contains("before") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    far.wire.cut();
    while !near.output(&project, &command).await.contains("connection to the sandbox broke") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    near.write(&project, &[("go", "")]).await;
    let exit = near.service().wait_command(&project, &command, &Default::default()).await.unwrap();
    let output = near.output(&project, &command).await;
    assert!(exit.success() && output.ends_with("after\n"), "{exit:?} {output}");
    near.app.stop().await;
    far.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_in_use_outlives_the_time_it_was_given() {
    let far = Far::start().await;
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let short = sandcastle::config::E2bConfig { timeout: Duration::from_secs(3), ..far.config() };
    let near = Near::with(short, None, dir).await;
    let project = near.project().await;
    let (exit, _) = near.run(&project, "sleep 7").await;
    assert!(exit.success(), "{exit:?}");
    assert_eq!(far.sandboxes().await[0].1, "running");
    near.app.stop().await;
    assert_eq!(far.sandboxes().await[0].1, "paused", "a server that stops leaves nothing running");
    far.app.stop().await;
}
