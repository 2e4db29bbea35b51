//! Where a run's driver, which is here, and Restate's call for that run, which may come at any time, meet.
//!
//! A run's link says whether it waits for Restate's word or has it. The driver moves it on; a call gives the word when
//! the run waits, and else waits for what the driver says next.

use super::client::Client;
use crate::domain::RunId;
use crate::store::RunStore;
use crate::workflow::Clock;
use crate::workflow::executor::Executor;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// A wait of at most so long is waited for within the call; a longer one is Restate's.
const SHORT_MS: u64 = 250;

/// What a call tells Restate about one attempt. All that is ever written into its journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The run has ended.
    Ended,
    /// The run is to be called again at this time (Unix ms).
    Again(u64),
}

/// A call came for a run that cannot be answered now. Restate calls again.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotNow {
    #[error("the run {0} is not open here (yet)")]
    NotOpen(RunId),
    #[error("the run cannot be looked up: {0}")]
    Store(#[from] crate::store::StoreError),
}

/// A run that is no longer here, and its invocation.
pub(super) type Leftover = (RunId, String);

/// Runs that are open here, as Restate sees them.
pub(super) struct Desk {
    pub(super) runs: RunStore,
    pub(super) executor: Executor,
    pub(super) client: Client,
    links: Mutex<HashMap<RunId, Arc<Link>>>,
    /// Calls that are being answered.
    calls: watch::Sender<usize>,
    /// Why Restate cannot be used now; none when it can.
    trouble: watch::Sender<Option<String>>,
    /// Invocations that nobody here waits for any more, with their runs.
    leftovers: (mpsc::UnboundedSender<Leftover>, Mutex<Option<mpsc::UnboundedReceiver<Leftover>>>),
}

/// One run between its driver and Restate.
pub(super) struct Link {
    state: watch::Sender<State>,
    /// Calls that wait for this run.
    calls: watch::Sender<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) stage: Stage,
    pub(super) announced: Option<Announced>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits for Restate's word; not before this time (Unix ms).
    Waits(Option<u64>),
    /// Has it: the driver admits and executes it.
    Called,
    /// It is not here any more.
    Gone,
}

/// That Restate has been told of the run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Announced {
    /// Restate's name for it.
    pub(super) invocation: String,
    /// When (Unix ms).
    pub(super) at: u64,
}

impl Desk {
    pub(super) fn new(runs: RunStore, executor: Executor, client: Client) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self {
            runs,
            executor,
            client,
            links: Mutex::default(),
            calls: watch::Sender::new(0),
            trouble: watch::Sender::new(Some("Restate has not been reached yet".to_owned())),
            leftovers: (sender, Mutex::new(Some(receiver))),
        }
    }

    /// Opens a run; it waits for Restate's word.
    pub(super) fn open(&self, id: &RunId) -> Arc<Link> {
        let state = State { stage: Stage::Waits(None), announced: None };
        let link = Arc::new(Link { state: watch::Sender::new(state), calls: watch::Sender::new(0) });
        self.links().insert(id.clone(), Arc::clone(&link));
        link
    }

    /// A run is no longer here. Calls that wait for it look at its record.
    pub(super) fn close(&self, id: &RunId) {
        let Some(link) = self.links().remove(id) else { return };
        let announced = link.state.borrow().announced.clone();
        link.state.send_modify(|state| state.stage = Stage::Gone);
        if let Some(announced) = announced
            && *link.calls.borrow() == 0
        {
            // Fails only when contact is no longer kept, at the server's end.
            self.leftovers.0.send((id.clone(), announced.invocation)).ok();
        }
    }

    /// Every run that is here.
    pub(super) fn open_runs(&self) -> Vec<(RunId, Arc<Link>)> {
        self.links().iter().map(|(id, link)| (id.clone(), Arc::clone(link))).collect()
    }

    /// Invocations that nobody here waits for any more. Can be taken once.
    pub(super) fn take_leftovers(&self) -> Option<mpsc::UnboundedReceiver<Leftover>> {
        self.leftovers.1.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Why Restate cannot be used now.
    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    /// Notes that Restate can or cannot be used; true if that is news.
    pub(super) fn note_trouble(&self, trouble: Option<String>) -> bool {
        self.trouble.send_if_modified(|now| {
            let news = *now != trouble;
            *now = trouble;
            news
        })
    }

    /// Tells when Restate can be used and when not.
    pub(super) fn troubles(&self) -> watch::Receiver<Option<String>> {
        self.trouble.subscribe()
    }

    /// Waits until no call is being answered, at most so long.
    pub(super) async fn answered(&self, most: Duration) {
        let mut calls = self.calls.subscribe();
        // What is left then is called again after the next start.
        tokio::time::timeout(most, calls.wait_for(|calls| *calls == 0)).await.ok();
    }

    /// Restate calls a run: gives it the word if it waits, and tells what became of it.
    pub(super) async fn call(&self, id: &RunId) -> Result<Verdict, NotNow> {
        let _call = Counted::enter(&self.calls);
        let link = self.links().get(id).cloned();
        if let Some(link) = link
            && let Some(verdict) = link.call(self.executor.clock().as_ref()).await
        {
            return Ok(verdict);
        }
        // It is not here, or was until now: only its record knows whether it has ended or is to be resumed.
        match self.runs.record(id).await {
            Ok(run) if run.summary.status.is_final() => Ok(Verdict::Ended),
            Ok(_) => Err(NotNow::NotOpen(id.clone())),
            // It was deleted with its project.
            Err(error) if error.is_not_found() => Ok(Verdict::Ended),
            Err(error) => Err(error.into()),
        }
    }

    fn links(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Link>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    /// Tells what becomes of it.
    pub(super) fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// The run waits for Restate's word; not before this time.
    pub(super) fn wait_for_word(&self, due: Option<u64>) {
        self.state.send_modify(|state| state.stage = Stage::Waits(due));
    }

    /// Restate has been told of the run, or is to be told anew.
    pub(super) fn note_announced(&self, announced: Option<Announced>) {
        self.state.send_modify(|state| state.announced = announced);
    }

    /// What a call is told; nothing once the run is not here.
    async fn call(&self, clock: &dyn Clock) -> Option<Verdict> {
        let _attached = Counted::enter(&self.calls);
        let mut state = self.state.subscribe();
        let mut had_word = false;
        loop {
            let stage = state.borrow_and_update().stage;
            match stage {
                Stage::Gone => return None,
                Stage::Called => had_word = true,
                Stage::Waits(due) if had_word => return Some(Verdict::Again(due.unwrap_or_else(|| clock.now_ms()))),
                Stage::Waits(Some(due)) if due > clock.now_ms() + SHORT_MS => return Some(Verdict::Again(due)),
                Stage::Waits(due) => {
                    let early = due.filter(|due| *due > clock.now_ms());
                    if let Some(due) = early {
                        tokio::select! {
                            () = clock.sleep_until(due) => {}
                            _ = state.changed() => continue,
                        }
                    }
                    self.give_word(stage);
                    continue;
                }
            }
            // Fails only when the link is dropped, and this call holds it.
            state.changed().await.ok()?;
        }
    }

    /// Calls the run up, unless another call or the driver has moved it on meanwhile.
    fn give_word(&self, seen: Stage) {
        self.state.send_if_modified(|state| {
            let still = state.stage == seen;
            if still {
                state.stage = Stage::Called;
            }
            still
        });
    }
}

/// Counts while it lives.
struct Counted<'a>(&'a watch::Sender<usize>);

impl<'a> Counted<'a> {
    fn enter(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::SystemClock;
    use futures::FutureExt;
    use std::pin::pin;

    fn link() -> Link {
        Link {
            state: watch::Sender::new(State { stage: Stage::Waits(None), announced: None }),
            calls: watch::Sender::new(0),
        }
    }

    #[test]
    fn a_call_gives_the_word_and_hears_what_came_of_the_attempt() {
        let link = link();
        let mut call = pin!(link.call(&SystemClock));
        assert!(call.as_mut().now_or_never().is_none());
        assert_eq!(link.watch().borrow().stage, Stage::Called);
        link.wait_for_word(Some(7));
        assert_eq!(call.now_or_never(), Some(Some(Verdict::Again(7))));
    }

    #[test]
    fn a_call_after_one_that_broke_off_waits_for_the_same_attempt() {
        let link = link();
        assert!(link.call(&SystemClock).now_or_never().is_none());
        let mut second = pin!(link.call(&SystemClock));
        assert!(second.as_mut().now_or_never().is_none());
        link.state.send_modify(|state| state.stage = Stage::Gone);
        assert_eq!(second.now_or_never(), Some(None));
        assert_eq!(*link.calls.borrow(), 0);
    }

    #[test]
    fn a_call_before_the_runs_time_is_sent_away_with_the_time() {
        let link = link();
        let due = SystemClock.now_ms() + 60_000;
        link.wait_for_word(Some(due));
        assert_eq!(link.call(&SystemClock).now_or_never(), Some(Some(Verdict::Again(due))));
        assert_eq!(link.watch().borrow().stage, Stage::Waits(Some(due)));
    }
}
