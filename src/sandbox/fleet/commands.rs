//! The commands that a sandbox runs and has run. They are remembered as long as it lives, also where its processes are
//! lost; it must not know how they start.

use super::command::Command;
use super::output::{Output, Spool};
use crate::sandbox::entry::lock;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Commands that have ended and are remembered.
const ENDED_KEPT: usize = 10_000;
/// Bytes of their output in memory, all together; more is moved to the spool.
const ENDED_BYTES: usize = 4 << 20;

/// The commands of a sandbox.
pub struct Commands {
    list: Mutex<List>,
    spool: Arc<Spool>,
    /// Held while ended commands are moved and forgotten.
    tidies: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct List {
    /// In the order of their start; the number also tells old from new where the system gives a pid again.
    all: BTreeMap<u64, Arc<Command>>,
    /// In the order of their end.
    ended: VecDeque<Arc<Command>>,
    /// How many of the first ones have no output in memory any more, and how much the others have.
    moved: usize,
    bytes: usize,
}

/// Which command is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By its pid.
    Pid(u32),
    /// By the caller's name.
    Tag(String),
}

impl Commands {
    /// None yet. Their old output goes to this spool.
    pub fn new(spool: Spool) -> Self {
        Self { list: Mutex::default(), spool: Arc::new(spool), tidies: Default::default() }
    }

    /// Where output of one that starts goes.
    pub(super) fn output(&self) -> Arc<Output> {
        Arc::new(Output::new(&self.spool))
    }

    /// Takes in one that has started.
    pub(super) fn add(&self, command: &Arc<Command>) {
        lock(&self.list).all.insert(command.output.number(), Arc::clone(command));
    }

    /// Commands that run.
    pub fn running(&self) -> Vec<Arc<Command>> {
        lock(&self.list).all.values().filter(|command| command.output.ended().is_none()).cloned().collect()
    }

    /// The command that is meant, running or ended; the latest of several.
    pub fn find(&self, selector: &Selector) -> Option<Arc<Command>> {
        let list = lock(&self.list);
        let mut latest = list.all.values().rev();
        latest
            .find(|command| match selector {
                Selector::Pid(pid) => command.pid == *pid,
                Selector::Tag(tag) => command.tag.as_ref() == Some(tag),
            })
            .cloned()
    }

    /// Takes in a command that has ended: those that ended first are forgotten where there are too many, and their
    /// output is moved to the spool where it takes too much memory.
    pub(super) async fn ended(&self, command: Arc<Command>) {
        let _alone = self.tidies.lock().await;
        let forgotten = lock(&self.list).take_in(command);
        if forgotten.is_some() {
            off_the_runtime(move || drop(forgotten)).await;
        }
        while let Some(output) = self.next_to_move() {
            let size = output.memory();
            if !output.store(usize::MAX).await {
                off_the_runtime(move || output.give_up()).await;
            }
            let mut list = lock(&self.list);
            list.moved += 1;
            list.bytes -= size;
        }
    }

    fn next_to_move(&self) -> Option<Arc<Output>> {
        let list = lock(&self.list);
        let next = list.ended.get(list.moved).filter(|_| list.bytes > ENDED_BYTES);
        next.map(|command| Arc::clone(&command.output))
    }

    /// Gives up all output, because the sandbox is deleted.
    pub async fn give_up(&self) {
        self.spool.close();
        let all: Vec<Arc<Command>> = lock(&self.list).all.values().cloned().collect();
        off_the_runtime(move || all.iter().for_each(|command| command.output.give_up())).await;
    }
}

impl List {
    /// The command that is forgotten for it, if there are too many.
    fn take_in(&mut self, command: Arc<Command>) -> Option<Arc<Command>> {
        self.bytes += command.output.memory();
        self.ended.push_back(command);
        if self.ended.len() <= ENDED_KEPT {
            return None;
        }
        let oldest = self.ended.pop_front()?;
        match self.moved.checked_sub(1) {
            Some(moved) => self.moved = moved,
            None => self.bytes -= oldest.output.memory(),
        }
        self.all.remove(&oldest.output.number())
    }
}

/// Does what may be work for the disk.
async fn off_the_runtime(work: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(%error, "old output of commands is not cleared away");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::provider::{Process, ProcessConfig};
    use tokio::sync::mpsc;

    #[test]
    fn beyond_ten_thousand_the_command_that_ended_first_is_forgotten() {
        let spool = Arc::new(Spool::new("nowhere".into(), 0, 0));
        let mut list = List::default();
        for pid in 0..u32::try_from(ENDED_KEPT).unwrap() + 3 {
            let process = Process { pid, events: mpsc::channel(1).1, stdin: None, terminal: None };
            let output = Arc::new(Output::new(&spool));
            let command = Arc::new(Command::new(ProcessConfig::default(), None, process, output).0);
            list.all.insert(command.output.number(), Arc::clone(&command));
            let forgotten = list.take_in(command).map(|command| command.pid);
            assert_eq!(forgotten, usize::try_from(pid).unwrap().checked_sub(ENDED_KEPT).map(|pid| pid as u32));
        }
        assert_eq!((list.all.len(), list.ended.len()), (ENDED_KEPT, ENDED_KEPT));
    }
}
