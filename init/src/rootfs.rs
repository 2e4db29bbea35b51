//! Builds the sandbox's root: an empty tmpfs with read-only trees of the host, private `/dev`, `/proc` and `/tmp`.
//!
//! What is mounted comes from the server's setup; this file knows only how, and that nothing else stays reachable.

use crate::sys::{c_string, check, owned};
use crate::wire::{Mount, Setup};
use crate::{Refusal, Step};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "dev/fd"),
    ("/proc/self/fd/0", "dev/stdin"),
    ("/proc/self/fd/1", "dev/stdout"),
    ("/proc/self/fd/2", "dev/stderr"),
    ("pts/ptmx", "dev/ptmx"),
];

/// Copies of the host's trees that are mounted nowhere yet, in the order of the setup's mounts, then the devices.
pub struct Trees {
    mounts: Vec<OwnedFd>,
    devices: Vec<OwnedFd>,
}

/// Opens every tree that will be mounted, with the rights of the server's user.
pub fn open_trees(setup: &Setup) -> Result<Trees, Refusal> {
    mount(None, c"/", None, libc::MS_REC | libc::MS_PRIVATE, None).step("make the mounts private")?;
    let open = |source: &[u8]| open_tree(source).step(format!("open {}", String::from_utf8_lossy(source)));
    let mounts = setup.mounts.iter().map(|mount| open(&mount.source.0)).collect::<Result<_, _>>()?;
    let devices = DEVICES.iter().map(|name| open(format!("/dev/{name}").as_bytes())).collect::<Result<_, _>>()?;
    Ok(Trees { mounts, devices })
}

/// Builds the new root, moves into it and lets go of the old one.
pub fn build(setup: &Setup, trees: Trees) -> Result<(), Refusal> {
    // Any directory serves as a place to build at: it is only seen in this namespace and is left below.
    tmpfs(c"/tmp", c"mode=0755,size=8m,nr_inodes=4096").step("mount the root")?;
    std::env::set_current_dir("/tmp").step("enter the root")?;
    for (mount, tree) in setup.mounts.iter().zip(&trees.mounts) {
        place(mount, tree).step(format!("mount {}", String::from_utf8_lossy(&mount.target.0)))?;
    }
    drop(trees.mounts);
    devices(&trees.devices).step("build /dev")?;
    drop(trees.devices);
    make_directory(Path::new("tmp")).step("make /tmp")?;
    let options = format!("mode=1777,size={},nr_inodes=262144", setup.tmp_bytes);
    tmpfs(c"tmp", &c_string(options.as_bytes()).step("mount /tmp")?).step("mount /tmp")?;
    make_directory(Path::new("proc")).step("make /proc")?;
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(c"proc"), c"proc", Some(c"proc"), flags, None).step("mount /proc")?;
    for link in &setup.links {
        let at = relative(&link.at.0);
        make_parents(&at)
            .and_then(|()| std::os::unix::fs::symlink(OsStr::from_bytes(&link.to.0), &at))
            .step(format!("link {}", at.display()))?;
    }
    for file in &setup.files {
        let at = relative(&file.at.0);
        make_parents(&at)
            .and_then(|()| std::fs::write(&at, &file.content.0))
            .step(format!("write {}", at.display()))?;
    }
    std::fs::create_dir_all("var/tmp").step("make /var")?;
    std::fs::create_dir_all("run").step("make /run")?;
    let name = &setup.hostname.0;
    // SAFETY: pointer and length of one live string.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) }.into()).step("set the host name")?;
    move_in().step("leave the host's root")
}

/// Swaps the roots, drops the host's, and seals what is left.
fn move_in() -> io::Result<()> {
    // SAFETY: both paths are static strings.
    check(unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) })?;
    // SAFETY: as above. The old root lies on top of the new one now; this takes it away.
    check(unsafe { libc::umount2(c".".as_ptr(), libc::MNT_DETACH) }.into())?;
    std::env::set_current_dir("/")?;
    for sealed in [c"/dev", c"/"] {
        set_attributes(libc::AT_FDCWD, sealed, libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID, false)?;
    }
    Ok(())
}

fn place(mount: &Mount, tree: &OwnedFd) -> io::Result<()> {
    let target = relative(&mount.target.0);
    if is_directory(tree)? {
        make_directory(&target)?;
    } else {
        make_parents(&target)?;
        std::fs::File::create(&target)?;
    }
    let sealed = if mount.writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    set_attributes(tree.as_raw_fd(), c"", sealed | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, true)?;
    attach(tree, &target)
}

fn devices(nodes: &[OwnedFd]) -> io::Result<()> {
    make_directory(Path::new("dev"))?;
    tmpfs(c"dev", c"mode=0755,size=64k,nr_inodes=64")?;
    for (name, node) in DEVICES.iter().zip(nodes) {
        let target = Path::new("dev").join(name);
        std::fs::File::create(&target)?;
        set_attributes(node.as_raw_fd(), c"", libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC, true)?;
        attach(node, &target)?;
    }
    make_directory(Path::new("dev/pts"))?;
    let flags = libc::MS_NOSUID | libc::MS_NOEXEC;
    let options = Some(c"newinstance,ptmxmode=0666,mode=0620");
    mount(Some(c"devpts"), c"dev/pts", Some(c"devpts"), flags, options)?;
    make_directory(Path::new("dev/shm"))?;
    tmpfs(c"dev/shm", c"mode=1777,size=64m,nr_inodes=16384")?;
    for (to, at) in DEVICE_LINKS {
        std::os::unix::fs::symlink(to, at)?;
    }
    Ok(())
}

/// A path below the root being built, which is the working directory.
fn relative(path: &[u8]) -> PathBuf {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    PathBuf::from(OsStr::from_bytes(path.get(start..).unwrap_or_default()))
}

fn make_parents(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}

/// A directory that may be there already, with its parents.
fn make_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

fn tmpfs(at: &CStr, options: &CStr) -> io::Result<()> {
    mount(Some(c"tmpfs"), at, Some(c"tmpfs"), libc::MS_NOSUID | libc::MS_NODEV, Some(options))
}

fn mount(
    source: Option<&CStr>,
    target: &CStr,
    kind: Option<&CStr>,
    flags: libc::c_ulong,
    options: Option<&CStr>,
) -> io::Result<()> {
    let pointer = |text: Option<&CStr>| text.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: every pointer is null or a live C string.
    let result =
        unsafe { libc::mount(pointer(source), target.as_ptr(), pointer(kind), flags, pointer(options).cast()) };
    check(result.into()).map(drop)
}

/// A private copy of a tree of mounts, mounted nowhere.
fn open_tree(source: &[u8]) -> io::Result<OwnedFd> {
    let source = c_string(source)?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as libc::c_uint;
    // SAFETY: the path is a live C string.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags) })
}

fn set_attributes(fd: libc::c_int, path: &CStr, attributes: u64, recursive: bool) -> io::Result<()> {
    let change = libc::mount_attr { attr_set: attributes, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: path and structure are alive, and its size is given.
    let result = unsafe {
        libc::syscall(libc::SYS_mount_setattr, fd, path.as_ptr(), flags, &raw const change, size_of_val(&change))
    };
    check(result).map(drop)
}

fn attach(tree: &OwnedFd, target: &Path) -> io::Result<()> {
    let target = c_string(target.as_os_str().as_bytes())?;
    // SAFETY: a live descriptor and C strings.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    check(result).map(drop)
}

fn is_directory(fd: &OwnedFd) -> io::Result<bool> {
    // SAFETY: an all-zero stat is valid and has room for the answer.
    let mut stat: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: a live descriptor and a live structure.
    check(unsafe { libc::fstat(fd.as_raw_fd(), &raw mut stat) }.into())?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}
