//! One command's output: from its pipes to its reader, and the end at the moment the command itself ends.
//!
//! A daemon may hold the pipes for ever. So the end comes with the exit, after what is already in the pipes, and from
//! then on output is swallowed, so that the daemon does not die of a closed pipe.

use crate::sandbox::provider::{ExitStatus, ProcessEvent};
use bytes::Bytes;
use std::io;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Output events waiting for a reader; then the pipe fills and the command waits.
pub const BACKLOG: usize = 16;
/// One read.
const CHUNK: usize = 32 * 1024;
/// The most taken from a pipe after the command ended: all a pipe holds, unless something else goes on writing.
const REST: usize = 1024 * 1024;

/// The pipes of a command.
pub struct Output {
    /// Its standard output.
    pub stdout: pipe::Receiver,
    /// Its standard error.
    pub stderr: pipe::Receiver,
}

/// Forwards output until the command ends, sends the end, then swallows what daemons write until `closed`.
pub async fn pump(
    output: Output,
    exit: oneshot::Receiver<ExitStatus>,
    events: mpsc::Sender<ProcessEvent>,
    closed: CancellationToken,
) {
    let Output { mut stdout, mut stderr } = output;
    // Reserved now, so that the end is told even to a reader who has stopped reading.
    let end = events.clone().reserve_owned().await;
    let (mut out, mut err) = (vec![0; CHUNK], vec![0; CHUNK]);
    let (mut out_open, mut err_open) = (true, true);
    tokio::pin!(exit);
    let status = loop {
        let event = tokio::select! {
            status = &mut exit => break status.unwrap_or_default(),
            read = stdout.read(&mut out), if out_open => event(read, &out, ProcessEvent::Stdout, &mut out_open),
            read = stderr.read(&mut err), if err_open => event(read, &err, ProcessEvent::Stderr, &mut err_open),
        };
        if let Some(event) = event {
            deliver(&events, event, &closed).await;
        }
    };
    for (event, pipe) in [(ProcessEvent::Stdout as fn(Bytes) -> _, &stdout), (ProcessEvent::Stderr, &stderr)] {
        rest(pipe, &mut out, &events, event, &closed).await;
    }
    drop(events);
    if let Ok(end) = end {
        end.send(ProcessEvent::End(status));
    }
    while out_open || err_open {
        tokio::select! {
            () = closed.cancelled() => return,
            read = stdout.read(&mut out), if out_open => out_open = matches!(read, Ok(1..)),
            read = stderr.read(&mut err), if err_open => err_open = matches!(read, Ok(1..)),
        }
    }
}

/// Waits for a slow reader while the sandbox lives. A reader that went away does not end the command: what it writes
/// is swallowed.
async fn deliver(events: &mpsc::Sender<ProcessEvent>, event: ProcessEvent, closed: &CancellationToken) {
    tokio::select! {
        biased;
        _ = events.send(event) => {}
        () = closed.cancelled() => {}
    }
}

fn event(
    read: io::Result<usize>,
    buffer: &[u8],
    wrap: fn(Bytes) -> ProcessEvent,
    open: &mut bool,
) -> Option<ProcessEvent> {
    let chunk = read.ok().filter(|length| *length > 0).and_then(|length| buffer.get(..length));
    *open = chunk.is_some();
    chunk.map(|chunk| wrap(Bytes::copy_from_slice(chunk)))
}

/// What is in the pipe now.
async fn rest(
    pipe: &pipe::Receiver,
    buffer: &mut [u8],
    events: &mpsc::Sender<ProcessEvent>,
    wrap: fn(Bytes) -> ProcessEvent,
    closed: &CancellationToken,
) {
    let mut taken = 0;
    while taken < REST {
        let length = match read_now(pipe, buffer) {
            Ok(length @ 1..) => length,
            _ => return,
        };
        taken += length;
        if let Some(chunk) = buffer.get(..length) {
            deliver(events, wrap(Bytes::copy_from_slice(chunk)), closed).await;
        }
    }
}

/// Reads past tokio's idea of readiness, which may lag behind what the command wrote last.
fn read_now(pipe: &pipe::Receiver, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(pipe, &mut *buffer) {
            Err(rustix::io::Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

/// Writes what the caller sends to the command's stdin; closes it when the caller hangs up.
pub async fn feed(mut stdin: pipe::Sender, mut input: mpsc::Receiver<Bytes>, closed: CancellationToken) {
    loop {
        let bytes = tokio::select! {
            () = closed.cancelled() => return,
            bytes = input.recv() => bytes,
        };
        let Some(bytes) = bytes else { return };
        tokio::select! {
            () = closed.cancelled() => return,
            written = stdin.write_all(&bytes) => if written.is_err() { return },
        }
    }
}
