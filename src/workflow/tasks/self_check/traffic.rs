//! A page's requests, as far as they say when it is quiet. What the protocol calls them is `look`'s.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// A page is quiet when for so long nothing came from the network.
pub const QUIET: Duration = Duration::from_millis(500);
/// A request that is open for so long is taken for a stream, which a quiet page may have.
pub const STREAM: Duration = Duration::from_secs(2);
/// Requests that are followed at a time.
const REQUESTS_MAX: usize = 1_000;

/// What a page waits for.
#[derive(Debug)]
pub struct Traffic {
    stirred: Instant,
    /// Open requests, and when they were sent.
    open: HashMap<String, Instant>,
}

impl Traffic {
    /// Nothing yet.
    pub fn new(now: Instant) -> Self {
        Self { stirred: now, open: HashMap::new() }
    }

    /// Something happened to the page.
    pub fn stir(&mut self, now: Instant) {
        self.stirred = now;
    }

    /// A request was sent.
    pub fn send(&mut self, id: &str, now: Instant) {
        if self.open.len() < REQUESTS_MAX {
            self.open.insert(id.to_owned(), now);
            self.stirred = now;
        }
    }

    /// A request ended, if it was waited for.
    pub fn end(&mut self, id: &str, now: Instant) {
        if self.open.remove(id).is_some() {
            self.stirred = now;
        }
    }

    /// A request turned out to be a stream.
    pub fn pass_over(&mut self, id: &str) {
        self.open.remove(id);
    }

    /// When the page is quiet, if nothing more happens.
    pub fn quiet_at(&self) -> Instant {
        let answered = self.open.values().max().map(|sent| *sent + STREAM);
        (self.stirred + QUIET).max(answered.unwrap_or(self.stirred))
    }
}
