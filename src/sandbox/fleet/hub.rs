//! The commands of one live sandbox. They belong to it and not to who started or watches them.

use super::output::{Output, Source, Viewer};
use crate::sandbox::SandboxError;
use crate::sandbox::entry::lock;
use crate::sandbox::provider::{Instance, Process, ProcessConfig, ProcessEvent, Signal, Terminal};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Commands that have ended and are remembered, and bytes of their output all together.
const ENDED_KEPT: usize = 256;
const ENDED_BYTES: usize = 32 << 20;

/// The commands of a sandbox.
pub struct Hub {
    instance: Arc<dyn Instance>,
    /// In the order of their start; the number also tells old from new where the system gives a pid again.
    commands: Mutex<BTreeMap<u64, Arc<Command>>>,
    tasks: TaskTracker,
}

/// A command that runs or has run.
pub struct Command {
    /// Its pid inside.
    pub pid: u32,
    /// What was asked for.
    pub config: ProcessConfig,
    /// The caller's name for it.
    pub tag: Option<String>,
    /// What it wrote and how it ended.
    pub output: Arc<Output>,
    /// Its terminal, if it has one.
    pub terminal: Option<Arc<dyn Terminal>>,
    stdin: Mutex<Option<mpsc::Sender<Bytes>>>,
}

/// Which command is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By its pid.
    Pid(u32),
    /// By the caller's name.
    Tag(String),
}

impl Hub {
    /// No commands yet.
    pub fn new(instance: Arc<dyn Instance>, tasks: TaskTracker) -> Self {
        Self { instance, commands: Mutex::default(), tasks }
    }

    /// Starts a command. Whoever starts it looks from the first byte on: one who came later would miss what a flood no
    /// longer keeps.
    pub async fn start(
        self: &Arc<Self>,
        config: ProcessConfig,
        tag: Option<String>,
    ) -> Result<(Arc<Command>, Viewer), SandboxError> {
        let has_terminal = config.terminal.is_some();
        let Process { pid, mut events, stdin, terminal } = self.instance.spawn(config.clone()).await?;
        let output = Arc::new(Output::new());
        let viewer = output.view(0);
        let stdin = Mutex::new(stdin);
        let command = Arc::new(Command { pid, config, tag, output: Arc::clone(&output), terminal, stdin });
        {
            let mut commands = lock(&self.commands);
            let number = commands.last_key_value().map_or(0, |(number, _)| number + 1);
            commands.insert(number, Arc::clone(&command));
        }
        let hub = Arc::clone(self);
        self.tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    ProcessEvent::Stdout(bytes) if has_terminal => output.add(Source::Terminal, bytes).await,
                    ProcessEvent::Stdout(bytes) => output.add(Source::Stdout, bytes).await,
                    ProcessEvent::Stderr(bytes) => output.add(Source::Stderr, bytes).await,
                    ProcessEvent::End(status) => {
                        output.end(status);
                        break;
                    }
                }
            }
            // The provider always tells an end; without one the sandbox is gone.
            if output.ended().is_none() {
                output.end(Default::default());
            }
            hub.forget_old();
        });
        Ok((command, viewer))
    }

    /// Commands that run.
    pub fn running(&self) -> Vec<Arc<Command>> {
        lock(&self.commands).values().filter(|command| command.output.ended().is_none()).cloned().collect()
    }

    /// The command that is meant, running or ended; the latest of several.
    pub fn find(&self, selector: &Selector) -> Option<Arc<Command>> {
        let commands = lock(&self.commands);
        let mut latest = commands.values().rev();
        latest
            .find(|command| match selector {
                Selector::Pid(pid) => command.pid == *pid,
                Selector::Tag(tag) => command.tag.as_ref() == Some(tag),
            })
            .cloned()
    }

    /// Sends a signal to a command and all it started.
    pub async fn signal(&self, command: &Command, signal: Signal) -> Result<(), SandboxError> {
        self.instance.signal(command.pid, signal).await
    }

    /// Kills a command at that time if it still runs, unless the token is cancelled before.
    pub fn end_at(self: &Arc<Self>, command: &Arc<Command>, until: Instant) -> CancellationToken {
        let spared = CancellationToken::new();
        let (hub, command, closed, token) =
            (Arc::clone(self), Arc::clone(command), self.instance.closed(), spared.clone());
        self.tasks.spawn(async move {
            tokio::select! {
                () = command.output.until_end() => {}
                () = closed.cancelled() => {}
                () = token.cancelled() => {}
                () = tokio::time::sleep_until(until) => {
                    // A sandbox that is gone has no processes to kill.
                    let _ = hub.signal(&command, Signal::Kill).await;
                }
            }
        });
        spared
    }

    fn forget_old(&self) {
        let mut commands = lock(&self.commands);
        let ended: Vec<(u64, usize)> = commands
            .iter()
            .filter(|(_, command)| command.output.ended().is_some())
            .map(|(number, command)| (*number, command.output.size()))
            .collect();
        let (mut count, mut bytes) = (ended.len(), ended.iter().map(|(_, size)| size).sum::<usize>());
        for (number, size) in ended {
            if count <= ENDED_KEPT && bytes <= ENDED_BYTES {
                break;
            }
            commands.remove(&number);
            count -= 1;
            bytes -= size;
        }
    }
}

impl Command {
    /// Sends input; waits while the command does not read. False if its stdin is closed.
    pub async fn input(&self, bytes: Bytes) -> bool {
        let sender = lock(&self.stdin).clone();
        match sender {
            Some(sender) => sender.send(bytes).await.is_ok(),
            None => false,
        }
    }

    /// Closes stdin. False if it was not open.
    pub fn close_stdin(&self) -> bool {
        lock(&self.stdin).take().is_some()
    }

    /// Looks at its output from a byte on.
    pub fn view(&self, from: u64) -> Viewer {
        self.output.view(from)
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::{KEPT, Seen};
    use super::*;
    use crate::domain::SandboxId;
    use crate::sandbox::provider::{Connection, ExitStatus, SandboxUsage};
    use async_trait::async_trait;

    /// Whatever is started here has written all and ended before anybody can look.
    struct Flooding(SandboxId);

    #[async_trait]
    impl Instance for Flooding {
        fn id(&self) -> &SandboxId {
            &self.0
        }

        async fn spawn(&self, _: ProcessConfig) -> Result<Process, SandboxError> {
            let (sender, events) = mpsc::channel(9);
            for byte in 0..8 {
                sender.try_send(ProcessEvent::Stdout(vec![byte; KEPT / 2].into())).unwrap();
            }
            sender.try_send(ProcessEvent::End(ExitStatus::default())).unwrap();
            Ok(Process { pid: 7, events, stdin: None, terminal: None })
        }

        async fn signal(&self, _: u32, _: Signal) -> Result<(), SandboxError> {
            Ok(())
        }

        async fn open_ports(&self) -> Result<Vec<u16>, SandboxError> {
            Ok(Vec::new())
        }

        async fn connect(&self, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
            Err(SandboxError::Invalid(format!("nothing listens on {port}")))
        }

        async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
            Ok(SandboxUsage::default())
        }

        fn closed(&self) -> CancellationToken {
            CancellationToken::new()
        }

        fn death(&self) -> Option<String> {
            None
        }

        async fn shutdown(&self) {}
    }

    #[tokio::test]
    async fn who_starts_a_command_misses_nothing_however_fast_it_writes() {
        let hub = Arc::new(Hub::new(
            Arc::new(Flooding(SandboxId::parse("i1234567890abcdefghi").unwrap())),
            TaskTracker::new(),
        ));
        let (_command, mut viewer) = hub.start(ProcessConfig::default(), None).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let mut seen = 0;
        while let Seen::Output(_, bytes) = viewer.next().await {
            seen += bytes.len();
        }
        assert_eq!(seen, 4 * KEPT);
    }
}
