//! Places: how many runs execute at once, and who goes next.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Sets of places kept although all their places are free.
const IDLE_KEPT: usize = 256;

/// A number of places. Those who wait are served by rank, the lowest first, then in the order they came.
#[derive(Clone)]
pub(super) struct Places {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    total: usize,
    free: usize,
    /// Each gets its place through its channel: a receiver that is gone drops the place, which passes it on.
    waiting: BTreeMap<(i64, u64), oneshot::Sender<Place>>,
    arrivals: u64,
}

/// A taken place, given back when dropped.
pub(super) struct Place(Option<Places>);

impl Places {
    /// So many places, all free.
    pub(super) fn new(total: usize) -> Self {
        let inner = Inner { total, free: total, waiting: BTreeMap::new(), arrivals: 0 };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Waits for a place.
    pub(super) async fn take(&self, rank: i64) -> Place {
        let granted = {
            let mut inner = self.lock();
            if inner.free > 0 {
                inner.free -= 1;
                return Place(Some(self.clone()));
            }
            let (sender, granted) = oneshot::channel();
            let key = (rank, inner.arrivals);
            inner.arrivals += 1;
            inner.waiting.insert(key, sender);
            granted
        };
        match granted.await {
            Ok(place) => place,
            // Senders are dropped unused only with all places.
            Err(_) => Place(Some(self.clone())),
        }
    }

    /// Whether nobody holds a place or may be about to take one.
    fn is_idle(&self) -> bool {
        let inner = self.lock();
        inner.free == inner.total && Arc::strong_count(&self.inner) == 1
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(places) = self.0.take() else { return };
        loop {
            let next = {
                let mut inner = places.lock();
                match inner.waiting.pop_first() {
                    Some((_, next)) => next,
                    None => {
                        inner.free += 1;
                        return;
                    }
                }
            };
            match next.send(Self(Some(places.clone()))) {
                Ok(()) => return,
                // Whoever waited has given up: the place goes to the one after, here and not by another drop.
                Err(mut place) => place.0 = None,
            }
        }
    }
}

/// Places by name, each set made when it is first asked for.
pub(super) struct Groups {
    size: usize,
    groups: Mutex<HashMap<String, Places>>,
}

impl Groups {
    /// Every group has so many places.
    pub(super) fn new(size: usize) -> Self {
        Self { size, groups: Mutex::default() }
    }

    /// The places of a group.
    pub(super) fn of(&self, name: &str) -> Places {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() > IDLE_KEPT {
            groups.retain(|_, places| !places.is_idle());
        }
        groups.entry(name.to_owned()).or_insert_with(|| Places::new(self.size)).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::pin::pin;

    #[test]
    fn a_free_place_goes_to_the_lowest_rank_and_then_to_who_came_first() {
        let places = Places::new(1);
        let held = places.take(0).now_or_never().unwrap();
        let (mut late, mut early, mut urgent) = (pin!(places.take(5)), pin!(places.take(5)), pin!(places.take(1)));
        assert!(late.as_mut().now_or_never().is_none());
        assert!(early.as_mut().now_or_never().is_none());
        assert!(urgent.as_mut().now_or_never().is_none());
        drop(held);
        let held = urgent.now_or_never().unwrap();
        assert!(early.as_mut().now_or_never().is_none());
        drop(held);
        let held = late.now_or_never().unwrap();
        drop(held);
        assert!(early.now_or_never().is_some());
        assert!(places.is_idle());
    }

    #[test]
    fn a_place_is_not_lost_with_one_who_gave_up_waiting() {
        let places = Places::new(1);
        let held = places.take(0).now_or_never().unwrap();
        {
            let mut gone = pin!(places.take(0));
            assert!(gone.as_mut().now_or_never().is_none());
        }
        {
            let mut granted = pin!(places.take(1));
            assert!(granted.as_mut().now_or_never().is_none());
            drop(held);
            // Granted, but never looked at.
        }
        assert!(places.take(2).now_or_never().is_some());
    }

    #[test]
    fn groups_do_not_share_places() {
        let groups = Groups::new(1);
        let _held = groups.of("a").take(0).now_or_never().unwrap();
        assert!(groups.of("a").take(0).now_or_never().is_none());
        assert!(groups.of("b").take(0).now_or_never().is_some());
    }
}
