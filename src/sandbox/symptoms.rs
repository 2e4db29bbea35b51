//! What a background command's output and end say about the app: found line by line, told with the lines around.

use super::command::Command;
use super::entry::{Entry, Live};
use super::faults::{SeenFault, looks_wrong, named};
use super::output::{self, LogFrom};
use super::probe::plain;
use super::service::Inner;
use crate::domain::{CommandExit, FaultKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// After an error's first line the rest of it is waited for.
const REST: Duration = Duration::from_millis(700);
/// Bytes of output that go with a fault.
const AROUND: u64 = 3000;
/// The longest line that is looked at, in bytes.
const LINE_MAX: usize = 4096;

/// Reads a background command's output as it comes.
#[derive(Default)]
pub(super) struct Symptoms {
    line: Vec<u8>,
    /// The numbers of its first byte and of the next to come, as in the log.
    began: u64,
    taken: u64,
    /// Whether an error was found whose rest is being waited for.
    pending: Arc<AtomicBool>,
}

impl Symptoms {
    /// Takes output. An error is reported once its rest has come; what follows within that time belongs to it.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        inner: &Arc<Inner>,
        entry: &Arc<Entry>,
        live: &Live,
        command: &Command,
    ) {
        for byte in bytes {
            self.taken += 1;
            if *byte != b'\n' {
                if self.line.len() < LINE_MAX {
                    self.line.push(*byte);
                }
                continue;
            }
            let line = plain(&String::from_utf8_lossy(&std::mem::take(&mut self.line)));
            let began = std::mem::replace(&mut self.began, self.taken);
            if looks_wrong(&line) && !self.pending.swap(true, Ordering::AcqRel) {
                let (inner, entry, pending) = (Arc::clone(inner), Arc::clone(entry), Arc::clone(&self.pending));
                let dir = entry.log_dir(&command.id);
                live.tasks.spawn(async move {
                    tokio::time::sleep(REST).await;
                    let detail = some_output(dir, LogFrom::Offset(began)).await;
                    pending.store(false, Ordering::Release);
                    if let Some(title) = named(line.trim(), &detail) {
                        inner.faults.report(SeenFault::new(&entry.project, FaultKind::Output, title, &detail));
                    }
                });
            }
        }
    }
}

/// Reports a background command that ended by itself although it should run.
pub(super) async fn report_end(inner: &Inner, entry: &Entry, command: &Command, line: &str, exit: &CommandExit) {
    let text = some_output(entry.log_dir(&command.id), LogFrom::Tail(AROUND)).await;
    let title = format!("{line}: {}", exit.describe());
    inner.faults.report(SeenFault::new(&entry.project, FaultKind::Exit, &title, &text));
}

async fn some_output(dir: std::path::PathBuf, from: LogFrom) -> String {
    let read = tokio::task::spawn_blocking(move || output::read(&dir, from, AROUND, false)).await;
    read.ok().and_then(Result::ok).map(|slice| plain(&slice.text)).unwrap_or_default()
}
