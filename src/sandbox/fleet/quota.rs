//! How much callers may still write into a sandbox's files.
//!
//! Commands are watched by the provider; what comes in from outside is counted here, byte by byte and for all uploads
//! together, because a measurement is made only now and then.

use crate::sandbox::provider::Tree;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// The room of one live sandbox.
#[derive(Debug, Default)]
pub struct Quota {
    /// Bytes left, as counted since the last measurement.
    left: AtomicU64,
    /// Measured again once no more than this is left.
    again_at: AtomicU64,
}

impl Quota {
    /// Measures if much was written since the last time, or something may have been removed from a full sandbox.
    pub async fn refresh(&self, tree: &dyn Tree) -> io::Result<()> {
        if self.left.load(Ordering::Relaxed) <= self.again_at.load(Ordering::Relaxed) {
            let room = tree.room().await?;
            self.left.store(room, Ordering::Relaxed);
            self.again_at.store(room / 2, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes room for bytes about to be written.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(drop).map_err(|_| io::ErrorKind::FileTooLarge.into())
    }
}
