//! The background commands that should be running, remembered beside the workspace.
//!
//! A command is on the list from its start until it ends by itself or is stopped. The death of the sandbox or of the
//! server does not take it off: when the sandbox wakes, these are started again.

use crate::domain::{CallId, CommandId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A command to start again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Resumable {
    /// The command it was last time.
    pub(super) command: CommandId,
    /// Command line.
    pub(super) line: String,
    /// Working directory relative to the workspace.
    pub(super) cwd: String,
    /// Its environment.
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    /// The tool call that asked for it.
    #[serde(default)]
    pub(super) call: Option<CallId>,
}

/// The list of one project, in memory and in its file.
#[derive(Debug)]
pub(super) struct ResumeList {
    path: PathBuf,
    list: Mutex<Vec<Resumable>>,
}

impl ResumeList {
    /// Reads the list. A missing file is an empty list, and so is a damaged one: losing it costs a restart by hand.
    pub(super) fn load(path: PathBuf) -> Self {
        let list = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "the list of background commands is damaged and starts empty");
                Vec::new()
            }),
            Err(_) => Vec::new(),
        };
        Self { path, list: Mutex::new(list) }
    }

    /// Adds a command.
    pub(super) fn add(&self, entry: Resumable) {
        self.change(|list| {
            list.retain(|have| have.line != entry.line || have.cwd != entry.cwd);
            list.push(entry);
        });
    }

    /// Takes a command off.
    pub(super) fn remove(&self, command: &CommandId) {
        self.change(|list| list.retain(|have| have.command != *command));
    }

    /// The commands, in the order they were started.
    pub(super) fn entries(&self) -> Vec<Resumable> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    // The file is a few hundred bytes and changes when a dev server starts or ends: written in place of a hop to a
    // blocking thread, so that the order of changes is the order in the file.
    fn change(&self, change: impl FnOnce(&mut Vec<Resumable>)) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let before = list.clone();
        change(&mut list);
        if *list != before
            && let Err(error) = store(&self.path, &list)
        {
            tracing::warn!(%error, "the list of background commands is not kept");
        }
    }
}

fn store(path: &Path, list: &[Resumable]) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, serde_json::to_vec(list)?)?;
    std::fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_survives_and_holds_each_command_line_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resume.json");
        let list = ResumeList::load(path.clone());
        let entry = |n: u32| Resumable {
            command: CommandId::parse(format!("cmd_{n}")).unwrap(),
            line: "npm run dev".to_owned(),
            cwd: String::new(),
            env: BTreeMap::new(),
            call: None,
        };
        list.add(entry(1));
        list.add(entry(2));
        assert_eq!(ResumeList::load(path.clone()).entries(), [entry(2)]);
        list.remove(&entry(2).command);
        assert!(ResumeList::load(path).entries().is_empty());
    }
}
