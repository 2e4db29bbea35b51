//! Files that callers send for COPY steps: one archive each, kept below its template under a digest that the caller made.
//!
//! They are never opened here: a sandbox unpacks them.

use super::super::{Fleet, FleetError};
use super::build::Build;
use crate::domain::SandboxId;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes that stay free on the host's disk.
const KEPT_FREE: u64 = 512 << 20;

impl Fleet {
    /// Where an archive of a template is or will be. The digest is 64 hexadecimal digits, so it is never another path.
    pub fn layer(&self, template: &SandboxId, digest: &str) -> Result<PathBuf, FleetError> {
        if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(FleetError::Invalid("the files' hash is not a SHA-256 in hexadecimal digits".to_owned()));
        }
        Ok(self.inner.dir(template).join("layers").join(digest.to_ascii_lowercase()))
    }

    /// Bytes that a further archive may have: all of a template's together are no larger than a sandbox's disk.
    pub fn room_for_layer(&self, template: &SandboxId) -> Result<u64, FleetError> {
        let (_, disk_mib) = self.size();
        let used: u64 = match std::fs::read_dir(self.inner.dir(template).join("layers")) {
            Ok(entries) => entries.flatten().filter_map(|entry| Some(entry.metadata().ok()?.len())).sum(),
            // The first one makes it.
            Err(_) => 0,
        };
        let disk = rustix::fs::statvfs(&self.inner.data_dir)
            .map_err(|error| FleetError::Sandbox(std::io::Error::from(error).into()))?;
        let free = (disk.f_bavail * disk.f_frsize).saturating_sub(KEPT_FREE);
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
