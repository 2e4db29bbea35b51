//! A project's files here and inside: a folder on this machine's disk that follows the workspace of a remote sandbox.
//!
//! The folder is what the platform reads (file tree, checkpoints, search, archives), also while the sandbox is paused
//! or gone. What is written here goes inside at once, or at the next start. What changes inside comes at
//! [`Files::sync`]: one command lists the workspace, one more brings the files that changed.

use super::envd::{Envd, User};
use super::error::E2bError;
use super::http::Repeat;
use super::index::{Index, Known, Local, Push, local_changes};
use super::manifest::{self, Manifest};
use super::process::HOME;
use super::shell::SHORT;
use super::transfer::{self, FILE_MAX, Fetched};
use crate::domain::{FileKind, clean_path};
use crate::sandbox::SandboxError;
use crate::sandbox::entry::lock;
use crate::sandbox::files::skipped;
use crate::sandbox::local::LocalFiles;
use crate::sandbox::provider::{EntryInfo, Files, ListOptions, Listing};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// The files of one project.
pub struct Mirror {
    disk: LocalFiles,
    live: Mutex<Option<Envd>>,
    /// Held while the two sides are compared.
    index: tokio::sync::Mutex<State>,
    /// Files that are too large to be here.
    large: Mutex<BTreeMap<String, EntryInfo>>,
    skip: Vec<String>,
    /// Bytes that may come here.
    limit: u64,
}

/// Where something is written.
enum Side<'a> {
    /// Inside first, then here.
    Inside(Envd),
    /// Here alone. Nobody takes up a sandbox meanwhile, or it would miss what is written.
    Here(MutexGuard<'a, State>),
}

struct State {
    path: PathBuf,
    index: Option<Index>,
    /// When the last comparison began.
    looked: Option<Instant>,
}

impl State {
    async fn index(&mut self) -> &mut Index {
        if self.index.is_none() {
            self.index = Some(Index::load(self.path.clone()).await);
        }
        self.index.get_or_insert_default()
    }
}

impl Mirror {
    /// The folder, where it is kept what of it was inside when, and how many bytes may come here.
    pub fn new(folder: PathBuf, index: PathBuf, limit: u64) -> Self {
        let state = State { path: index, index: None, looked: None };
        Self {
            disk: LocalFiles::new(folder),
            live: Mutex::default(),
            index: tokio::sync::Mutex::new(state),
            large: Mutex::default(),
            skip: skipped(),
            limit,
        }
    }

    /// Takes a sandbox that was just opened. What was written here meanwhile goes inside; into a `fresh` one goes all,
    /// and what its template has and the project had removed is removed.
    pub async fn attach(&self, envd: &Envd, fresh: bool) -> Result<(), SandboxError> {
        let mut state = self.index.lock().await;
        let known_before = !state.index().await.entries.is_empty();
        if fresh {
            let there = if known_before { manifest::look(envd, &self.skip).await?.0 } else { Manifest::new() };
            let unknown_here = |(path, remote)| (path, Known { remote, local: None });
            state.index().await.entries = there.into_iter().map(unknown_here).collect();
        }
        let disk = self.list_disk().await?;
        let more = disk.len() >= manifest::ENTRIES_MAX;
        let Push { entries, removed } = local_changes(disk, more, state.index().await, &self.skip);
        let sent: BTreeMap<String, Local> =
            entries.iter().map(|entry| (entry.path.clone(), Local::of(entry))).collect();
        transfer::remove(envd, removed).await?;
        transfer::push(envd, &self.disk, entries).await?;
        self.pull(envd, &mut state, &sent).await?;
        *lock(&self.live) = Some(envd.clone());
        Ok(())
    }

    /// From now on there is no sandbox.
    pub fn detach(&self) {
        *lock(&self.live) = None;
    }

    fn live(&self) -> Option<Envd> {
        lock(&self.live).clone().filter(|envd| !envd.life().closed().is_cancelled())
    }

    async fn side(&self) -> Side<'_> {
        if let Some(envd) = self.live() {
            return Side::Inside(envd);
        }
        let alone = self.index.lock().await;
        match self.live() {
            Some(envd) => Side::Inside(envd),
            None => Side::Here(alone),
        }
    }

    async fn list_disk(&self) -> Result<Vec<EntryInfo>, SandboxError> {
        let options = ListOptions { depth: 64, max_entries: manifest::ENTRIES_MAX, skip: self.skip.clone() };
        match self.disk.list("", options).await {
            Ok(listing) => Ok(listing.entries),
            Err(SandboxError::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Makes the folder what is inside. What was just `sent` is known to be the same.
    async fn pull(&self, envd: &Envd, state: &mut State, sent: &BTreeMap<String, Local>) -> Result<(), SandboxError> {
        let began = Instant::now();
        let (manifest, more) = manifest::look(envd, &self.skip).await?;
        self.check_size(&manifest)?;
        let file = state.path.clone();
        let index = state.index().await;
        let mut changed = self.drop_gone(index, &manifest, more).await;
        let mut wanted = Vec::new();
        for (path, remote) in &manifest {
            if index.entries.get(path).is_some_and(|known| known.remote == *remote) {
                continue;
            }
            changed = true;
            let known = |local| Known { remote: remote.clone(), local };
            match (remote.kind, sent.get(path)) {
                (FileKind::File, Some(local)) if local.size == remote.size => {
                    index.entries.insert(path.clone(), known(Some(local.clone())));
                }
                (FileKind::File, _) if remote.size > FILE_MAX => {
                    // An older, smaller one would be mistaken for it.
                    self.tolerate(path, self.disk.remove(path).await);
                    index.entries.insert(path.clone(), known(None));
                }
                (FileKind::File, _) => wanted.push((path.clone(), remote.size)),
                (FileKind::Directory, _) => {
                    if self.tolerate(path, self.disk.make_dir(path).await) {
                        index.entries.insert(path.clone(), known(None));
                    }
                }
                (FileKind::Symlink, _) => {
                    let target = remote.target.clone().unwrap_or_default();
                    if self.tolerate(path, self.disk.link(path, &target).await) {
                        index.entries.insert(path.clone(), known(None));
                    }
                }
            }
        }
        for batch in transfer::batches(wanted, |(_, size)| *size) {
            let files = transfer::fetch(envd, batch).await?;
            self.take(files, &manifest, index).await?;
        }
        changed |= std::mem::replace(&mut index.truncated, more) != more;
        *lock(&self.large) = index.large();
        if changed && let Err(error) = index.save(file).await {
            // It is made again by sending everything once more.
            tracing::warn!(%error, "what is in a remote sandbox is not remembered");
        }
        state.looked = Some(began);
        Ok(())
    }

    /// Puts files that came here.
    async fn take(&self, files: Vec<Fetched>, manifest: &Manifest, index: &mut Index) -> Result<(), SandboxError> {
        for file in files {
            // Writing keeps the right to run a file, which is what people want of an edit, and not of a copy.
            if !file.executable && self.disk.stat(&file.path).await.is_ok_and(|info| info.mode & 0o100 != 0) {
                self.tolerate(&file.path, self.disk.remove(&file.path).await);
            }
            let written = self.disk.write(&file.path, file.content.into(), file.executable).await;
            match (written, manifest.get(&file.path)) {
                (Ok(info), Some(remote)) => {
                    let known = Known { remote: remote.clone(), local: Some(Local::of(&info)) };
                    index.entries.insert(file.path, known);
                }
                (Err(SandboxError::Limit(why)), _) => return Err(SandboxError::Limit(why)),
                (written, _) => drop(self.tolerate(&file.path, written)),
            }
        }
        Ok(())
    }

    /// A sandbox must not fill this machine's disk.
    fn check_size(&self, manifest: &Manifest) -> Result<(), SandboxError> {
        let files = manifest.values().filter(|remote| remote.kind == FileKind::File && remote.size <= FILE_MAX);
        let bytes: u64 = files.map(|remote| remote.size).sum();
        if bytes <= self.limit {
            return Ok(());
        }
        let (bytes, limit) = (bytes >> 20, self.limit >> 20);
        Err(SandboxError::Limit(format!("the project's files have {bytes} MiB; {limit} MiB are allowed here")))
    }

    /// Removes here what is gone inside.
    async fn drop_gone(&self, index: &mut Index, manifest: &Manifest, more: bool) -> bool {
        let gone = index.gone(manifest, more);
        for path in &gone {
            self.tolerate(path, self.disk.remove(path).await);
            index.entries.remove(path);
        }
        !gone.is_empty()
    }

    /// An entry that cannot be had here is told and left out; the others matter too.
    fn tolerate<T>(&self, path: &str, result: Result<T, SandboxError>) -> bool {
        if let Err(error) = &result {
            tracing::warn!(path, %error, "a file of a remote sandbox is not here");
        }
        result.is_ok()
    }

    /// Whether a file is never here: in a folder of packages, or too large.
    fn stays_inside(&self, path: &str) -> bool {
        let folders = path.rsplit_once('/').map_or("", |(folders, _)| folders);
        folders.split('/').any(|part| self.skip.iter().any(|name| name == part)) || lock(&self.large).contains_key(path)
    }

    async fn inside(&self, path: &str) -> Option<(Envd, String)> {
        self.live().filter(|_| self.stays_inside(path)).map(|envd| (envd, absolute(path)))
    }
}

fn absolute(path: &str) -> String {
    format!("{HOME}/{path}")
}

/// The part of `filesystem.EntryInfo` that is used.
fn entry_info(path: &str, answer: &Value) -> Option<EntryInfo> {
    let entry = answer.get("entry")?;
    let number = |name: &str| {
        let value = entry.get(name)?;
        value.as_u64().or_else(|| value.as_str()?.parse().ok())
    };
    let target = entry.get("symlinkTarget").and_then(Value::as_str).map(str::to_owned);
    let kind = match (entry.get("type")?.as_str()?, &target) {
        (_, Some(_)) => FileKind::Symlink,
        ("FILE_TYPE_DIRECTORY", None) => FileKind::Directory,
        _ => FileKind::File,
    };
    Some(EntryInfo {
        path: path.to_owned(),
        kind,
        size: number("size").unwrap_or(0),
        mode: number("mode").and_then(|mode| u32::try_from(mode).ok()).unwrap_or(0o644),
        modified_at: 0,
        symlink_target: target,
    })
}

#[async_trait]
impl Files for Mirror {
    async fn sync(&self) -> Result<(), SandboxError> {
        let Some(envd) = self.live() else { return Ok(()) };
        let asked = Instant::now();
        let mut state = self.index.lock().await;
        if state.looked.is_some_and(|began| began > asked) {
            return Ok(());
        }
        match self.pull(&envd, &mut state, &BTreeMap::new()).await {
            // It died meanwhile: what is here is what there is.
            Err(_) if envd.life().closed().is_cancelled() => Ok(()),
            result => result,
        }
    }

    async fn stat(&self, path: &str) -> Result<EntryInfo, SandboxError> {
        let Some((envd, inside)) = self.inside(path).await else { return self.disk.stat(path).await };
        let answer: Value = envd.call("filesystem.Filesystem/Stat", &json!({ "path": inside }), Repeat::Safe).await?;
        entry_info(path, &answer).ok_or_else(|| E2bError::Protocol("an entry was expected".to_owned()).into())
    }

    async fn read(&self, path: &str, offset: u64, max: u64) -> Result<Bytes, SandboxError> {
        match self.inside(path).await {
            Some((envd, inside)) => Ok(envd.read(&inside, offset, max).await?),
            None => self.disk.read(path, offset, max).await,
        }
    }

    async fn write(&self, path: &str, content: Bytes, executable: bool) -> Result<EntryInfo, SandboxError> {
        let path = clean_path(path)?;
        let envd = match self.side().await {
            Side::Inside(envd) => envd,
            Side::Here(_alone) => return self.disk.write(&path, content, executable).await,
        };
        let is_executable = self.disk.stat(&path).await.is_ok_and(|info| info.mode & 0o100 != 0);
        envd.write(&absolute(&path), content.clone()).await?;
        if executable && !is_executable {
            let chmod = envd.shell(r#"chmod +x -- "$1""#, &[absolute(&path)], User::Normal, SHORT, 4096).await?;
            chmod.successful()?;
        }
        // Not while the two sides are compared: the older content would come back here until the next time.
        let mut state = self.index.lock().await;
        let info = self.disk.write(&path, content, executable).await?;
        // Known at once, so that its removal inside is noticed; as what it is inside it is not known yet.
        state.index().await.entries.insert(path, Known::written(&info));
        Ok(info)
    }

    async fn list(&self, path: &str, options: ListOptions) -> Result<Listing, SandboxError> {
        let max = options.max_entries;
        let mut listing = self.disk.list(path, options).await?;
        if path.is_empty() {
            let large = lock(&self.large).values().cloned().collect::<Vec<_>>();
            listing.truncated.extend(large.iter().map(|entry| entry.path.clone()));
            listing.entries.extend(large);
            listing.entries.truncate(max);
        }
        Ok(listing)
    }

    async fn make_dir(&self, path: &str) -> Result<(), SandboxError> {
        let path = clean_path(path)?;
        let envd = match self.side().await {
            Side::Inside(envd) => envd,
            Side::Here(_alone) => return self.disk.make_dir(&path).await,
        };
        let body = json!({ "path": absolute(&path) });
        match envd.call::<Value>("filesystem.Filesystem/MakeDir", &body, Repeat::Safe).await {
            Err(error) if !error.is_conflict() => Err(error.into()),
            _ => self.sync().await,
        }
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        let path = clean_path(path)?;
        let envd = match self.side().await {
            Side::Inside(envd) => envd,
            Side::Here(_alone) => return self.disk.remove(&path).await,
        };
        let body = json!({ "path": absolute(&path) });
        envd.call::<Value>("filesystem.Filesystem/Remove", &body, Repeat::Safe).await?;
        self.disk.remove(&path).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), SandboxError> {
        let (from, to) = (clean_path(from)?, clean_path(to)?);
        let envd = match self.side().await {
            Side::Inside(envd) => envd,
            Side::Here(_alone) => return self.disk.rename(&from, &to).await,
        };
        let body = json!({ "source": absolute(&from), "destination": absolute(&to) });
        // Not sent twice: the second time there is nothing to rename.
        envd.call::<Value>("filesystem.Filesystem/Move", &body, Repeat::Unsafe).await?;
        self.sync().await
    }
}
