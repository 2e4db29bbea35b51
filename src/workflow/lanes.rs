//! Lanes: runs with the same key take turns, in the order they entered.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// All lanes.
#[derive(Clone, Default)]
pub(super) struct Lanes {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// The first of each queue has its turn.
    queues: HashMap<String, VecDeque<Place>>,
    next: u64,
}

struct Place {
    number: u64,
    /// Taken when the turn comes.
    turn: Option<oneshot::Sender<()>>,
}

/// A place in a lane. Dropping it gives it up, whether its turn had come or not.
pub(super) struct Ticket {
    lanes: Lanes,
    lane: String,
    number: u64,
    turn: oneshot::Receiver<()>,
    ready: bool,
}

impl Lanes {
    /// Takes the last place in a lane.
    pub(super) fn enter(&self, lane: &str) -> Ticket {
        let (sender, turn) = oneshot::channel();
        let mut inner = self.lock();
        let number = inner.next;
        inner.next += 1;
        let queue = inner.queues.entry(lane.to_owned()).or_default();
        queue.push_back(Place { number, turn: Some(sender) });
        call_first(queue);
        drop(inner);
        Ticket { lanes: self.clone(), lane: lane.to_owned(), number, turn, ready: false }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits for its turn.
    pub(super) async fn ready(&mut self) {
        if !self.ready {
            // The sender is never dropped unused while this place exists.
            self.ready = (&mut self.turn).await.is_ok();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.lanes.lock();
        let Some(queue) = inner.queues.get_mut(&self.lane) else { return };
        queue.retain(|place| place.number != self.number);
        call_first(queue);
        if queue.is_empty() {
            inner.queues.remove(&self.lane);
        }
    }
}

fn call_first(queue: &mut VecDeque<Place>) {
    if let Some(turn) = queue.front_mut().and_then(|place| place.turn.take()) {
        // The receiver may be gone already: its place is about to be given up, which calls the next.
        turn.send(()).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn turns_come_in_order_and_a_place_given_up_is_skipped() {
        let lanes = Lanes::default();
        let mut first = lanes.enter("a");
        let second = lanes.enter("a");
        let mut third = lanes.enter("a");
        let mut other = lanes.enter("b");
        assert!(first.ready().now_or_never().is_some());
        assert!(other.ready().now_or_never().is_some());
        assert!(third.ready().now_or_never().is_none());
        drop(second);
        assert!(third.ready().now_or_never().is_none());
        drop(first);
        assert!(third.ready().now_or_never().is_some());
        drop((third, other));
        assert!(lanes.lock().queues.is_empty());
    }
}
