//! The engine's time, so that tests of delays do not wait for them.

use crate::store::now_ms;
use async_trait::async_trait;
use std::time::Duration;

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// Returns once [`Clock::now_ms`] is at or past `at`.
    async fn sleep_until(&self, at: u64);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        now_ms()
    }

    async fn sleep_until(&self, at: u64) {
        // The timer does not follow a clock that is set; what is left is looked at again when it fires.
        while let Some(left) = at.checked_sub(now_ms()).filter(|left| *left > 0) {
            tokio::time::sleep(Duration::from_millis(left)).await;
        }
    }
}
