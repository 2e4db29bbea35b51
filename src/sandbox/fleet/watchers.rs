//! Watches on directories that a caller asks about from time to time, instead of listening to a stream.

use crate::sandbox::entry::lock;
use crate::sandbox::provider::TreeEvent;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Watches of one sandbox, those that are listened to by a stream included. All sandboxes share what the kernel gives one
/// user of the host, often 128.
pub const WATCHERS_MAX: usize = 32;

/// The watches of a sandbox. What happens between two questions waits in each one's own bounded queue.
pub struct Watchers {
    watches: Mutex<HashMap<String, Watch>>,
    places: Arc<Semaphore>,
}

struct Watch {
    path: String,
    events: mpsc::Receiver<TreeEvent>,
    _place: OwnedSemaphorePermit,
}

impl Default for Watchers {
    fn default() -> Self {
        Self { watches: Mutex::default(), places: Arc::new(Semaphore::new(WATCHERS_MAX)) }
    }
}

impl Watchers {
    /// A place for one more watch, held while there is that watch; none if there are too many.
    pub fn place(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// Keeps a watch on a directory; its id.
    pub fn add(&self, path: &str, events: mpsc::Receiver<TreeEvent>, place: OwnedSemaphorePermit) -> String {
        let id = format!("w{}", ulid::Ulid::new().to_string().to_ascii_lowercase());
        lock(&self.watches).insert(id.clone(), Watch { path: path.to_owned(), events, _place: place });
        id
    }

    /// The directory and what happened in it since the last question; none for an unknown id.
    pub fn take(&self, id: &str) -> Option<(String, Vec<TreeEvent>)> {
        let mut watches = lock(&self.watches);
        let watch = watches.get_mut(id)?;
        let taken = std::iter::from_fn(|| watch.events.try_recv().ok()).collect();
        Some((watch.path.clone(), taken))
    }

    /// Ends a watch; whether there was one.
    pub fn remove(&self, id: &str) -> bool {
        lock(&self.watches).remove(id).is_some()
    }
}
