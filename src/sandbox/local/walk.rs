//! Walks over a workspace by descriptors, so that neither links nor very deep or odd names lead anywhere else.

use crate::sandbox::SandboxError;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, chmodat, chownat, fchmod, fstat, open, openat, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::path::Arg;
use rustix::process::{Gid, Uid};
use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Each level holds a descriptor while it is walked.
const DEEPEST: usize = 256;
/// What its owner needs to look into a directory.
const LOOK: u32 = 0o500;
/// What its owner needs to read a file.
const READ: u32 = 0o400;

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

/// Opens a file to read it. One that its owner may not read is opened up for the owner meanwhile.
pub fn open_file(parent: impl AsFd, name: impl Arg + Copy) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(&parent, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let file = openat(&parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
            let mode = fstat(&file)?.st_mode;
            if FileType::from_raw_mode(mode) != FileType::RegularFile {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            set_mode(&file, mode | READ)?;
            let opened = open(this_very(&file), flags, Mode::empty());
            set_mode(&file, mode)?;
            Ok(opened?)
        }
        result => Ok(result?),
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

fn open_up(directory: &OwnedFd) -> io::Result<()> {
    set_mode(directory, fstat(directory)?.st_mode | LOOK)
}

/// By the descriptor, so that nothing else can be meant, and unlike `fchmod` also by one that only names a file.
fn set_mode(file: &OwnedFd, mode: u32) -> io::Result<()> {
    Ok(chmodat(CWD, this_very(file), Mode::from_raw_mode(mode & 0o7777), AtFlags::empty())?)
}

/// The link in `/proc` that leads to the very file of a descriptor.
fn this_very(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
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
pub fn there<T>(found: io::Result<T>) -> Result<Option<T>, SandboxError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP) => Ok(None),
            // Whoever closes folders again and again does so to hide something.
            Some(libc::EACCES) => {
                Err(SandboxError::Limit("a folder of the workspace lets nobody see what it holds".to_owned()))
            }
            _ => Err(error.into()),
        },
    }
}

/// Removes what has this path, a file or a tree. Nothing there is no error. Blocking.
pub fn remove_path(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match open(folder, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
        Ok(parent) => remove_tree(parent.as_fd(), &CString::new(name.as_bytes())?),
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a file or a tree, also one without permissions (Go's module cache). Nothing there is no error.
pub fn remove_tree(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
    if !unlink(parent, name)? {
        return Ok(());
    }
    let empty = |directory: &OwnedFd| -> io::Result<Vec<CString>> {
        let mut folders = Vec::new();
        for (below, _) in names(directory)? {
            if unlink(directory.as_fd(), &below)? {
                folders.push(below);
            }
        }
        Ok(folders)
    };
    let remove = |above: &OwnedFd, name: &CStr| -> io::Result<()> { Ok(unlinkat(above, name, AtFlags::REMOVEDIR)?) };
    through(open_fully(parent, name)?, open_fully, empty, remove)?;
    Ok(unlinkat(parent, name, AtFlags::REMOVEDIR)?)
}

/// Makes a user, and the group of the same number, the owner of all that is below a directory. Links are not followed.
pub fn own_tree(root: &OwnedFd, uid: u32) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(uid));
    let own = |directory: &OwnedFd| -> io::Result<Vec<CString>> {
        let mut folders = Vec::new();
        for (name, _) in names(directory)? {
            chownat(directory, &*name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat(directory, &name)?.st_mode) == FileType::Directory {
                folders.push(name);
            }
        }
        Ok(folders)
    };
    through(root.try_clone()?, |parent, name| open_dir(parent, name), own, |_, _| Ok(()))
}

/// Goes through a tree: `enter` is given each directory and says which of its entries to go into, `leave` the directory
/// above and the name of one that is done.
///
/// However deep the tree is, two descriptors are held and the stack does not grow: the way up is `..`, which is compared
/// with where the way down came from, because a live sandbox may move a folder meanwhile.
fn through(
    start: OwnedFd,
    open: impl Fn(BorrowedFd<'_>, &CStr) -> io::Result<OwnedFd>,
    enter: impl Fn(&OwnedFd) -> io::Result<Vec<CString>>,
    leave: impl Fn(&OwnedFd, &CStr) -> io::Result<()>,
) -> io::Result<()> {
    let mut todo = enter(&start)?;
    let mut here = start;
    let mut above: Vec<(Inode, CString, Vec<CString>)> = Vec::new();
    loop {
        if let Some(below) = todo.pop() {
            let next = open(here.as_fd(), &below)?;
            let folders = enter(&next)?;
            above.push((inode_of(&here)?, below, std::mem::replace(&mut todo, folders)));
            here = next;
            continue;
        }
        let Some((inode, name, folders)) = above.pop() else { return Ok(()) };
        let up = open_dir(here.as_fd(), c"..")?;
        if inode_of(&up)? != inode {
            return Err(io::Error::other("a folder was moved while its tree was gone through"));
        }
        leave(&up, &name)?;
        (here, todo) = (up, folders);
    }
}

type Inode = (u64, u64);

/// Removes what is no folder; whether it is one, and so still there.
fn unlink(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<bool> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(false),
        Err(Errno::ISDIR) => Ok(true),
        Err(Errno::PERM) if FileType::from_raw_mode(stat(parent, name)?.st_mode) == FileType::Directory => Ok(true),
        Err(error) => Err(error.into()),
    }
}

/// Opens a directory and gives its owner all rights to it, without which it could be neither read nor emptied.
fn open_fully(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let directory = match open_dir(parent, name) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => enter(parent, name)?,
        result => result?,
    };
    let mode = Mode::from_raw_mode(fstat(&directory)?.st_mode);
    if !mode.contains(Mode::RWXU) {
        // What belongs to somebody else stays as it is, and if that matters the removal says so.
        let _ = fchmod(&directory, mode | Mode::RWXU);
    }
    Ok(directory)
}

fn inode_of(directory: &OwnedFd) -> io::Result<Inode> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    /// As many levels of folders named `d` below this one, and a file in the last.
    fn deep(root: &Path, levels: usize) {
        let mut at = open(root, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = open_dir(at.as_fd(), c"d").unwrap();
        }
        openat(&at, c"file", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR).unwrap();
    }

    #[test]
    fn a_tree_of_thousands_of_levels_is_removed_on_a_small_stack() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("workspace");
        std::fs::create_dir_all(root.join("beside")).unwrap();
        deep(&root, 2_000);
        let removal = std::thread::Builder::new().stack_size(64 << 10).spawn(move || {
            remove_path(&root).unwrap();
            assert!(!root.exists());
        });
        removal.unwrap().join().unwrap();
    }

    #[test]
    fn folders_without_permissions_are_removed_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (root, other) = (folder.path().join("workspace"), folder.path().join("other"));
        for path in [root.join("shut/inner/deep"), root.join("unwritable"), other.clone()] {
            std::fs::create_dir_all(path).unwrap();
        }
        for path in [root.join("shut/inner/deep/a"), root.join("unwritable/a"), other.join("kept")] {
            std::fs::write(path, "a").unwrap();
        }
        std::os::unix::fs::symlink(&other, root.join("shut/link")).unwrap();
        for (path, mode) in [("shut/inner", 0o000), ("shut", 0o000), ("unwritable", 0o555)] {
            std::fs::set_permissions(root.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        remove_path(&root).unwrap();
        assert!(!root.exists() && other.join("kept").exists());
        remove_path(&root).unwrap();
        remove_path(&root.join("nothing/below")).unwrap();
    }
}
