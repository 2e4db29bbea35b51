//! Files anywhere in a live sandbox, through the root directory its init hands out.
//!
//! The kernel resolves every path as if that directory were `/`, links included, so nothing leads out. Everything inside
//! may be hostile: FIFOs never block, devices and `/proc` are not read, and all is done with the rights of its user.

use super::identity::Borrowed;
use super::live::Live;
use super::workspace::HOME;
use super::{tree_watch, walk, watch};
use crate::sandbox::tree::{Tree, TreeEntry, TreeEvent, TreeKind};
use async_trait::async_trait;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, XattrFlags, fchmod, fgetxattr, flistxattr, fremovexattr,
    fsetxattr, fstat, fstatfs, fstatvfs, mkdirat, openat, openat2, readlinkat, renameat,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Entries in one listing.
const ENTRIES_MAX: usize = 100_000;
/// What names of metadata begin with on disk.
const METADATA: &str = "user.e2b.";
const PROC_MAGIC: i64 = 0x9fa0;

/// The files of one live sandbox.
pub struct LocalTree {
    root: Arc<Root>,
    live: Arc<Live>,
}

impl LocalTree {
    /// Files below this root directory of the sandbox.
    pub fn new(root: OwnedFd, live: Arc<Live>) -> Self {
        let (uid, gid) = (live.workspace.uid, live.workspace.gid);
        Self { root: Arc::new(Root { directory: root, uid, gid }), live }
    }

    /// Runs work off the async threads, as the sandbox's user.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let root = Arc::clone(&self.root);
        tokio::task::spawn_blocking(move || {
            let _user = Borrowed::take(root.uid, root.gid)?;
            work(&root)
        })
        .await
        .map_err(io::Error::other)?
    }
}

/// The root directory, and who owns what is inside.
pub struct Root {
    directory: OwnedFd,
    uid: u32,
    gid: u32,
}

const INSIDE: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);
const OPEN_DIR: OFlags = OFlags::DIRECTORY.union(OFlags::RDONLY);

impl Root {
    /// Opens a path. Never blocks, never becomes anyone's terminal, never opens what the kernel makes up.
    pub fn open(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let mut always = OFlags::CLOEXEC;
        if !flags.contains(OFlags::PATH) {
            always |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        let mode = if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
        let fd = openat2(&self.directory, path, flags | always, mode, INSIDE)?;
        // The type of the field differs between architectures.
        let made_up = fstatfs(&fd)?.f_type as i64 == PROC_MAGIC;
        if made_up { Err(io::ErrorKind::PermissionDenied.into()) } else { Ok(fd) }
    }

    fn parent(&self, path: &str) -> io::Result<(OwnedFd, CString)> {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let name = if name.is_empty() { "." } else { name };
        Ok((self.open(if parent.is_empty() { "/" } else { parent }, OPEN_DIR)?, CString::new(name)?))
    }

    /// Opens a directory, made with its parents where missing.
    fn make_dirs(&self, path: &str) -> io::Result<OwnedFd> {
        match self.open(if path.is_empty() { "/" } else { path }, OPEN_DIR) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result,
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let directory = self.make_dirs(parent)?;
        match mkdirat(&directory, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        let made = self.open(path, OPEN_DIR)?;
        fchmod(&made, Mode::from_raw_mode(0o755))?;
        Ok(made)
    }

    fn entry(&self, parent: &OwnedFd, name: &CString, path: String) -> io::Result<TreeEntry> {
        let stat = walk::stat(parent, name)?;
        let file_type = FileType::from_raw_mode(stat.st_mode);
        let (mut kind, mut target_mode, mut link) = (kind_of(file_type), stat.st_mode & 0o777, None);
        if file_type == FileType::Symlink {
            let written = readlinkat(parent, name, Vec::new())?.to_string_lossy().into_owned();
            let target = self.open(&path, OFlags::PATH).and_then(|fd| Ok((fstat(&fd)?, true_path(&fd))));
            if let Ok((stat, path)) = target {
                kind = kind_of(FileType::from_raw_mode(stat.st_mode));
                target_mode = stat.st_mode & 0o777;
                link = path;
            } else {
                target_mode = 0;
            }
            link.get_or_insert(written);
        }
        let metadata = if file_type == FileType::RegularFile { self.metadata(parent, name) } else { BTreeMap::new() };
        Ok(TreeEntry {
            name: if path == "/" { "/".to_owned() } else { name.to_string_lossy().into_owned() },
            path,
            kind,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode,
            target_mode,
            owner: self.owner(&stat),
            modified: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            link,
            metadata,
        })
    }

    fn owner(&self, stat: &Stat) -> &'static str {
        if stat.st_uid == self.uid {
            "user"
        } else if stat.st_uid == 0 {
            "root"
        } else {
            "nobody"
        }
    }

    /// A file that cannot be opened has none to show.
    fn metadata(&self, parent: &OwnedFd, name: &CString) -> BTreeMap<String, String> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        openat(parent, name, flags, Mode::empty()).map(|fd| metadata_of(&fd)).unwrap_or_default()
    }

    fn list(&self, path: &str, depth: u32) -> io::Result<Vec<TreeEntry>> {
        let directory = self.open(path, OPEN_DIR)?;
        let mut entries = Vec::new();
        self.list_below(&directory, path.trim_end_matches('/'), depth, &mut entries)?;
        Ok(entries)
    }

    fn list_below(&self, directory: &OwnedFd, path: &str, depth: u32, into: &mut Vec<TreeEntry>) -> io::Result<()> {
        for (name, _) in walk::names(directory)? {
            if into.len() >= ENTRIES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::QuotaExceeded,
                    format!("more than {ENTRIES_MAX} entries; list a part of them"),
                ));
            }
            // What vanishes meanwhile is not there.
            let Ok(entry) = self.entry(directory, &name, format!("{path}/{}", name.to_string_lossy())) else {
                continue;
            };
            let below = FileType::from_raw_mode(entry.mode) == FileType::Directory && depth > 1;
            let path = entry.path.clone();
            into.push(entry);
            if below && let Ok(directory) = walk::open_dir(directory.as_fd(), &name) {
                self.list_below(&directory, &path, depth - 1, into)?;
            }
        }
        Ok(())
    }
}

fn kind_of(file_type: FileType) -> Option<TreeKind> {
    match file_type {
        FileType::RegularFile => Some(TreeKind::File),
        FileType::Directory => Some(TreeKind::Directory),
        _ => None,
    }
}

/// Where an opened file is inside: the kernel tells paths of another mount namespace from that one's root.
fn true_path(fd: &OwnedFd) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    Some(path.to_str()?.to_owned()).filter(|path| path.starts_with('/'))
}

fn metadata_of(fd: &OwnedFd) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for name in metadata_names(fd) {
        let mut value = vec![0; 4096];
        let Ok(length) = fgetxattr(fd, &name, value.as_mut_slice()) else { continue };
        value.truncate(length);
        if let (Some(key), Ok(value)) = (name.strip_prefix(METADATA), String::from_utf8(value)) {
            found.insert(key.to_owned(), value);
        }
    }
    found
}

fn metadata_names(fd: &OwnedFd) -> Vec<String> {
    let mut names = vec![0; 16 * 1024];
    let Ok(length) = flistxattr(fd, names.as_mut_slice()) else { return Vec::new() };
    names.truncate(length);
    let names = names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok());
    names.filter(|name| name.starts_with(METADATA)).map(str::to_owned).collect()
}

/// Only regular files are read and written.
fn regular(fd: OwnedFd) -> io::Result<std::fs::File> {
    match FileType::from_raw_mode(fstat(&fd)?.st_mode) {
        FileType::RegularFile => Ok(fd.into()),
        FileType::Directory => Err(io::ErrorKind::IsADirectory.into()),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

#[async_trait]
impl Tree for LocalTree {
    async fn stat(&self, path: &str) -> io::Result<TreeEntry> {
        let path = path.to_owned();
        self.run(move |root| {
            let (parent, name) = root.parent(&path)?;
            root.entry(&parent, &name, path)
        })
        .await
    }

    async fn list(&self, path: &str, depth: u32) -> io::Result<Vec<TreeEntry>> {
        let path = path.to_owned();
        self.run(move |root| root.list(&path, depth)).await
    }

    async fn make_dir(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        self.run(move |root| match root.open(&path, OFlags::PATH) {
            Ok(fd) if FileType::from_raw_mode(fstat(&fd)?.st_mode) == FileType::Directory => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => root.make_dirs(&path).map(drop),
            Err(error) => Err(error),
        })
        .await
    }

    async fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.run(move |root| {
            let (old_parent, old) = root.parent(&from)?;
            walk::stat(&old_parent, &old)?;
            let (folder, new) = to.rsplit_once('/').unwrap_or(("", &to));
            let new_parent = root.make_dirs(folder)?;
            Ok(renameat(&old_parent, &*old, &new_parent, new)?)
        })
        .await
    }

    async fn remove(&self, path: &str) -> io::Result<()> {
        let path = path.to_owned();
        self.run(move |root| {
            let (parent, name) = match root.parent(&path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                result => result?,
            };
            if name.as_bytes() == b"." {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            match rustix::fs::unlinkat(&parent, &*name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                // A read-only file system does not even look.
                Err(_) if walk::stat(&parent, &name).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) => {
                    Ok(())
                }
                Err(_) => walk::remove_tree(parent.as_fd(), &name),
            }
        })
        .await
    }

    async fn open(&self, path: &str) -> io::Result<std::fs::File> {
        let path = path.to_owned();
        self.run(move |root| regular(root.open(&path, OFlags::RDONLY)?)).await
    }

    async fn create(&self, path: &str) -> io::Result<std::fs::File> {
        let path = path.to_owned();
        self.run(move |root| {
            let (folder, _) = path.rsplit_once('/').unwrap_or(("", &path));
            root.make_dirs(folder)?;
            let file = regular(root.open(&path, OFlags::WRONLY | OFlags::CREATE)?)?;
            // Only now, so that nothing but a regular file is ever cut.
            file.set_len(0)?;
            Ok(file)
        })
        .await
    }

    async fn set_metadata(&self, path: &str, metadata: BTreeMap<String, String>) -> io::Result<()> {
        let path = path.to_owned();
        self.run(move |root| {
            let fd = root.open(&path, OFlags::WRONLY)?;
            for name in metadata_names(&fd) {
                fremovexattr(&fd, &name)?;
            }
            for (key, value) in metadata {
                fsetxattr(&fd, format!("{METADATA}{key}"), value.as_bytes(), XattrFlags::empty())?;
            }
            Ok(())
        })
        .await
    }

    async fn watch(&self, path: &str, recursive: bool) -> io::Result<mpsc::Receiver<TreeEvent>> {
        let path = path.to_owned();
        let directory = self.run(move |root| root.open(&path, OPEN_DIR)).await?;
        tree_watch::start(directory, recursive, &self.live)
    }

    async fn room(&self) -> io::Result<u64> {
        let live = Arc::clone(&self.live);
        let measured = tokio::task::spawn_blocking(move || watch::room(&live)).await.map_err(io::Error::other)?;
        measured.map_err(io::Error::other)
    }

    async fn space(&self) -> io::Result<(u64, u64)> {
        self.run(|root| {
            let space = fstatvfs(&root.open(HOME, OPEN_DIR)?)?;
            let total = space.f_blocks.saturating_mul(space.f_frsize);
            Ok((total.saturating_sub(space.f_bfree.saturating_mul(space.f_frsize)), total))
        })
        .await
    }
}
