//! A workspace's directory on the host: made on first use, owned by the user id its sandbox runs as.
//!
//! The directory's owner is the record of that id, so that a sandbox wakes as the same user and nothing is kept twice.

use super::walk;
use super::wire;
use crate::domain::SandboxId;
use crate::sandbox::SandboxError;
use rustix::fs::{CWD, fchown, fstat};
use rustix::process::{Gid, Uid};
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The first host user id given to sandboxes by a server that runs as root.
const FIRST_UID: u32 = 200_000;
/// How many ids follow it.
const UIDS: u32 = 131_072;

/// A workspace ready to be mounted.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The files a person sees.
    pub files: PathBuf,
    /// Caches and settings of tools, beside the workspace and out of its file tree.
    pub state: PathBuf,
    /// The host's user id that the sandbox's user is.
    pub uid: u32,
    /// The host's group id likewise.
    pub gid: u32,
    /// Whether the server runs as root, so that ids can be chosen.
    pub privileged: bool,
}

/// Host user ids of live sandboxes, and of which workspace each is. Two live ones never share an id.
#[derive(Default)]
pub struct Uids(Mutex<HashMap<u32, PathBuf>>);

impl Uids {
    /// Makes the directories where missing and reserves the id.
    pub fn prepare(&self, id: &SandboxId, files: &Path) -> Result<Workspace, SandboxError> {
        let state = files.with_file_name("state");
        for directory in [files, &state] {
            std::fs::create_dir_all(directory)?;
        }
        let (root, state_root) = (open_root(files)?, open_root(&state)?);
        let euid = rustix::process::geteuid();
        if !euid.is_root() {
            let (uid, gid) = (euid.as_raw(), rustix::process::getegid().as_raw());
            return Ok(Workspace { files: files.to_owned(), state, uid, gid, privileged: false });
        }
        let owner = fstat(&root).map_err(std::io::Error::from)?.st_uid;
        let uid = self.reserve(id, owner, files)?;
        let owned = if uid == owner { own(&state_root, uid) } else { hand_over(&root, &state_root, uid) };
        owned.inspect_err(|_| self.release(uid))?;
        Ok(Workspace { files: files.to_owned(), state, uid, gid: uid, privileged: true })
    }

    /// Gives an id back.
    pub fn release(&self, uid: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&uid);
    }

    /// The id that the workspace had, or another one: while a sandbox slept its id may have been given away.
    fn reserve(&self, id: &SandboxId, owner: u32, files: &Path) -> Result<u32, SandboxError> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.values().any(|used| used == files) {
            return Err(SandboxError::Invalid("this workspace is in use by a live sandbox".to_owned()));
        }
        let start = id.as_str().bytes().fold(0u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
        let own = (owner != 0).then_some(owner);
        let uid = own
            .into_iter()
            .chain((0..UIDS).map(|step| FIRST_UID + start.wrapping_add(step) % UIDS))
            .find(|uid| !taken.contains_key(uid))
            .ok_or_else(|| SandboxError::Limit("too many sandboxes are alive".to_owned()))?;
        taken.insert(uid, files.to_owned());
        Ok(uid)
    }
}

/// Makes an id the owner of all that is in a workspace. Its folder is nobody's until that is done, so that a start that
/// is cut off is not taken for a finished one.
fn hand_over(root: &OwnedFd, state: &OwnedFd, uid: u32) -> Result<(), SandboxError> {
    own(root, 0)?;
    for directory in [state, root] {
        walk::own_tree(directory, uid)?;
        own(directory, uid)?;
    }
    Ok(())
}

/// Opens a workspace's root directory, also one that is closed to its owner.
pub fn open_root(path: &Path) -> Result<OwnedFd, SandboxError> {
    Ok(walk::enter(CWD, path)?)
}

/// Makes the sandbox's user the owner of a file or directory just made.
pub fn own(file: &OwnedFd, uid: u32) -> Result<(), SandboxError> {
    Ok(fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid))).map_err(std::io::Error::from)?)
}

/// Where the workspace and the state folder appear inside.
pub const HOME: &str = "/home/user";
/// See [`HOME`].
pub const STATE: &str = "/var/user";

impl Workspace {
    /// Opens both folders, the files first.
    pub fn open(&self) -> Result<[OwnedFd; 2], SandboxError> {
        Ok([open_root(&self.files)?, open_root(&self.state)?])
    }

    /// The two writable mounts.
    pub fn mounts(&self) -> [wire::Mount; 2] {
        [(&self.files, HOME), (&self.state, STATE)].map(|(source, target)| wire::Mount {
            source: source.as_os_str().as_encoded_bytes().into(),
            target: target.into(),
            writable: true,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn a_workspace_whose_id_was_given_away_while_it_slept_wakes_with_another_one() {
        if !rustix::process::geteuid().is_root() {
            // Only root chooses ids.
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name).join("workspace"));
        let (uids, id) = (Uids::default(), SandboxId::parse("i1234567890abcdefghi").unwrap());
        let slept = uids.prepare(&id, &first).unwrap();
        std::fs::create_dir(first.join("below")).unwrap();
        std::fs::write(first.join("below/file"), "kept").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", first.join("link")).unwrap();
        walk::own_tree(&open_root(&first).unwrap(), slept.uid).unwrap();
        uids.release(slept.uid);
        let other = uids.prepare(&id, &second).unwrap();
        assert_eq!(other.uid, slept.uid);
        let woken = uids.prepare(&id, &first).unwrap();
        assert_ne!(woken.uid, other.uid);
        for path in [first.clone(), first.join("below"), first.join("below/file"), first.join("link"), woken.state] {
            let about = std::fs::symlink_metadata(&path).unwrap();
            assert_eq!((about.uid(), about.gid()), (woken.uid, woken.uid), "{path:?}");
        }
        assert_eq!(std::fs::metadata("/etc/hostname").unwrap().uid(), 0);
        assert!(uids.prepare(&id, &first).unwrap_err().to_string().contains("in use"));
        uids.release(woken.uid);
        assert_eq!(uids.prepare(&id, &first).unwrap().uid, woken.uid, "one that is free is kept");
    }
}
