//! Walks over a workspace by descriptors, so that neither links nor very deep or odd names lead anywhere else.

use crate::sandbox::SandboxError;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmodat, fstat, openat, renameat, statat, unlinkat};
use rustix::path::Arg;
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Each level holds a descriptor while it is walked.
const DEEPEST: usize = 256;
/// What its owner needs to look into a directory.
const LOOK: u32 = 0o500;

/// Opens a directory below another without following a link.
pub fn open_dir(parent: impl AsFd, name: impl Arg) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(openat(parent, name, flags, Mode::empty())?)
}

/// The same for whoever has to see all of it: a directory that its owner closed is opened up for the owner first. A
/// server without root is that owner, and what is in there would count nowhere.
pub fn enter(parent: impl AsFd, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    match open_dir(&parent, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            open_up(&openat(&parent, name, flags, Mode::empty())?)?;
            open_dir(&parent, name)
        }
        result => result,
    }
}

/// Does something in a directory. One that its owner closed meanwhile is opened up, once.
pub fn within<T>(directory: &OwnedFd, work: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match work() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            open_up(directory)?;
            work()
        }
        result => result,
    }
}

/// By the descriptor, so that nothing else can be meant: the link in `/proc` leads to that very directory, and unlike
/// `fchmod` takes a descriptor that only names it.
fn open_up(directory: &OwnedFd) -> io::Result<()> {
    let mode = Mode::from_raw_mode((fstat(directory)?.st_mode & 0o7777) | LOOK);
    Ok(chmodat(CWD, format!("/proc/self/fd/{}", directory.as_raw_fd()), mode, AtFlags::empty())?)
}

/// Names and types in a directory, without `.` and `..`, sorted by name.
pub fn names(directory: &OwnedFd) -> io::Result<Vec<(CString, FileType)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if ![c".", c".."].contains(&name) {
            found.push((name.to_owned(), entry.file_type()));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

/// Type and size of an entry; links are not followed.
pub fn stat(directory: impl AsFd, name: &CStr) -> io::Result<Stat> {
    Ok(statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TreeSize {
    /// Bytes of disk. Hard links count once.
    pub bytes: u64,
    /// Entries of every kind.
    pub files: u64,
}

/// Measures a tree. Entries that vanish meanwhile do not count; what cannot be looked at is an error.
pub fn disk_usage(root: &OwnedFd) -> Result<TreeSize, SandboxError> {
    let (mut seen, mut size) = (HashSet::new(), TreeSize::default());
    usage_below(root, 0, &mut seen, &mut size)?;
    Ok(size)
}

fn usage_below(
    directory: &OwnedFd,
    depth: usize,
    seen: &mut HashSet<(u64, u64)>,
    size: &mut TreeSize,
) -> Result<(), SandboxError> {
    if depth > DEEPEST {
        return Err(SandboxError::Limit(format!("the workspace has more than {DEEPEST} levels of folders")));
    }
    for (name, _) in there(within(directory, || names(directory)))?.unwrap_or_default() {
        let Some(stat) = there(within(directory, || stat(directory, &name)))? else { continue };
        size.files += 1;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory || stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
            size.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        }
        if is_directory && let Some(below) = there(within(directory, || enter(directory, name.as_c_str())))? {
            usage_below(&below, depth + 1, seen, size)?;
        }
    }
    Ok(())
}

/// None for what has vanished, or has become something else.
fn there<T>(found: io::Result<T>) -> Result<Option<T>, SandboxError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
            // Whoever closes folders again and again does so to hide something.
            Some(libc::EACCES) => {
                Err(SandboxError::Limit("a folder of the workspace lets nobody see how much it holds".to_owned()))
            }
            _ => Err(error.into()),
        },
    }
}

/// Removes a file or a tree. A tree too deep to walk is taken apart: its lower part moves up to `root` first.
pub fn remove_tree(root: BorrowedFd<'_>, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    let mut moved = 0u32;
    remove_entry(root, parent, name, 0, &mut moved)?;
    let mut index = 0;
    while index < moved {
        remove_entry(root, root, &moved_name(index)?, 0, &mut moved)?;
        index += 1;
    }
    Ok(())
}

fn remove_entry(
    root: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &CStr,
    depth: usize,
    moved: &mut u32,
) -> io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => return Ok(()),
        Err(rustix::io::Errno::ISDIR | rustix::io::Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    if depth >= DEEPEST {
        renameat(parent, name, root, &*moved_name(*moved)?)?;
        *moved += 1;
        return Ok(());
    }
    let directory = open_dir(parent, name)?;
    for (below, _) in names(&directory)? {
        remove_entry(root, directory.as_fd(), &below, depth + 1, moved)?;
    }
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

fn moved_name(index: u32) -> io::Result<CString> {
    CString::new(format!(".sandcastle-removed-{}-{index}", std::process::id())).map_err(io::Error::from)
}
