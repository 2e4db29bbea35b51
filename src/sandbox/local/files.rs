//! A workspace's files from outside, while its sandbox lives or sleeps.
//!
//! Everything inside may be hostile: links that lead out, FIFOs, devices, odd names, entries that change under us. So
//! every path is resolved by the kernel beneath the workspace's directory, and only regular files are read.

use super::{blocking, walk, workspace};
use crate::domain::{FileKind, PathError, clean_path};
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{EntryInfo, Files, ListOptions, Listing};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{
    FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat2, readlinkat, renameat, symlinkat,
};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// Levels below the asked path that a listing enters at most, whatever is asked.
const DEEPEST: u32 = 64;
/// The longest file read in one go.
const READ_MAX: u64 = 256 << 20;

/// The files of one workspace.
pub struct LocalFiles {
    root: PathBuf,
}

impl LocalFiles {
    /// Files below this directory, which need not exist yet.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Makes a link that leads where it says, in place of what is there. It is never followed here.
    pub async fn link(&self, path: &str, target: &str) -> Result<(), SandboxError> {
        let (path, target) = (clean(path, false)?, target.to_owned());
        self.with_root(move |root| root.link(&path, &target)).await
    }

    /// Runs work on the opened workspace, off the async threads.
    async fn with_root<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T, SandboxError> + Send + 'static,
    ) -> Result<T, SandboxError> {
        let path = self.root.clone();
        blocking(move || {
            let directory = match workspace::open_root(&path) {
                Err(SandboxError::NotFound(_)) => {
                    std::fs::create_dir_all(&path)?;
                    workspace::open_root(&path)?
                }
                result => result?,
            };
            let owner = fstat(&directory).map_err(io::Error::from)?.st_uid;
            work(&Root { directory, owner })
        })
        .await
    }
}

/// An opened workspace.
struct Root {
    directory: OwnedFd,
    owner: u32,
}

/// The kernel refuses every step that would leave the directory, through links as well.
const BENEATH: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);
const OPEN_DIR: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY).union(OFlags::CLOEXEC);

impl Root {
    fn open(&self, path: &str, flags: OFlags) -> Result<OwnedFd, SandboxError> {
        let path = if path.is_empty() { "." } else { path };
        let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        openat2(&self.directory, path, flags, Mode::empty(), BENEATH).map_err(|error| explain(error, path))
    }

    /// The opened parent of a path, and its last part.
    fn parent(&self, path: &str) -> Result<(OwnedFd, CString), SandboxError> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok((self.open(parent, OPEN_DIR)?, c_name(name)?))
    }

    fn make_dirs(&self, path: &str) -> Result<OwnedFd, SandboxError> {
        let mut made = String::new();
        let mut directory = self.open("", OPEN_DIR)?;
        for part in path.split('/').filter(|part| !part.is_empty()) {
            let name = c_name(part)?;
            let new = match mkdirat(&directory, &*name, Mode::from_raw_mode(0o755)) {
                Ok(()) => true,
                Err(Errno::EXIST) => false,
                Err(error) => return Err(explain(error, path)),
            };
            if !made.is_empty() {
                made.push('/');
            }
            made.push_str(part);
            directory = self.open(&made, OPEN_DIR)?;
            if new {
                self.own(&directory)?;
            }
        }
        Ok(directory)
    }

    /// As root, what we make belongs to the sandbox's user.
    fn own(&self, file: &OwnedFd) -> Result<(), SandboxError> {
        if self.owner == rustix::process::geteuid().as_raw() { Ok(()) } else { workspace::own(file, self.owner) }
    }

    fn stat(&self, path: &str) -> Result<EntryInfo, SandboxError> {
        if path.is_empty() {
            return info(
                self.directory.as_fd(),
                c".",
                String::new(),
                &fstat(&self.directory).map_err(io::Error::from)?,
            )
            .ok_or_else(|| SandboxError::Io("the workspace is not a directory".to_owned()));
        }
        let (parent, name) = self.parent(path)?;
        let stat = walk::stat(&parent, &name).map_err(|error| explain_io(&error, path))?;
        info(parent.as_fd(), &name, path.to_owned(), &stat)
            .ok_or_else(|| SandboxError::Invalid(format!("\"{path}\" is neither a file nor a folder")))
    }

    fn read(&self, path: &str, offset: u64, max: u64) -> Result<Bytes, SandboxError> {
        let fd = self.open(path, OFlags::RDONLY)?;
        match FileType::from_raw_mode(fstat(&fd).map_err(io::Error::from)?.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(SandboxError::Invalid(format!("\"{path}\" is a folder"))),
            _ => return Err(SandboxError::Invalid(format!("\"{path}\" is not a regular file"))),
        }
        let mut file = std::fs::File::from(fd);
        file.seek(SeekFrom::Start(offset))?;
        let mut content = Vec::new();
        file.take(max.min(READ_MAX)).read_to_end(&mut content)?;
        Ok(content.into())
    }

    fn write(&self, path: &str, content: &[u8], executable: bool) -> Result<EntryInfo, SandboxError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.make_dirs(folder)?;
        let name = c_name(name)?;
        let mut mode = if executable { 0o755 } else { 0o644 };
        if let Ok(old) = walk::stat(&directory, &name) {
            match FileType::from_raw_mode(old.st_mode) {
                FileType::Directory => return Err(SandboxError::Invalid(format!("\"{path}\" is a folder"))),
                FileType::RegularFile => mode |= old.st_mode & 0o111,
                _ => {}
            }
        }
        let temporary = temporary_name()?;
        let written = self
            .write_new(&directory, &temporary, content, mode)
            .and_then(|()| renameat(&directory, &*temporary, &directory, &*name).map_err(|error| explain(error, path)));
        if written.is_err() {
            // The error that matters is the first one.
            let _ = rustix::fs::unlinkat(&directory, &*temporary, rustix::fs::AtFlags::empty());
        }
        written?;
        self.stat(path)
    }

    fn write_new(&self, directory: &OwnedFd, name: &CStr, content: &[u8], mode: u32) -> Result<(), SandboxError> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(mode);
        let fd = rustix::fs::openat(directory, name, flags, mode).map_err(io::Error::from)?;
        self.own(&fd)?;
        rustix::fs::fchmod(&fd, mode).map_err(io::Error::from)?;
        Ok(std::fs::File::from(fd).write_all(content)?)
    }

    fn link(&self, path: &str, target: &str) -> Result<(), SandboxError> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.make_dirs(folder)?;
        let name = c_name(name)?;
        walk::remove_tree(directory.as_fd(), &name).map_err(|error| explain_io(&error, path))?;
        symlinkat(c_name(target)?, &directory, &*name).map_err(|error| explain(error, path))
    }

    fn list(&self, path: &str, options: &ListOptions) -> Result<Listing, SandboxError> {
        let directory = self.open(path, OPEN_DIR)?;
        let mut listing = Listing::default();
        list_below(&directory, path, options.depth.clamp(1, DEEPEST), options, &mut listing)?;
        Ok(listing)
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), SandboxError> {
        let (old_parent, old) = self.parent(from)?;
        let (new_parent, new) = self.parent(to)?;
        renameat(&old_parent, &*old, &new_parent, &*new).map_err(|error| explain(error, from))
    }
}

fn list_below(
    directory: &OwnedFd,
    path: &str,
    depth: u32,
    options: &ListOptions,
    listing: &mut Listing,
) -> Result<(), SandboxError> {
    for (name, _) in walk::names(directory)? {
        if listing.entries.len() >= options.max_entries {
            listing.truncated.push(path.to_owned());
            return Ok(());
        }
        // A name that is not UTF-8 is shown with replacement characters, under which nothing can be opened.
        let shown = name.to_string_lossy();
        let below = if path.is_empty() { shown.clone().into_owned() } else { format!("{path}/{shown}") };
        let Ok(stat) = walk::stat(directory, &name) else { continue };
        let Some(entry) = info(directory.as_fd(), &name, below.clone(), &stat) else { continue };
        let enter = entry.kind == FileKind::Directory;
        listing.entries.push(entry);
        if !enter {
            continue;
        }
        if depth <= 1 || options.skip.iter().any(|skipped| *skipped == shown) {
            listing.truncated.push(below);
        } else if let Ok(directory) = walk::open_dir(directory.as_fd(), &name) {
            list_below(&directory, &below, depth - 1, options, listing)?;
        }
    }
    Ok(())
}

/// `None` for what is never shown: sockets, devices, FIFOs.
fn info(parent: BorrowedFd<'_>, name: &CStr, path: String, stat: &Stat) -> Option<EntryInfo> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        _ => return None,
    };
    let target = (kind == FileKind::Symlink).then(|| readlinkat(parent, name, Vec::new()).ok()).flatten();
    let modified = stat.st_mtime.saturating_mul(1000).saturating_add_unsigned(stat.st_mtime_nsec / 1_000_000);
    Some(EntryInfo {
        path,
        kind,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode & 0o7777,
        modified_at: u64::try_from(modified).unwrap_or(0),
        symlink_target: target.map(|target| target.to_string_lossy().into_owned()),
    })
}

/// Unique in this process; nothing else writes these names.
fn temporary_name() -> Result<CString, SandboxError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    c_name(&format!(".sandcastle-{}-{}.tmp", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

fn c_name(name: &str) -> Result<CString, SandboxError> {
    CString::new(name).map_err(|_| PathError::Control.into())
}

fn explain(error: Errno, path: &str) -> SandboxError {
    explain_io(&error.into(), path)
}

fn explain_io(error: &io::Error, path: &str) -> SandboxError {
    match error.raw_os_error() {
        Some(libc::ENOENT) => SandboxError::NotFound(format!("\"{path}\" does not exist")),
        Some(libc::ENOTDIR) => SandboxError::Invalid(format!("a part of \"{path}\" is not a folder")),
        Some(libc::EXDEV | libc::ELOOP) => PathError::Escapes(path.to_owned()).into(),
        Some(libc::ENXIO) => SandboxError::Invalid(format!("\"{path}\" is not a regular file")),
        Some(libc::ENOSPC | libc::EDQUOT) => SandboxError::Limit("the disk is full".to_owned()),
        Some(libc::ENAMETOOLONG) => PathError::TooLong.into(),
        _ => SandboxError::Io(format!("\"{path}\": {error}")),
    }
}

/// A clean path; the root itself is allowed where `root` says so.
fn clean(path: &str, root: bool) -> Result<String, SandboxError> {
    match clean_path(path) {
        Err(PathError::Empty) if root => Ok(String::new()),
        result => Ok(result?),
    }
}

#[async_trait]
impl Files for LocalFiles {
    async fn stat(&self, path: &str) -> Result<EntryInfo, SandboxError> {
        let path = clean(path, true)?;
        self.with_root(move |root| root.stat(&path)).await
    }

    async fn read(&self, path: &str, offset: u64, max: u64) -> Result<Bytes, SandboxError> {
        let path = clean(path, false)?;
        self.with_root(move |root| root.read(&path, offset, max)).await
    }

    async fn write(&self, path: &str, content: Bytes, executable: bool) -> Result<EntryInfo, SandboxError> {
        let path = clean(path, false)?;
        self.with_root(move |root| root.write(&path, &content, executable)).await
    }

    async fn list(&self, path: &str, options: ListOptions) -> Result<Listing, SandboxError> {
        let path = clean(path, true)?;
        self.with_root(move |root| root.list(&path, &options)).await
    }

    async fn make_dir(&self, path: &str) -> Result<(), SandboxError> {
        let path = clean(path, false)?;
        self.with_root(move |root| root.make_dirs(&path).map(drop)).await
    }

    async fn remove(&self, path: &str) -> Result<(), SandboxError> {
        let path = clean(path, false)?;
        let remove = move |root: &Root| match root.parent(&path) {
            Ok((parent, name)) => walk::remove_tree(parent.as_fd(), &name).map_err(|error| explain_io(&error, &path)),
            Err(SandboxError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        };
        self.with_root(remove).await
    }

    async fn rename(&self, from: &str, to: &str) -> Result<(), SandboxError> {
        let (from, to) = (clean(from, false)?, clean(to, false)?);
        self.with_root(move |root| root.rename(&from, &to)).await
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Parts that matter to paths, put together at random, over a workspace full of links that lead out.
        #[test]
        fn no_path_reaches_what_is_beside_the_workspace(
            parts in proptest::collection::vec("\\.|\\.\\.|out|up|in|/|a|\\PC{1,3}|[\x00-\x1f]|[a-z]{300}", 0..8),
            slash: bool,
        ) {
            let folder = tempfile::tempdir()?;
            let root = folder.path().join("workspace");
            std::fs::create_dir_all(root.join("in"))?;
            std::fs::write(folder.path().join("canary"), "canary")?;
            std::os::unix::fs::symlink("..", root.join("up"))?;
            std::os::unix::fs::symlink(folder.path(), root.join("out"))?;
            let path = format!("{}{}", if slash { "/" } else { "" }, parts.join("/"));
            if let Ok(path) = clean(&path, true) {
                let directory = workspace::open_root(&root).map_err(|error| TestCaseError::fail(error.to_string()))?;
                let owner = rustix::process::geteuid().as_raw();
                let root = Root { directory, owner };
                let _ = root.write(&path, b"mine", false);
                let _ = root.make_dirs(&format!("{path}/new"));
                let _ = root.rename(&path, "moved");
                for end in ["", "/canary", "canary"] {
                    let read = root.read(&format!("{path}{end}"), 0, 100).unwrap_or_default();
                    prop_assert_ne!(read.as_ref(), b"canary");
                }
                let _ = walk::remove_tree(root.directory.as_fd(), c"moved");
            }
            let beside: Vec<_> = std::fs::read_dir(folder.path())?.flatten().map(|entry| entry.file_name()).collect();
            prop_assert_eq!(beside.len(), 2, "{:?}", beside);
            prop_assert_eq!(std::fs::read(folder.path().join("canary"))?, b"canary");
        }
    }
}
