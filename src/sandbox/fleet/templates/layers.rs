//! Files that callers send for COPY steps: one archive each, kept below its template under a digest that the caller made.
//!
//! They are never opened here: a sandbox unpacks them.

use super::super::{Fleet, FleetError};
use super::build::Build;
use crate::domain::SandboxId;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// Bytes that stay free on the host's disk.
const KEPT_FREE: u64 = 512 << 20;

/// How often the host's free space is looked at while archives come, in bytes of one of them.
const LOOK_EACH: u64 = 16 << 20;

/// What archives of one template may still take.
pub struct Room {
    /// When the first of those that come now began.
    pub most: u64,
    left: AtomicU64,
    folder: PathBuf,
}

/// What one archive has taken of the room. Given back if it is not kept.
pub struct Share {
    room: Arc<Room>,
    taken: u64,
    looked: u64,
}

impl Room {
    /// The room of one more archive.
    pub fn share(self: &Arc<Self>) -> Share {
        Share { room: Arc::clone(self), taken: 0, looked: 0 }
    }

    /// Bytes that are left now.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Takes bytes about to be written; false if there is no room for them. The host's disk is shared with everybody
    /// else, so that is looked at again and again.
    pub fn take(&mut self, bytes: u64) -> bool {
        let left = &self.room.left;
        if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_err() {
            return false;
        }
        self.taken += bytes;
        if self.taken - self.looked < LOOK_EACH {
            return true;
        }
        self.looked = self.taken;
        free(&self.room.folder).is_ok_and(|free| free > LOOK_EACH)
    }

    /// The archive stays.
    pub fn keep(mut self) {
        self.taken = 0;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.room.left.fetch_add(self.taken, Ordering::Relaxed);
    }
}

/// Bytes of the host's disk that may be used.
fn free(folder: &Path) -> std::io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize).saturating_sub(KEPT_FREE))
}

impl Fleet {
    /// Where an archive of a template is or will be. The digest is 64 hexadecimal digits, so it is never another path.
    pub fn layer(&self, template: &SandboxId, digest: &str) -> Result<PathBuf, FleetError> {
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(FleetError::Invalid("the files' hash is not a SHA-256 in hexadecimal digits".to_owned()));
        }
        Ok(self.inner.dir(template).join("layers").join(digest.to_ascii_lowercase()))
    }

    /// The room for archives of a template: all together are no larger than a sandbox's disk. Those that come at the
    /// same time share it.
    pub fn room_for_layers(&self, template: &SandboxId) -> Result<Arc<Room>, FleetError> {
        let mut rooms = super::lock(&self.inner.builds.rooms);
        rooms.retain(|_, room| room.strong_count() > 0);
        if let Some(room) = rooms.get(template).and_then(Weak::upgrade) {
            return Ok(room);
        }
        let most = self.measure_room(template)?;
        let room = Arc::new(Room { most, left: AtomicU64::new(most), folder: self.inner.data_dir.clone() });
        rooms.insert(template.clone(), Arc::downgrade(&room));
        Ok(room)
    }

    fn measure_room(&self, template: &SandboxId) -> Result<u64, FleetError> {
        let (_, disk_mib) = self.size();
        let used: u64 = match std::fs::read_dir(self.inner.dir(template).join("layers")) {
            Ok(entries) => entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum(),
            // The first one makes it.
            Err(_) => 0,
        };
        let free = free(&self.inner.data_dir).map_err(|error| FleetError::Sandbox(error.into()))?;
        Ok((disk_mib << 20).saturating_sub(used).min(free))
    }

    /// The owner's build of this template that waits for files.
    pub fn awaiting_layers(&self, owner: &str, template: &str) -> Result<Arc<Build>, FleetError> {
        self.waiting(|build| build.owner == owner && build.template.as_str() == template)
            .ok_or_else(|| FleetError::NoImage(template.chars().filter(|c| !c.is_control()).take(80).collect()))
    }

    /// The build whose secret opens the way for files.
    pub fn by_upload_token(&self, template: &str, fits: impl Fn(&str) -> bool) -> Option<Arc<Build>> {
        self.waiting(|build| build.template.as_str() == template && fits(&build.upload_token))
    }

    fn waiting(&self, fits: impl Fn(&Build) -> bool) -> Option<Arc<Build>> {
        let known = super::lock(&self.inner.builds.known);
        known.values().filter(|build| build.waits() && fits(build)).max_by_key(|build| build.created_at).cloned()
    }

    /// Removes archives that the newest build does not use: who builds again seldom goes back.
    pub(super) async fn forget_layers(&self, template: &SandboxId, used: HashSet<String>) {
        let folder = self.inner.dir(template).join("layers");
        let swept = tokio::task::spawn_blocking(move || -> std::io::Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if !used.contains(&*entry.file_name().to_string_lossy()) {
                    std::fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        });
        match swept.await {
            Ok(Err(error)) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%template, %error, "archives of an older build were not all removed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_that_come_at_the_same_time_share_the_room_and_give_back_what_is_not_kept() {
        let room = Arc::new(Room { most: 100, left: AtomicU64::new(100), folder: std::env::temp_dir() });
        let (mut one, mut two) = (room.share(), room.share());
        assert!(one.take(60) && !two.take(60) && two.take(40) && !one.take(1));
        drop(one);
        two.keep();
        assert_eq!(room.left(), 60);
    }
}
