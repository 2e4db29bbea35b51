//! Bytes between a sandbox and the server: a forwarded port, and a flood of output.

use super::{Outcome, millis, quantile, report};
use sandcastle::sandbox::provider::{Instance, ProcessConfig, ProcessEvent};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const REQUESTS: usize = 500;
const PORT: u16 = 4000;
const FLOOD: u64 = 1 << 30;
/// A server that answers each connection with its first byte, once.
const ECHO: &str = "import socket\ns = socket.create_server(('127.0.0.1', 4000), backlog=512)\nprint('up', flush=True)\n\
                    while True:\n c, _ = s.accept(); c.sendall(c.recv(1)); c.close()";

/// A connection, a byte there and a byte back: through the sandbox's network and over plain loopback.
pub async fn forwarded_port(sandbox: &dyn Instance) -> Outcome<()> {
    let echo = |cmd: &str| ProcessConfig {
        cmd: cmd.to_owned(),
        args: vec!["-c".to_owned(), ECHO.to_owned()],
        ..ProcessConfig::default()
    };
    let mut inside = sandbox.spawn(echo("python3")).await?;
    inside.events.recv().await.ok_or("the server inside did not start")?;
    // The same program outside, on a port that the system chooses by the same number if it is free.
    let probe = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = probe.local_addr()?.port();
    drop(probe);
    let mut outside = tokio::process::Command::new("python3")
        .args(["-c", &ECHO.replace("4000", &port.to_string())])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    outside.stdout.take().ok_or("no output")?.read_u8().await?;
    let (mut forwarded, mut plain) = (Vec::new(), Vec::new());
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        ping(sandbox.connect(PORT).await?).await?;
        forwarded.push(begun.elapsed());
        let begun = Instant::now();
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        ping(stream).await?;
        plain.push(begun.elapsed());
    }
    let (forwarded, plain) = (quantile(&mut forwarded, 50), quantile(&mut plain, 50));
    let note = format!("{:.3} ms through a sandbox, {:.3} ms over plain loopback", millis(forwarded), millis(plain));
    report("forwarded port, added p50", forwarded.saturating_sub(plain), Some(0.1), &note);
    outside.kill().await?;
    Ok(())
}

async fn ping(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Outcome<()> {
    stream.write_all(b"x").await?;
    stream.read_u8().await?;
    Ok(())
}

/// A gibibyte of output, read as fast as it comes.
pub async fn flood(sandbox: &dyn Instance) -> Outcome<()> {
    let before = resident()?;
    let begun = Instant::now();
    let args = vec!["-c".to_owned(), FLOOD.to_string(), "/dev/zero".to_owned()];
    let mut process = sandbox.spawn(ProcessConfig { cmd: "head".to_owned(), args, ..ProcessConfig::default() }).await?;
    let mut received = 0;
    while let Some(event) = process.events.recv().await {
        match event {
            ProcessEvent::Stdout(bytes) => received += bytes.len() as u64,
            ProcessEvent::Stderr(_) => {}
            ProcessEvent::End(_) => break,
        }
    }
    let took = begun.elapsed();
    let rate = received as f64 / 1e6 / took.as_secs_f64();
    let grown = resident()?.saturating_sub(before) >> 10;
    let goal = Duration::from_secs_f64(FLOOD as f64 / 500e6);
    let note = format!("{rate:.0} MB/s (goal 500), the server grew by {grown} MiB");
    report("1 GiB of output drained", took, Some(millis(goal)), &note);
    if received == FLOOD { Ok(()) } else { Err(format!("{received} bytes arrived").into()) }
}

/// This process's memory in KiB.
fn resident() -> Outcome<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_ascii_whitespace().next().ok_or("no number")?.parse()?)
}
