//! Doing file work with exactly the rights of a sandbox's user, on one thread, for a moment.
//!
//! A server that is root could otherwise read and write what the sandbox's own user may not. Only the file system's
//! ids change, which the kernel keeps for each thread; with them go the rights that override permissions.

use rustix::process::{geteuid, getgroups};
use std::marker::PhantomData;

/// Until dropped, files are opened and made by this thread as the sandbox's user. A thread that is started meanwhile
/// would stay that user for good, so nothing is.
pub struct Borrowed {
    groups: Vec<libc::gid_t>,
    /// Who the thread was: the server, or another user if this one was borrowed inside of that.
    uid: u32,
    gid: u32,
    /// It is this thread's and no other's: the compiler keeps it here.
    _here: PhantomData<*const ()>,
}

impl Borrowed {
    /// Takes the user's place. A server that is not root is that user already.
    pub fn take(uid: u32, gid: u32) -> std::io::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let groups = getgroups()?.into_iter().map(rustix::process::Gid::as_raw).collect();
        set_groups(&[])?;
        // From here on the guard puts everything back, also when a panic unwinds.
        let (own_uid, own_gid) = current();
        let guard = Self { groups, uid: own_uid, gid: own_gid, _here: PhantomData };
        set_ids(uid, gid);
        if current() == (uid, gid) {
            Ok(Some(guard))
        } else {
            Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied))
        }
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        set_ids(self.uid, self.gid);
        if current() != (self.uid, self.gid) {
            tracing::error!("a thread works on as a sandbox's user");
        }
        if let Err(error) = set_groups(&self.groups) {
            tracing::warn!(%error, "a thread works on without the server's supplementary groups");
        }
    }
}

/// Sets both ids of this thread; those before. The calls report no failure.
fn set_ids(uid: u32, gid: u32) -> (u32, u32) {
    // SAFETY: plain numbers, for this thread only. The right to change the group is not one of those that go.
    unsafe {
        let group = libc::setfsgid(gid);
        (libc::setfsuid(uid).cast_unsigned(), group.cast_unsigned())
    }
}

/// The ids now: asking for one that does not exist changes nothing and tells the present one.
fn current() -> (u32, u32) {
    set_ids(u32::MAX, u32::MAX)
}

/// The system call itself: the C library's function would change every thread.
fn set_groups(groups: &[libc::gid_t]) -> std::io::Result<()> {
    // SAFETY: a live list and its length.
    let result = unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    const OTHERS: (u32, u32) = (231_001, 231_002);

    /// On a thread of its own, because a failure would leave it changed.
    fn as_root(test: fn()) {
        if geteuid().is_root() {
            std::thread::spawn(test).join().unwrap();
        } else {
            assert!(Borrowed::take(OTHERS.0, OTHERS.1).unwrap().is_none(), "who is not root stays who it is");
        }
    }

    #[test]
    fn files_are_made_as_the_user_and_what_only_root_may_read_is_refused() {
        as_root(|| {
            let folder = tempfile::tempdir().unwrap();
            let (secret, made) = (folder.path().join("secret"), folder.path().join("made"));
            std::fs::write(&secret, "x").unwrap();
            std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
            let guard = Borrowed::take(OTHERS.0, OTHERS.1).unwrap();
            assert_eq!(std::fs::read(&secret).unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
            std::fs::write(&made, "x").unwrap();
            drop(guard);
            let meta = std::fs::metadata(&made).unwrap();
            assert_eq!((meta.uid(), meta.gid()), OTHERS);
            std::fs::read(&secret).unwrap();
        });
    }

    #[test]
    fn a_panic_and_a_second_guard_leave_the_thread_as_it_was() {
        as_root(|| {
            let before = (current(), getgroups().unwrap());
            let panicked = std::panic::catch_unwind(|| {
                let _guard = Borrowed::take(OTHERS.0, OTHERS.1).unwrap();
                panic!("in the middle");
            });
            assert!(panicked.is_err());
            assert_eq!((current(), getgroups().unwrap()), before);
            let outer = Borrowed::take(OTHERS.0, OTHERS.1).unwrap();
            drop(Borrowed::take(OTHERS.0 + 7, OTHERS.1 + 7).unwrap());
            assert_eq!(current(), OTHERS, "the outer user is back, not the server");
            drop(outer);
            assert_eq!((current(), getgroups().unwrap()), before);
        });
    }

    #[test]
    fn other_threads_stay_who_they_are() {
        as_root(|| {
            let (ask, asked) = std::sync::mpsc::channel();
            let (answer, answered) = std::sync::mpsc::channel();
            let other = std::thread::spawn(move || {
                asked.recv().unwrap();
                answer.send(current()).unwrap();
            });
            let before = current();
            let _guard = Borrowed::take(OTHERS.0, OTHERS.1).unwrap();
            ask.send(()).unwrap();
            assert_eq!(answered.recv().unwrap(), before);
            other.join().unwrap();
        });
    }
}
