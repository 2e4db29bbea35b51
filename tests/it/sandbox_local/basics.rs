//! Commands, their output and their ends, ports.

use super::support::*;
use bytes::Bytes;
use sandcastle::sandbox::SandboxError;
use sandcastle::sandbox::provider::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test]
async fn a_command_runs_in_the_workspace_as_an_ordinary_user() {
    let sandbox = Fixture::new().await;
    let run = sandbox.sh("pwd; id -u; hostname; echo error >&2; exit 3").await;
    assert_eq!(run.stdout, format!("/home/user\n1000\n{}\n", sandbox.spec.id));
    assert_eq!(run.stderr, "error\n");
    assert_eq!(run.status, ExitStatus { code: Some(3), signal: None, reason: None });
    sandbox.live.shutdown().await;
}

/// Scripts start servers so that they ignore Ctrl+C, and what is ignored is inherited.
#[tokio::test]
async fn signals_that_the_server_ignores_end_a_command_as_usual() {
    const IGNORING: &str = "SANDCASTLE_TEST_IGNORING";
    if std::env::var_os(IGNORING).is_none() {
        let test = "sandbox_local::basics::signals_that_the_server_ignores_end_a_command_as_usual";
        let mut again = std::process::Command::new("sh");
        again.args(["-c", "trap '' HUP INT QUIT TERM USR1; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
        return expect_success(again.args([test, "--exact"]).env(IGNORING, "1"));
    }
    let sandbox = Fixture::new().await;
    let run = sandbox.sh("grep SigIgn /proc/self/status; kill -INT $$; echo alive").await;
    assert_eq!(run.stdout, "SigIgn:\t0000000000000000\n");
    assert_eq!(run.status.signal, Some(2));
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_missing_program_or_folder_is_named_at_once() {
    let sandbox = Fixture::new().await;
    let start = |cmd: &str, cwd: &str| {
        sandbox.live.spawn(ProcessConfig { cmd: cmd.to_owned(), cwd: cwd.to_owned(), ..Default::default() })
    };
    assert!(matches!(start("no-such-program", "").await, Err(SandboxError::NotFound(_))));
    assert!(matches!(start("true", "no/such/folder").await, Err(SandboxError::NotFound(_))));
    assert!(matches!(start("true", "../..").await, Err(SandboxError::Path(_))));
    assert!(start("true", "").await.is_ok());
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn the_environment_is_the_sandboxes_own_plus_what_is_asked_for() {
    let sandbox = Fixture::new().await;
    let config = ProcessConfig {
        cmd: "env".to_owned(),
        envs: [("ASKED".to_owned(), "yes".to_owned())].into(),
        ..Default::default()
    };
    let run = finish(sandbox.live.spawn(config).await.unwrap()).await;
    assert!(run.stdout.contains("ASKED=yes\n") && run.stdout.contains("HOME=/home/user\n"), "{}", run.stdout);
    assert!(!run.stdout.contains("CARGO_MANIFEST_DIR"), "the server's environment leaks: {}", run.stdout);
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn stdin_reaches_the_command_and_its_end_too() {
    let sandbox = Fixture::new().await;
    let config = ProcessConfig { cmd: "cat".to_owned(), stdin: true, ..Default::default() };
    let mut process = sandbox.live.spawn(config).await.unwrap();
    let stdin = process.stdin.take().unwrap();
    stdin.send(Bytes::from_static(b"hello")).await.unwrap();
    drop(stdin);
    let run = finish(process).await;
    assert_eq!((run.stdout.as_str(), run.status.code), ("hello", Some(0)));
    assert_eq!(sandbox.sh("cat").await.stdout, "", "without stdin a command reads the end at once");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_signal_reaches_everything_a_command_started_and_nothing_else() {
    let sandbox = Fixture::new().await;
    let bystander = sandbox.start("sleep 1000").await;
    let mut command = sandbox.start("(setsid sleep 1001 &) ; sleep 1002 & echo up; wait").await;
    assert_eq!(command.events.recv().await, Some(ProcessEvent::Stdout(Bytes::from_static(b"up\n"))));
    sandbox.live.signal(command.pid, Signal::Kill).await.unwrap();
    let run = finish(command).await;
    assert_eq!(run.status.signal, Some(9));
    let left = sandbox.sh("ps ax -o args 2>/dev/null || cat /proc/[0-9]*/cmdline | tr '\\0' ' '").await.stdout;
    assert!(!left.contains("sleep 1001") && !left.contains("sleep 1002"), "{left}");
    assert!(left.contains("sleep 1000"), "{left}");
    sandbox.live.signal(bystander.pid, Signal::Terminate).await.unwrap();
    let run = finish(bystander).await;
    assert_eq!(run.status.signal, Some(15), "{run:?}");
    sandbox.live.signal(4_000_000, Signal::Kill).await.unwrap();
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_daemon_that_holds_the_output_does_not_hold_the_end_and_outlives_it() {
    let sandbox = Fixture::new().await;
    let run = sandbox.sh("(while :; do echo tick; touch alive; sleep 0.05; done) & echo started").await;
    assert!(run.stdout.contains("started\n"));
    assert_eq!(run.status.code, Some(0));
    // The daemon goes on although nobody reads: its next round makes the file anew.
    sandbox.files.remove("alive").await.unwrap();
    let again = sandbox.sh("while [ ! -e alive ]; do sleep 0.02; done; echo seen").await;
    assert_eq!(again.stdout, "seen\n");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn a_flood_of_output_waits_for_its_reader_and_arrives_whole() {
    let sandbox = Fixture::new().await;
    let mut process = sandbox.start("head -c 20000000 /dev/zero; head -c 1000 /dev/zero >&2").await;
    let (mut out, mut err) = (0, 0);
    loop {
        match process.events.recv().await.unwrap() {
            ProcessEvent::Stdout(bytes) => out += bytes.len(),
            ProcessEvent::Stderr(bytes) => err += bytes.len(),
            ProcessEvent::End(status) => break assert_eq!(status.code, Some(0)),
        }
    }
    assert_eq!((out, err), (20_000_000, 1000));
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn an_unread_flood_does_not_hold_up_others_or_the_shutdown() {
    let sandbox = Fixture::new().await;
    let unread = sandbox.start("cat /dev/zero").await;
    assert_eq!(sandbox.sh("echo fine").await.stdout, "fine\n");
    sandbox.live.shutdown().await;
    drop(unread);
}

#[tokio::test]
async fn a_port_is_seen_and_reached_from_outside_while_something_listens() {
    let sandbox = Fixture::new().await;
    sandbox.write("server.js", SERVER).await;
    assert_eq!(sandbox.live.open_ports().await.unwrap(), Vec::<u16>::new());
    assert!(matches!(sandbox.live.connect(3123).await, Err(SandboxError::PortClosed(3123))));
    for host in ["127.0.0.1", "0.0.0.0", "::1"] {
        let mut server = sandbox.start(&format!("exec node server.js 3123 {host}")).await;
        assert_eq!(server.events.recv().await, Some(ProcessEvent::Stdout(Bytes::from_static(b"listening\n"))));
        assert_eq!(sandbox.live.open_ports().await.unwrap(), [3123]);
        for _ in 0..6 {
            let mut connection = sandbox.live.connect(3123).await.unwrap();
            connection.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("hello from inside"), "{answer}");
        }
        sandbox.live.signal(server.pid, Signal::Kill).await.unwrap();
        finish(server).await;
    }
    assert_eq!(sandbox.live.open_ports().await.unwrap(), Vec::<u16>::new());
    sandbox.live.shutdown().await;
}

const SERVER: &str = "require('http').createServer((q, r) => r.end('hello from inside'))
    .listen(+process.argv[2], process.argv[3], () => console.log('listening'))";

#[tokio::test]
async fn usage_counts_what_runs() {
    let sandbox = Fixture::new().await;
    let mut busy = sandbox.start("sleep 1000 & sleep 1001 & echo up; wait").await;
    busy.events.recv().await.unwrap();
    let usage = sandbox.live.usage().await.unwrap();
    assert!(usage.processes >= 3 && usage.memory > 0, "{usage:?}");
    sandbox.live.shutdown().await;
}

#[tokio::test]
async fn the_hosts_toolchains_work_inside() {
    let sandbox = Fixture::new().await;
    for tool in sandbox.provider.tools() {
        let run = sandbox.sh(&format!("command -v {0} && {0} {1}", tool.name, version_flag(&tool.name))).await;
        assert_eq!(run.status.code, Some(0), "{} does not run inside: {run:?}", tool.name);
        assert!(run.stdout.contains(&tool.version) || run.stderr.contains(&tool.version), "{tool:?}: {run:?}");
    }
    sandbox.live.shutdown().await;
}

fn version_flag(tool: &str) -> &'static str {
    if tool == "go" { "version" } else { "--version" }
}

#[tokio::test]
async fn python_makes_virtual_environments() {
    let sandbox = Fixture::new().await;
    if !sandbox.provider.tools().iter().any(|tool| tool.name == "python3") {
        return;
    }
    let line = "python3 -m venv env && . env/bin/activate && python -c 'import ssl, sys; print(sys.prefix)'";
    let run = tokio::time::timeout(Duration::from_secs(100), sandbox.sh(line)).await.unwrap();
    assert_eq!(run.stdout, "/home/user/env\n", "{run:?}");
    sandbox.live.shutdown().await;
}
