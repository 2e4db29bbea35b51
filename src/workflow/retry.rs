//! How often a task is tried and how long to wait in between.

use serde::{Deserialize, Serialize};

/// A retry policy with exponential backoff.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub max_attempts: u32,
    /// Each wait is so many times the one before.
    pub factor: f64,
    /// The first wait, in milliseconds.
    pub min_ms: u64,
    /// The longest wait, in milliseconds.
    pub max_ms: u64,
    /// Whether a wait is stretched by a random factor between 1 and 2, so that many runs do not retry together.
    pub jitter: bool,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, factor: 2.0, min_ms: 1_000, max_ms: 10_000, jitter: true }
    }
}

impl RetryPolicy {
    /// One attempt.
    pub fn never() -> Self {
        Self { max_attempts: 1, ..Self::default() }
    }

    /// How long to wait after attempt `attempt` (from 1) failed, in milliseconds. `random` is in `0.0..1.0`.
    pub fn delay_ms(&self, attempt: u32, random: f64) -> u64 {
        let steps = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let stretch = if self.jitter { 1.0 + random } else { 1.0 };
        let wait = self.min_ms as f64 * self.factor.powi(steps) * stretch;
        // A float beyond the range becomes the range's end.
        (wait as u64).min(self.max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_one_second_and_stop_at_ten() {
        let policy = RetryPolicy { jitter: false, ..RetryPolicy::default() };
        let waits: Vec<u64> = (1..=6).map(|attempt| policy.delay_ms(attempt, 0.9)).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(policy.delay_ms(u32::MAX, 0.0), 10_000);
    }

    #[test]
    fn jitter_stretches_a_wait_by_less_than_two() {
        let policy = RetryPolicy::default();
        assert_eq!(policy.delay_ms(1, 0.0), 1_000);
        assert_eq!(policy.delay_ms(1, 0.999), 1_999);
    }
}
