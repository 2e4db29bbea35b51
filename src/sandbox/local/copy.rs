//! Copies a workspace: by shared blocks where the file system has them, else by the kernel's fast copy.
//!
//! The source may be hostile and alive: links are copied as links, what is neither file, folder nor link is left out,
//! and an entry that vanishes meanwhile is not an error.

use super::walk;
use super::workspace::{Workspace, open_root, own};
use crate::sandbox::SandboxError;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, chownat, fchmod, futimens, ioctl_ficlone,
    mkdirat, openat, readlinkat, symlinkat, utimensat,
};
use rustix::process::{Gid, Uid};
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// Each level holds two descriptors while it is copied.
const DEEPEST: usize = 256;

/// Copies the files and the tools' state beside them. The target exists and is empty.
pub fn workspace(from: &Path, to: &Workspace) -> Result<(), SandboxError> {
    let copy = Copy { owner: to.privileged.then_some(to.uid) };
    copy.tree(&open_root(from)?, &open_root(&to.files)?, 0)?;
    match open_root(&from.with_file_name("state")) {
        Ok(state) => copy.tree(&state, &open_root(&to.state)?, 0),
        // It was never started, so there is none yet.
        Err(SandboxError::Io(_) | SandboxError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

struct Copy {
    /// Who owns what is made, where the server can choose.
    owner: Option<u32>,
}

impl Copy {
    fn tree(&self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), SandboxError> {
        if depth > DEEPEST {
            return Err(SandboxError::Limit(format!("the workspace has more than {DEEPEST} levels of folders")));
        }
        for (name, _) in walk::names(from)? {
            let Ok(stat) = walk::stat(from, &name) else { continue };
            let times = Timestamps {
                last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
                last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
            };
            let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => self.file(from, to, &name, mode, &times)?,
                FileType::Symlink => self.link(from, to, &name, &times)?,
                FileType::Directory => {
                    let Ok(below) = walk::open_dir(from.as_fd(), &name) else { continue };
                    mkdirat(to, &*name, Mode::from_raw_mode(0o700)).map_err(io::Error::from)?;
                    let made = walk::open_dir(to.as_fd(), &name)?;
                    self.tree(&below, &made, depth + 1)?;
                    self.finish(&made, mode, &times)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        name: &CStr,
        mode: Mode,
        times: &Timestamps,
    ) -> Result<(), SandboxError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let Ok(source) = openat(from, name, flags, Mode::empty()) else { return Ok(()) };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(to, name, flags, Mode::from_raw_mode(0o600)).map_err(io::Error::from)?;
        if ioctl_ficlone(&target, &source).is_err() {
            let (mut source, mut target) = (std::fs::File::from(source), std::fs::File::from(target.try_clone()?));
            io::copy(&mut source, &mut target)?;
        }
        self.finish(&target, mode, times)
    }

    fn link(&self, from: &OwnedFd, to: &OwnedFd, name: &CStr, times: &Timestamps) -> Result<(), SandboxError> {
        let Ok(target) = readlinkat(from, name, Vec::new()) else { return Ok(()) };
        symlinkat(&*target, to, name).map_err(io::Error::from)?;
        if let Some(owner) = self.owner {
            let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
            chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        }
        Ok(utimensat(to, name, times, AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?)
    }

    fn finish(&self, made: &OwnedFd, mode: Mode, times: &Timestamps) -> Result<(), SandboxError> {
        if let Some(owner) = self.owner {
            own(made, owner)?;
        }
        fchmod(made, mode).map_err(io::Error::from)?;
        Ok(futimens(made, times).map_err(io::Error::from)?)
    }
}
