//! Doing file work with exactly the rights of a sandbox's user, on one thread, for a moment.
//!
//! A server that is root could otherwise read and write what the sandbox's own user may not. Only the file system's
//! ids change, which the kernel keeps for each thread; with them go the rights that override permissions.

use rustix::process::{getegid, geteuid, getgroups};

/// Until dropped, files are opened and made by this thread as the sandbox's user.
pub struct Borrowed {
    groups: Vec<libc::gid_t>,
}

impl Borrowed {
    /// Takes the user's place. A server that is not root is that user already.
    pub fn take(uid: u32, gid: u32) -> std::io::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let groups = getgroups()?.into_iter().map(rustix::process::Gid::as_raw).collect();
        set_groups(&[])?;
        let guard = Self { groups };
        set_ids(uid, gid);
        // The calls report no failure; asking for an id that does not exist tells the present one.
        // SAFETY: plain numbers; an invalid id changes nothing.
        let taken = unsafe { libc::setfsgid(u32::MAX) as u32 == gid && libc::setfsuid(u32::MAX) as u32 == uid };
        if taken { Ok(Some(guard)) } else { Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied)) }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        set_ids(geteuid().as_raw(), getegid().as_raw());
        if let Err(error) = set_groups(&self.groups) {
            tracing::warn!(%error, "a thread works on without the server's supplementary groups");
        }
    }
}

fn set_ids(uid: u32, gid: u32) {
    // SAFETY: plain numbers, for this thread only. The group goes first, while the right to change it is there.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
    }
}

/// The system call itself: the C library's function would change every thread.
fn set_groups(groups: &[libc::gid_t]) -> std::io::Result<()> {
    // SAFETY: a live list and its length.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
