//! Copies a workspace: by shared blocks where the file system has them, else by the kernel's fast copy.
//!
//! The source may be hostile and alive: links are copied as links, what is neither file, folder nor link is left out,
//! and an entry that vanishes meanwhile is not an error; one that cannot be read is. A copy never takes more disk than
//! its source: holes stay holes, several names of one file stay that, and there is a limit to all of it.

use super::walk;
use super::workspace::{Workspace, open_root, own};
use crate::config::SandboxConfig;
use crate::sandbox::SandboxError;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, UTIME_OMIT, chownat, fchmod, fstatvfs,
    futimens, ioctl_ficlone, linkat, mkdirat, openat, readlinkat, seek, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use std::collections::HashMap;
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

/// Each level holds two descriptors while it is copied.
const DEEPEST: usize = 256;

/// Copies the files and the tools' state beside them. The target exists and is empty. What it may take is what a
/// workspace may, and what the host's disk has to give.
pub fn workspace(from: &Path, to: &Workspace, config: &SandboxConfig) -> Result<(), SandboxError> {
    let [files, state] = to.open()?;
    let mut room = Room::on(&files, config)?;
    let owner = to.privileged.then_some(to.uid);
    Copy::new(owner, &files, &mut room).tree(&open_root(from)?, &files, 0)?;
    match open_root(&from.with_file_name("state")) {
        Ok(from) => Copy::new(owner, &state, &mut room).tree(&from, &state, 0),
        // It was never started, so there is none yet.
        Err(SandboxError::Io(_) | SandboxError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// What a copy may still take.
struct Room {
    bytes: u64,
    files: u64,
    /// What is said when there is not enough.
    out_of_bytes: String,
    out_of_files: String,
}

impl Room {
    fn on(target: &OwnedFd, config: &SandboxConfig) -> Result<Self, SandboxError> {
        let (limit, floor) = (config.disk_mib << 20, config.disk_floor_mib << 20);
        let space = fstatvfs(target).map_err(io::Error::from)?;
        let free = space.f_bavail.saturating_mul(space.f_frsize).saturating_sub(floor);
        let out_of_bytes = if free < limit {
            format!("the host's disk has no room for this copy: {} MiB stay free", config.disk_floor_mib)
        } else {
            format!("the copy would be larger than the {} MiB that a workspace may have", config.disk_mib)
        };
        let out_of_files = format!("the copy would have more than the {} files of a workspace", config.files);
        Ok(Self { bytes: limit.min(free), files: config.files, out_of_bytes, out_of_files })
    }

    fn take(&mut self, bytes: u64) -> Result<(), SandboxError> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or_else(|| SandboxError::Limit(self.out_of_bytes.clone()))?;
        Ok(())
    }

    fn take_entry(&mut self) -> Result<(), SandboxError> {
        let left = self.files.checked_sub(1);
        self.files = left.ok_or_else(|| SandboxError::Limit(self.out_of_files.clone()))?;
        Ok(())
    }
}

struct Copy<'a> {
    /// Who owns what is made, where the server can choose.
    owner: Option<u32>,
    root: &'a OwnedFd,
    room: &'a mut Room,
    /// Where it is below the root, with a slash behind each part.
    path: Vec<u8>,
    /// Files with several names: device and number of the source, and the first name of the copy below the root.
    several: HashMap<(u64, u64), Vec<u8>>,
}

impl<'a> Copy<'a> {
    fn new(owner: Option<u32>, root: &'a OwnedFd, room: &'a mut Room) -> Self {
        Self { owner, root, room, path: Vec::new(), several: HashMap::new() }
    }

    fn tree(&mut self, from: &OwnedFd, to: &OwnedFd, depth: usize) -> Result<(), SandboxError> {
        if depth > DEEPEST {
            return Err(SandboxError::Limit(format!("the workspace has more than {DEEPEST} levels of folders")));
        }
        for (name, _) in walk::within(from, || walk::names(from))? {
            let Some(stat) = walk::there(walk::within(from, || walk::stat(from, &name)))? else { continue };
            self.room.take_entry()?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => self.file(from, to, &name, &stat)?,
                FileType::Symlink => self.link(from, to, &name, &stat)?,
                FileType::Directory => {
                    let Some(below) = walk::there(walk::enter(from, name.as_c_str()))? else { continue };
                    mkdirat(to, &*name, Mode::from_raw_mode(0o700)).map_err(io::Error::from)?;
                    let made = walk::open_dir(to, &*name)?;
                    let before = self.path.len();
                    self.path.extend_from_slice(name.as_bytes());
                    self.path.push(b'/');
                    self.tree(&below, &made, depth + 1)?;
                    self.path.truncate(before);
                    self.finish(&made, &stat)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn file(&mut self, from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), SandboxError> {
        let (key, several) = ((stat.st_dev, stat.st_ino), stat.st_nlink > 1);
        // Nobody works in the copy, and its folders are ours: the name leads to what was made under it. One that is too
        // long for that becomes a file of its own.
        if several
            && let Some(first) = self.several.get(&key)
            && linkat(self.root, first, to, name, AtFlags::empty()).is_ok()
        {
            return Ok(());
        }
        let Some(source) = walk::there(walk::open_file(from, name))? else { return Ok(()) };
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(to, name, flags, Mode::from_raw_mode(0o600)).map_err(io::Error::from)?;
        if ioctl_ficlone(&target, &source).is_ok() {
            self.room.take(u64::try_from(stat.st_blocks).unwrap_or(0) * 512)?;
        } else {
            self.content(&File::from(source), &File::from(target.try_clone()?))?;
        }
        if several {
            self.several.insert(key, [self.path.as_slice(), name.to_bytes()].concat());
        }
        self.finish(&target, stat)
    }

    /// Copies what is there and leaves the holes.
    fn content(&mut self, mut source: &File, mut target: &File) -> Result<(), SandboxError> {
        let length = source.metadata()?.len();
        let mut at = 0;
        while at < length {
            let (start, end) = match seek(source, SeekFrom::Data(at)) {
                Ok(start) => (start, seek(source, SeekFrom::Hole(start)).map_err(io::Error::from)?.min(length)),
                Err(Errno::NXIO) => break,
                // A file system that tells of no holes has none.
                Err(Errno::INVAL) => (at, length),
                Err(error) => return Err(io::Error::from(error).into()),
            };
            if start >= end {
                break;
            }
            self.room.take(end - start)?;
            for file in [source, target] {
                seek(file, SeekFrom::Start(start)).map_err(io::Error::from)?;
            }
            io::copy(&mut Read::take(&mut source, end - start), &mut target)?;
            at = end;
        }
        Ok(target.set_len(length)?)
    }

    fn link(&self, from: &OwnedFd, to: &OwnedFd, name: &CStr, stat: &Stat) -> Result<(), SandboxError> {
        let Some(target) = walk::there(readlinkat(from, name, Vec::new()).map_err(Into::into))? else { return Ok(()) };
        symlinkat(&*target, to, name).map_err(io::Error::from)?;
        if let Some(owner) = self.owner {
            let (uid, gid) = (Uid::from_raw(owner), Gid::from_raw(owner));
            chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?;
        }
        Ok(utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).map_err(io::Error::from)?)
    }

    fn finish(&self, made: &OwnedFd, stat: &Stat) -> Result<(), SandboxError> {
        if let Some(owner) = self.owner {
            own(made, owner)?;
        }
        fchmod(made, Mode::from_raw_mode(stat.st_mode & 0o777)).map_err(io::Error::from)?;
        Ok(futimens(made, &times(stat)).map_err(io::Error::from)?)
    }
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Borrowed;
    use super::super::walk::disk_usage;
    use super::*;
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    /// A folder with a workspace to copy and one to copy to.
    struct Folders(tempfile::TempDir);

    impl Folders {
        fn new() -> Self {
            let folders = Self(tempfile::tempdir().unwrap());
            for path in ["from/files/deep", "to/files", "to/state"] {
                std::fs::create_dir_all(folders.0.path().join(path)).unwrap();
            }
            folders
        }

        fn from(&self, path: &str) -> std::path::PathBuf {
            self.0.path().join("from/files").join(path)
        }

        fn to(&self, path: &str) -> std::path::PathBuf {
            self.0.path().join("to/files").join(path)
        }

        fn copy(&self, config: &SandboxConfig) -> Result<(), SandboxError> {
            let (files, state) = (self.to(""), self.0.path().join("to/state"));
            workspace(&self.from(""), &Workspace { files, state, uid: 0, gid: 0, privileged: false }, config)
        }
    }

    fn limits(disk_mib: u64, files: u64) -> SandboxConfig {
        SandboxConfig { disk_mib, files, disk_floor_mib: 0, ..SandboxConfig::default() }
    }

    #[test]
    fn holes_stay_holes_and_files_with_several_names_stay_one() {
        let folders = Folders::new();
        let sparse = File::create(folders.from("sparse")).unwrap();
        sparse.write_all_at(b"middle", 512 << 20).unwrap();
        sparse.set_len(1 << 30).unwrap();
        std::fs::write(folders.from("one"), vec![7; 600_000]).unwrap();
        for name in ["deep/two", "deep/three"] {
            std::fs::hard_link(folders.from("one"), folders.from(name)).unwrap();
        }
        folders.copy(&limits(1, 10)).unwrap();
        let copy = File::open(folders.to("sparse")).unwrap();
        let mut middle = [0; 8];
        copy.read_exact_at(&mut middle, (512 << 20) - 1).unwrap();
        assert_eq!((copy.metadata().unwrap().len(), &middle), (1 << 30, b"\0middle\0"));
        let number = |name: &str| std::fs::metadata(folders.to(name)).unwrap().ino();
        assert!(number("one") == number("deep/two") && number("one") == number("deep/three"));
        assert_eq!(std::fs::read(folders.to("deep/three")).unwrap(), vec![7; 600_000]);
        let [from, to] = [folders.from(""), folders.to("")].map(|path| disk_usage(&open_root(&path).unwrap()).unwrap());
        assert_eq!((from.files, to.files), (5, 5));
        assert!(to.bytes <= from.bytes, "{to:?} of {from:?}");
    }

    #[test]
    fn what_its_owner_may_not_read_is_copied_and_stays_as_it_is() {
        // Root may read everything, so as somebody else, on a thread of its own.
        let copied = std::thread::spawn(|| {
            let _user = Borrowed::take(231_001, 231_002).unwrap();
            let folders = Folders::new();
            let set = |path: &Path, mode| set_permissions(path, Permissions::from_mode(mode)).unwrap();
            std::fs::write(folders.from("deep/secret"), "kept").unwrap();
            set(&folders.from("deep/secret"), 0o000);
            set(&folders.from("deep"), 0o000);
            folders.copy(&limits(1, 10)).unwrap();
            for place in [folders.from("deep"), folders.to("deep")] {
                set(&place, 0o700);
                let file = place.join("secret");
                assert_eq!(std::fs::metadata(&file).unwrap().mode() & 0o777, 0);
                set(&file, 0o600);
                assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
            }
        });
        copied.join().unwrap();
    }

    #[test]
    fn a_copy_has_the_limits_of_a_workspace_and_leaves_the_host_its_free_space() {
        let folders = Folders::new();
        std::fs::write(folders.from("big"), vec![7; 3 << 20]).unwrap();
        for (config, why) in [
            (limits(2, 10), "the copy would be larger than the 2 MiB that a workspace may have"),
            (limits(4, 1), "the copy would have more than the 1 files of a workspace"),
            (
                SandboxConfig { disk_floor_mib: 1 << 40, ..limits(4, 10) },
                "the host's disk has no room for this copy: 1099511627776 MiB stay free",
            ),
        ] {
            assert_eq!(folders.copy(&config).unwrap_err().to_string(), why);
            for left in ["big", "deep"] {
                let _not_made =
                    std::fs::remove_file(folders.to(left)).or_else(|_| std::fs::remove_dir(folders.to(left)));
            }
        }
        folders.copy(&limits(4, 10)).unwrap();
        assert_eq!(std::fs::metadata(folders.to("big")).unwrap().len(), 3 << 20);
    }
}
