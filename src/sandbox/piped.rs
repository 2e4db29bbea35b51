//! Commands whose stdin and stdout belong to whoever started them. What they write to stderr, their limits and their
//! end are those of any command. It must not know what is said through the pipes.

use super::SandboxError;
use super::command::{CommandSpec, checked};
use super::entry::Live;
use super::provider::{Process, ProcessEvent};
use super::service::Service;
use crate::domain::{CommandId, ProjectId};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Pieces of output waiting for a reader; then the command waits.
const BACKLOG: usize = 16;

/// A command and its pipes.
#[derive(Debug)]
pub struct Piped {
    /// The command, to be waited for and stopped like any other.
    pub command: CommandId,
    /// Its stdin, which ends when this is dropped.
    pub stdin: mpsc::Sender<Bytes>,
    /// Its stdout, which is not logged. A slow reader slows the command; after a drop the rest is swallowed.
    pub stdout: mpsc::Receiver<Bytes>,
}

impl Service {
    /// Starts a foreground command with pipes, waking or creating the sandbox for it.
    pub async fn start_piped(&self, project: &ProjectId, spec: CommandSpec) -> Result<Piped, SandboxError> {
        // It would be started again with the sandbox, and then nobody would hold its pipes.
        let spec = CommandSpec { background: false, ..checked(spec)? };
        let entry = self.inner.entry(project).await?;
        let live = self.up(&entry).await?;
        let (command, pipes) = self.inner.begin(&entry, &live, spec, true).await?;
        let Pipes { stdin, stdout } = pipes.ok_or_else(|| SandboxError::Io("it has no pipes".to_owned()))?;
        Ok(Piped { command, stdin, stdout })
    }
}

/// The ends of a process's pipes that its starter holds.
pub(super) struct Pipes {
    stdin: mpsc::Sender<Bytes>,
    stdout: mpsc::Receiver<Bytes>,
}

impl Pipes {
    /// Takes the pipes from a process that has just started; to its supervisor it leaves the rest.
    pub(super) fn of(process: &mut Process, live: &Live) -> Self {
        let stdin = process.stdin.take().unwrap_or_else(|| mpsc::channel(1).0);
        let (caller, stdout) = mpsc::channel(BACKLOG);
        let (log, events) = mpsc::channel(BACKLOG);
        let output = std::mem::replace(&mut process.events, events);
        live.tasks.spawn(divert(output, caller, log, live.instance.closed()));
        Self { stdin, stdout }
    }
}

/// Brings stdout to the caller, all else to the command's supervisor. A caller who does not read holds up neither the
/// end of the sandbox nor that of the command once its supervisor has gone.
async fn divert(
    mut output: mpsc::Receiver<ProcessEvent>,
    caller: mpsc::Sender<Bytes>,
    log: mpsc::Sender<ProcessEvent>,
    closed: CancellationToken,
) {
    while let Some(event) = output.recv().await {
        match event {
            ProcessEvent::Stdout(bytes) => tokio::select! {
                _nobody_reads = caller.send(bytes) => {}
                () = log.closed() => {}
                () = closed.cancelled() => {}
            },
            event => tokio::select! {
                _nobody_logs = log.send(event) => {}
                () = closed.cancelled() => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::provider::ExitStatus;

    #[tokio::test]
    async fn the_caller_gets_stdout_and_the_log_the_rest() {
        let (process, output) = mpsc::channel(4);
        let (caller, mut stdout) = mpsc::channel(4);
        let (log, mut events) = mpsc::channel(4);
        let end = ProcessEvent::End(ExitStatus::default());
        for event in [ProcessEvent::Stdout("said".into()), ProcessEvent::Stderr("logged".into()), end.clone()] {
            process.send(event).await.unwrap();
        }
        drop(process);
        divert(output, caller, log, CancellationToken::new()).await;
        assert_eq!(stdout.recv().await, Some(Bytes::from("said")));
        assert_eq!(stdout.recv().await, None);
        assert_eq!(events.recv().await, Some(ProcessEvent::Stderr("logged".into())));
        assert_eq!(events.recv().await, Some(end));
    }

    #[tokio::test]
    async fn a_caller_who_does_not_read_holds_nothing_up_for_good() {
        let (process, output) = mpsc::channel(4);
        let (caller, _unread) = mpsc::channel(1);
        let (log, events) = mpsc::channel(4);
        for _ in 0..3 {
            process.send(ProcessEvent::Stdout("much".into())).await.unwrap();
        }
        drop((process, events));
        divert(output, caller, log, CancellationToken::new()).await;
    }
}
