//! How commands start in a live sandbox. They belong to it and not to who started or watches them.

use super::command::Command;
use super::commands::{Commands, Selector};
use super::output::Viewer;
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{Instance, ProcessConfig, Signal};
use std::sync::Arc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What starts and ends the commands of a sandbox.
pub struct Hub {
    instance: Arc<dyn Instance>,
    commands: Arc<Commands>,
    tasks: TaskTracker,
}

impl Hub {
    /// A hub for a sandbox's processes, beside commands that it may have run before.
    pub fn new(instance: Arc<dyn Instance>, commands: Arc<Commands>, tasks: TaskTracker) -> Self {
        Self { instance, commands, tasks }
    }

    /// Starts a command. Whoever starts it looks from the first byte on: one who came later might miss what a flood no
    /// longer keeps.
    pub async fn start(
        self: &Arc<Self>,
        config: ProcessConfig,
        tag: Option<String>,
    ) -> Result<(Arc<Command>, Viewer), SandboxError> {
        let process = self.instance.spawn(config.clone()).await?;
        let (command, events) = Command::new(config, tag, process, self.commands.output());
        let viewer = command.view(0);
        let command = Arc::new(command);
        self.commands.add(&command);
        let (commands, started) = (Arc::clone(&self.commands), Arc::clone(&command));
        self.tasks.spawn(async move {
            started.run(events).await;
            commands.ended(started).await;
        });
        Ok((command, viewer))
    }

    /// Commands that run.
    pub fn running(&self) -> Vec<Arc<Command>> {
        self.commands.running()
    }

    /// The command that is meant, running or ended; the latest of several.
    pub fn find(&self, selector: &Selector) -> Option<Arc<Command>> {
        self.commands.find(selector)
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
}

#[cfg(test)]
mod tests {
    use super::super::output::{KEPT, Seen, Spool};
    use super::*;
    use crate::domain::SandboxId;
    use crate::sandbox::provider::{Connection, ExitStatus, Process, ProcessEvent, SandboxUsage};
    use async_trait::async_trait;
    use tokio::sync::mpsc;

    /// Whatever is started here has written all, so many half MiB, and ended before anybody can look.
    struct Flooding(SandboxId, u8);

    #[async_trait]
    impl Instance for Flooding {
        fn id(&self) -> &SandboxId {
            &self.0
        }

        async fn spawn(&self, _: ProcessConfig) -> Result<Process, SandboxError> {
            let (sender, events) = mpsc::channel(9);
            for byte in 0..self.1 {
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

    fn hub(dir: &std::path::Path, limit: u64, halves: u8) -> Arc<Hub> {
        let instance = Flooding(SandboxId::parse("i1234567890abcdefghi").unwrap(), halves);
        let commands = Arc::new(Commands::new(Spool::new(dir.to_owned(), limit, 0)));
        Arc::new(Hub::new(Arc::new(instance), commands, TaskTracker::new()))
    }

    async fn read(viewer: &mut Viewer) -> usize {
        let mut seen = 0;
        while let Seen::Output(_, bytes) = viewer.next().await {
            seen += bytes.len();
        }
        seen
    }

    #[tokio::test]
    async fn who_starts_a_command_misses_nothing_however_fast_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), 2 * KEPT as u64, 8);
        let (command, mut viewer) = hub.start(ProcessConfig::default(), None).await.unwrap();
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(read(&mut viewer).await, 4 * KEPT);
        assert!(command.view(0).from > 0, "there was no room for all of it");
    }

    #[tokio::test]
    async fn the_output_of_ended_commands_leaves_memory_and_is_still_there() {
        let dir = tempfile::tempdir().unwrap();
        let hub = hub(dir.path(), 64 * KEPT as u64, 1);
        let mut all = Vec::new();
        for _ in 0..20 {
            let config = ProcessConfig { stdin: true, ..ProcessConfig::default() };
            let (command, mut viewer) = hub.start(config, Some("of its kind".to_owned())).await.unwrap();
            assert_eq!(read(&mut viewer).await, KEPT / 2);
            while command.config().is_some() {
                tokio::task::yield_now().await;
            }
            all.push(command);
        }
        hub.tasks.close();
        hub.tasks.wait().await;
        let memory: usize = all.iter().map(|command| command.output.memory()).sum();
        assert!(memory <= 5 * KEPT && memory > 0, "{memory}");
        for command in &all {
            assert_eq!(read(&mut command.view(0)).await, KEPT / 2);
        }
        assert!(Arc::ptr_eq(&hub.find(&Selector::Tag("of its kind".to_owned())).unwrap(), &all[19]));
        hub.commands.give_up().await;
        assert_eq!(all[0].view(0).next().await, Seen::End(ExitStatus::default()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "a deleted sandbox leaves nothing");
    }
}
