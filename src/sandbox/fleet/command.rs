//! One command of a sandbox: what it was asked for while it runs, its output for as long as it is remembered.

use super::output::{Output, Source, Viewer};
use crate::sandbox::entry::lock;
use crate::sandbox::provider::{Process, ProcessConfig, ProcessEvent, Terminal};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// A command that runs or has run.
pub struct Command {
    /// Its pid inside.
    pub pid: u32,
    /// The caller's name for it.
    pub tag: Option<String>,
    /// What it wrote and how it ended.
    pub output: Arc<Output>,
    /// Whether it has or had a terminal.
    pub has_terminal: bool,
    running: Mutex<Option<Running>>,
}

/// What is there of a command as long as it runs.
struct Running {
    config: Arc<ProcessConfig>,
    terminal: Option<Arc<dyn Terminal>>,
    stdin: Option<mpsc::Sender<Bytes>>,
}

impl Command {
    /// One that has started, and where its output comes from.
    pub(super) fn new(
        config: ProcessConfig,
        tag: Option<String>,
        process: Process,
        output: Arc<Output>,
    ) -> (Self, mpsc::Receiver<ProcessEvent>) {
        let Process { pid, events, stdin, terminal } = process;
        let has_terminal = config.terminal.is_some();
        let running = Mutex::new(Some(Running { config: Arc::new(config), terminal, stdin }));
        (Self { pid, tag, output, has_terminal, running }, events)
    }

    /// Takes output until the end.
    pub(super) async fn run(&self, mut events: mpsc::Receiver<ProcessEvent>) {
        let stdout = if self.has_terminal { Source::Terminal } else { Source::Stdout };
        while let Some(event) = events.recv().await {
            match event {
                ProcessEvent::Stdout(bytes) => self.output.add(stdout, &bytes).await,
                ProcessEvent::Stderr(bytes) => self.output.add(Source::Stderr, &bytes).await,
                ProcessEvent::End(status) => {
                    self.output.end(status);
                    break;
                }
            }
        }
        // The provider always tells an end; without one the sandbox is gone.
        if self.output.ended().is_none() {
            self.output.end(Default::default());
        }
        lock(&self.running).take();
    }

    /// What was asked for, as long as it runs.
    pub fn config(&self) -> Option<Arc<ProcessConfig>> {
        lock(&self.running).as_ref().map(|running| Arc::clone(&running.config))
    }

    /// Its terminal, if it has one and runs.
    pub fn terminal(&self) -> Option<Arc<dyn Terminal>> {
        lock(&self.running).as_ref().and_then(|running| running.terminal.clone())
    }

    /// Sends input; waits while the command does not read. False if its stdin is closed.
    pub async fn input(&self, bytes: Bytes) -> bool {
        let sender = lock(&self.running).as_ref().and_then(|running| running.stdin.clone());
        match sender {
            Some(sender) => sender.send(bytes).await.is_ok(),
            None => false,
        }
    }

    /// Closes stdin. False if it was not open.
    pub fn close_stdin(&self) -> bool {
        lock(&self.running).as_mut().is_some_and(|running| running.stdin.take().is_some())
    }

    /// Looks at its output from a byte on.
    pub fn view(&self, from: u64) -> Viewer {
        self.output.view(from)
    }
}
