//! What is known of the two sides of a workspace: what was inside when its copy was made here.

use super::manifest::{Manifest, Remote};
use super::transfer::FILE_MAX;
use crate::domain::FileKind;
use crate::sandbox::provider::EntryInfo;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;

/// All entries that are on both sides.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Index {
    /// By path.
    pub entries: BTreeMap<String, Known>,
    /// Whether there are more inside.
    #[serde(default)]
    pub truncated: bool,
}

/// An entry as it was on both sides when they were the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// Inside.
    #[serde(flatten)]
    pub remote: Remote,
    /// Here; none for what is no file, and for files that are too large.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
}

/// A file here. It was not touched if this is the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Size in bytes.
    pub size: u64,
    /// Last change (Unix ms).
    pub changed_at: u64,
}

impl Known {
    /// A file that was just written on both sides.
    pub fn written(info: &EntryInfo) -> Self {
        let remote =
            Remote { kind: info.kind, size: info.size, mode: info.mode, modified: String::new(), target: None };
        Self { remote, local: Some(Local::of(info)) }
    }
}

impl Local {
    /// What identifies it.
    pub fn of(info: &EntryInfo) -> Self {
        Self { size: info.size, changed_at: info.modified_at }
    }
}

impl Index {
    /// Reads it. Without one, or with a damaged one, everything here is sent again, which is slower and nothing else.
    pub async fn load(path: PathBuf) -> Self {
        let read = move || -> io::Result<Self> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
        tokio::task::spawn_blocking(read).await.map_err(io::Error::other).and_then(|read| read).unwrap_or_default()
    }

    /// Writes it.
    pub async fn save(&self, path: PathBuf) -> io::Result<()> {
        let json = serde_json::to_vec(self)?;
        let write = move || {
            let temporary = path.with_extension("tmp");
            std::fs::write(&temporary, json)?;
            std::fs::rename(&temporary, path)
        };
        tokio::task::spawn_blocking(write).await.map_err(io::Error::other)?
    }

    /// What is not inside any more, or is of another kind now. Where there is `more` inside than was looked at, what
    /// was not seen is not gone.
    pub fn gone(&self, manifest: &Manifest, more: bool) -> Vec<String> {
        let gone = |(path, known): (&String, &Known)| {
            let gone = manifest.get(path).map_or(!more, |remote| remote.kind != known.remote.kind);
            gone.then(|| path.clone())
        };
        self.entries.iter().filter_map(gone).collect()
    }

    /// Files that stay inside for their size.
    pub fn large(&self) -> BTreeMap<String, EntryInfo> {
        let large = self.entries.iter().filter(|(_, known)| is_large(&known.remote));
        let info = |(path, known): (&String, &Known)| {
            let info = EntryInfo {
                path: path.clone(),
                kind: FileKind::File,
                size: known.remote.size,
                mode: known.remote.mode,
                modified_at: 0,
                symlink_target: None,
            };
            (path.clone(), info)
        };
        large.map(info).collect()
    }
}

fn is_large(remote: &Remote) -> bool {
    remote.kind == FileKind::File && remote.size > FILE_MAX
}

/// What was done here while there was no sandbox, or in a folder that never had one.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// To be written inside.
    pub entries: Vec<EntryInfo>,
    /// To be removed inside first; of a tree its root.
    pub removed: Vec<String>,
}

/// Compares the folder with what was inside. What can be rebuilt is left alone on both sides. Where there is `more` here
/// than was looked at, what was not seen is not gone.
pub fn local_changes(disk: Vec<EntryInfo>, more: bool, index: &Index, skip: &[String]) -> Push {
    let skipped = |path: &str| path.split('/').any(|part| skip.iter().any(|name| name == part));
    let here: BTreeMap<&str, FileKind> = disk.iter().map(|info| (info.path.as_str(), info.kind)).collect();
    let gone = |(path, known): (&String, &Known)| {
        let here = here.get(path.as_str());
        let gone = !is_large(&known.remote) && here.map_or(!more, |kind| *kind != known.remote.kind);
        (gone && !skipped(path)).then(|| path.clone())
    };
    let gone: BTreeSet<String> = index.entries.iter().filter_map(gone).collect();
    let below_gone = |path: &str| path.match_indices('/').any(|(at, _)| gone.contains(&path[..at]));
    let removed = gone.iter().filter(|path| !below_gone(path)).cloned().collect();
    let is_new = |info: &EntryInfo| {
        let known = index.entries.get(&info.path).filter(|known| known.remote.kind == info.kind);
        !known.is_some_and(|known| match info.kind {
            FileKind::Directory => true,
            FileKind::Symlink => known.remote.target == info.symlink_target,
            FileKind::File => known.local.as_ref() == Some(&Local::of(info)),
        })
    };
    let fits = |info: &EntryInfo| info.kind != FileKind::File || info.size <= FILE_MAX;
    let entries = disk.into_iter().filter(|info| !skipped(&info.path) && fits(info) && is_new(info)).collect();
    Push { entries, removed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(path: &str, kind: FileKind, size: u64, modified_at: u64) -> EntryInfo {
        EntryInfo { path: path.to_owned(), kind, size, mode: 0o644, modified_at, symlink_target: None }
    }

    fn known(kind: FileKind, size: u64, local: Option<(u64, u64)>) -> Known {
        let remote = Remote { kind, size, mode: 0o644, modified: "1.0".to_owned(), target: None };
        Known { remote, local: local.map(|(size, changed_at)| Local { size, changed_at }) }
    }

    fn index(entries: &[(&str, Known)]) -> Index {
        let entries = entries.iter().map(|(path, known)| ((*path).to_owned(), known.clone())).collect();
        Index { entries, truncated: false }
    }

    #[test]
    fn what_was_written_here_goes_inside_and_what_was_not_touched_stays() {
        let index = index(&[
            ("same", known(FileKind::File, 5, Some((5, 100)))),
            ("edited", known(FileKind::File, 5, Some((5, 100)))),
            ("src", known(FileKind::Directory, 0, None)),
        ]);
        let disk = vec![
            info("same", FileKind::File, 5, 100),
            info("edited", FileKind::File, 5, 200),
            info("src", FileKind::Directory, 0, 300),
            info("src/new", FileKind::File, 1, 300),
        ];
        let push = local_changes(disk, false, &index, &[]);
        assert_eq!(push.entries.iter().map(|info| info.path.as_str()).collect::<Vec<_>>(), ["edited", "src/new"]);
        assert!(push.removed.is_empty());
    }

    #[test]
    fn what_was_removed_here_is_removed_inside_by_its_root_alone() {
        let index = index(&[
            ("src", known(FileKind::Directory, 0, None)),
            ("src/a", known(FileKind::File, 5, Some((5, 100)))),
            ("became-a-folder", known(FileKind::File, 5, Some((5, 100)))),
        ]);
        let push = local_changes(vec![info("became-a-folder", FileKind::Directory, 0, 1)], false, &index, &[]);
        assert_eq!(push.removed, ["became-a-folder", "src"]);
        assert_eq!(push.entries.len(), 1);
    }

    #[test]
    fn packages_and_large_files_are_neither_sent_nor_removed() {
        let index = index(&[
            ("huge", known(FileKind::File, FILE_MAX + 1, None)),
            ("node_modules", known(FileKind::Directory, 0, None)),
        ]);
        let disk =
            vec![info("node_modules/x/index.js", FileKind::File, 1, 1), info("dump", FileKind::File, FILE_MAX + 1, 1)];
        assert_eq!(local_changes(disk, false, &index, &["node_modules".to_owned()]), Push::default());
    }

    #[test]
    fn what_was_not_looked_at_is_not_taken_for_deleted() {
        let index =
            index(&[("a", known(FileKind::File, 5, Some((5, 100)))), ("b", known(FileKind::Directory, 0, None))]);
        assert_eq!(local_changes(Vec::new(), false, &index, &[]).removed, ["a", "b"]);
        assert!(local_changes(Vec::new(), true, &index, &[]).removed.is_empty());
        let file = known(FileKind::File, 1, None).remote;
        let manifest = Manifest::from([("b".to_owned(), file)]);
        assert_eq!(index.gone(&manifest, false), ["a", "b"]);
        assert_eq!(index.gone(&manifest, true), ["b"], "it is of another kind now");
    }
}
