//! Forms that may be sent twice and must act once: each look at a page has a mark, and what a mark has led to is kept for
//! a while.
//!
//! A browser that sends a form again gives up its first request, so the work is a task of its own that no request owns.

use super::AppState;
use super::error::Failure;
use crate::domain::ApiError;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// How long a mark is remembered.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// Marks remembered at most; the oldest are forgotten first.
const MARKS_MAX: usize = 1_000;
/// The longest mark.
const MARK_MAX: usize = 64;

/// Where the work of a mark has led: an address.
type Led = Arc<OnceCell<String>>;

/// What has been done.
#[derive(Default)]
pub struct Once(Mutex<HashMap<(String, u64), (Instant, Led)>>);

impl Once {
    /// A mark for a page that is drawn now.
    pub fn mark() -> String {
        ulid::Ulid::new().to_string().to_ascii_lowercase()
    }

    /// The same cell for the same mark and what was asked under it.
    fn cell(&self, mark: &str, asked: &str) -> Led {
        let mut hash = DefaultHasher::new();
        asked.hash(&mut hash);
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.retain(|_, (at, _)| at.elapsed() < KEPT);
        let key = (mark.to_owned(), hash.finish());
        if marks.len() >= MARKS_MAX && !marks.contains_key(&key) {
            let oldest = marks.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| key.clone());
            oldest.and_then(|key| marks.remove(&key));
        }
        Arc::clone(&marks.entry(key).or_insert_with(|| (Instant::now(), Led::default())).1)
    }
}

impl AppState {
    /// Does the work once for a mark and what was asked (a form that was changed is another), and says where it led to;
    /// whoever asks again waits for the same. After a failure it is done again. Without a mark it is just done.
    pub(super) fn once(
        &self,
        mark: &str,
        asked: &str,
        work: impl Future<Output = Result<String, Failure>> + Send + 'static,
    ) -> BoxFuture<'static, Result<String, Failure>> {
        let work = work.boxed();
        if mark.is_empty() || mark.len() > MARK_MAX {
            return work;
        }
        let (cell, shutdown) = (self.once.cell(mark, asked), self.shutdown.clone());
        let task = self.tasks.spawn(async move {
            let led = shutdown.run_until_cancelled(cell.get_or_try_init(|| work)).await;
            led.unwrap_or_else(|| Err(ApiError::internal("The server is shutting down.").into())).cloned()
        });
        let lost = |_| Err(ApiError::internal("The server failed to do this.").into());
        async move { task.await.unwrap_or_else(lost) }.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_cell_for_what_was_asked_and_old_ones_are_forgotten() {
        let once = Once::default();
        let first = once.cell("a", "x");
        assert!(Arc::ptr_eq(&first, &once.cell("a", "x")));
        assert!(!Arc::ptr_eq(&first, &once.cell("a", "y")) && !Arc::ptr_eq(&first, &once.cell("b", "x")));
        for n in 0..MARKS_MAX {
            once.cell(&n.to_string(), "");
        }
        assert_eq!(once.0.lock().unwrap().len(), MARKS_MAX);
        assert!(!Arc::ptr_eq(&first, &once.cell("a", "x")));
    }
}
