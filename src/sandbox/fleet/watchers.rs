//! Watches on directories that a caller asks about from time to time, instead of listening to a stream.

use crate::sandbox::entry::lock;
use crate::sandbox::provider::TreeEvent;
use std::collections::HashMap;
use std::sync::Mutex;
use tokio::sync::mpsc;

/// Watches of one sandbox.
const WATCHERS_MAX: usize = 64;

/// The watches of a sandbox. What happens between two questions waits in each one's own bounded queue.
#[derive(Default)]
pub struct Watchers {
    watches: Mutex<HashMap<String, (String, mpsc::Receiver<TreeEvent>)>>,
}

impl Watchers {
    /// Keeps a watch on a directory; its id, or none if there are too many.
    pub fn add(&self, path: &str, events: mpsc::Receiver<TreeEvent>) -> Option<String> {
        let mut watches = lock(&self.watches);
        if watches.len() >= WATCHERS_MAX {
            return None;
        }
        let id = format!("w{}", ulid::Ulid::new().to_string().to_ascii_lowercase());
        watches.insert(id.clone(), (path.to_owned(), events));
        Some(id)
    }

    /// The directory and what happened in it since the last question; none for an unknown id.
    pub fn take(&self, id: &str) -> Option<(String, Vec<TreeEvent>)> {
        let mut watches = lock(&self.watches);
        let (path, events) = watches.get_mut(id)?;
        let taken = std::iter::from_fn(|| events.try_recv().ok()).collect();
        Some((path.clone(), taken))
    }

    /// Ends a watch; whether there was one.
    pub fn remove(&self, id: &str) -> bool {
        lock(&self.watches).remove(id).is_some()
    }
}
