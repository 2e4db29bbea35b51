//! How much callers may still write into a sandbox's files.
//!
//! Commands are watched by the provider; what comes in from outside is counted here, byte by byte and for all uploads
//! together, because a measurement is made only now and then.

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
    pub async fn refresh(&self, room: impl Future<Output = io::Result<u64>>) -> io::Result<()> {
        if self.left.load(Ordering::Relaxed) <= self.again_at.load(Ordering::Relaxed) {
            let room = room.await?;
            self.left.store(room, Ordering::Relaxed);
            self.again_at.store(room / 2, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Takes room for bytes about to be written. What has no room now may have some the next time, so then it is measured
    /// whatever is left: that may be nearly all of the little there was.
    pub fn take(&self, bytes: u64) -> io::Result<()> {
        let taken = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        taken.map(drop).map_err(|_| {
            self.again_at.store(u64::MAX, Ordering::Relaxed);
            io::ErrorKind::FileTooLarge.into()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_measured_again_after_it_did_not_suffice() {
        let quota = Quota::default();
        let room = |bytes: u64| async move { Ok(bytes) };
        quota.refresh(room(10)).await.unwrap();
        assert!(quota.take(11).is_err(), "all ten are left");
        quota.refresh(room(1000)).await.unwrap();
        quota.take(11).unwrap();
        quota.refresh(async { panic!("there is plenty") }).await.unwrap();
    }
}
