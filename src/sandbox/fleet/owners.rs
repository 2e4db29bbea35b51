//! What becomes of everything a key made when the key is revoked: it ends, because nobody could reach it any more, and
//! because whoever revokes a key that leaked means what runs under it too.

use super::record::Image;
use super::{Fleet, FleetError, lock};
use crate::store::StoreError;
use std::collections::HashSet;

impl Fleet {
    /// Deletes the sandboxes, snapshots and templates of keys that are gone. Called when a key is revoked here, and from
    /// time to time for those revoked by the command line.
    pub async fn retire(&self) -> Result<(), StoreError> {
        let mut owners: HashSet<String> =
            lock(&self.inner.sandboxes).values().map(|sandbox| sandbox.record().owner).collect();
        owners.extend(lock(&self.inner.images).values().map(|image| image.owner.clone()));
        owners.extend(self.builders());
        if owners.is_empty() {
            return Ok(());
        }
        // Asked after the owners are known: a key that is made now has nothing yet.
        for key in self.inner.store.keys().list().await? {
            owners.remove(&key.id);
        }
        for owner in owners {
            self.end_owner(&owner).await;
        }
        Ok(())
    }

    async fn end_owner(&self, owner: &str) {
        self.cancel_builds(owner);
        let sandboxes: Vec<_> = lock(&self.inner.sandboxes).values().cloned().collect();
        for sandbox in sandboxes.iter().filter(|sandbox| sandbox.record().owner == owner) {
            match self.kill(sandbox).await {
                Ok(()) | Err(FleetError::NoSandbox(_)) => {}
                Err(error) => tracing::warn!(sandbox = %sandbox.id(), %error, "a sandbox outlives its key"),
            }
        }
        let images: Vec<Image> = self.images(owner);
        for image in images {
            let removed = match image.public_id() == &image.id {
                true => self.remove_image(&image.id).await,
                false => self.delete_template(image.public_id()).await,
            };
            if let Err(error) = removed {
                tracing::warn!(image = %image.id, %error, "an image outlives its key");
            }
        }
    }
}
