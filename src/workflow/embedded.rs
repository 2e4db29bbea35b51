//! The engine inside this process: a task per open run that waits for its time, its lane and a free place.
//!
//! Everything wakes by notification; nothing polls. Only runs without a parent take a place, because a parent that
//! waits for its children while it holds one could otherwise leave them none.

use super::attempt::{Next, Signals, attempt, end_cancelled};
use super::lanes::{Lanes, Ticket};
use super::{Clock, Engine, EngineHealth, Workflow};
use crate::domain::RunId;
use crate::store::RunRecord;
use async_trait::async_trait;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The embedded engine.
pub(super) struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    places: Arc<Semaphore>,
    lanes: Lanes,
    /// The cancellation token of every run that is here.
    open: Mutex<HashMap<RunId, CancellationToken>>,
    executing: AtomicUsize,
    drivers: TaskTracker,
    /// Cancelled when nothing more may start.
    draining: CancellationToken,
    /// Cancelled when what executes is cut off.
    stop: CancellationToken,
}

impl Embedded {
    /// An engine that executes at most `parallel` runs without parent at once.
    pub(super) fn new(clock: Arc<dyn Clock>, parallel: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                places: Arc::new(Semaphore::new(parallel)),
                lanes: Lanes::default(),
                open: Mutex::default(),
                executing: AtomicUsize::new(0),
                drivers: TaskTracker::new(),
                draining: CancellationToken::new(),
                stop: CancellationToken::new(),
            }),
        }
    }
}

#[async_trait]
impl Engine for Embedded {
    fn enqueue(&self, run: RunRecord, workflow: Workflow) {
        let cancel = {
            let mut open = self.inner.open();
            let parent = run.summary.parent.as_ref().and_then(|parent| open.get(parent));
            let cancel = parent.map_or_else(CancellationToken::new, CancellationToken::child_token);
            open.insert(run.summary.id.clone(), cancel.clone());
            cancel
        };
        // A run that is due takes its place in the lane now, so that submitting decides the order.
        let due = run.due_at.is_none_or(|at| at <= self.inner.clock.now_ms());
        let ticket = run.lane.as_deref().filter(|_| due).map(|lane| self.inner.lanes.enter(lane));
        let inner = Arc::clone(&self.inner);
        self.inner.drivers.spawn(async move { inner.drive(run, workflow, cancel, ticket).await });
    }

    fn cancel(&self, id: &RunId) -> bool {
        let token = self.inner.open().get(id).cloned();
        token.inspect(CancellationToken::cancel).is_some()
    }

    fn health(&self) -> EngineHealth {
        EngineHealth {
            open: self.inner.open().len(),
            executing: self.inner.executing.load(Ordering::Relaxed),
            stopping: self.inner.draining.is_cancelled(),
        }
    }

    async fn shutdown(&self, grace: Duration) {
        self.inner.draining.cancel();
        self.inner.drivers.close();
        if tokio::time::timeout(grace, self.inner.drivers.wait()).await.is_err() {
            self.inner.stop.cancel();
            self.inner.drivers.wait().await;
        }
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, HashMap<RunId, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees one run through to its end.
    async fn drive(&self, mut run: RunRecord, workflow: Workflow, cancel: CancellationToken, ticket: Option<Ticket>) {
        let id = run.summary.id.clone();
        // The lane is held until the run has ended, also between attempts: the next in it must not overtake.
        let mut ticket = ticket;
        let signals = Signals { cancel, stop: self.stop.clone() };
        loop {
            let place = tokio::select! {
                biased;
                () = self.draining.cancelled() => break,
                () = signals.cancel.cancelled() => {
                    if let Err(error) = end_cancelled(&workflow, &mut run).await {
                        tracing::error!(run = %id, %error, "a cancelled run could not be recorded");
                    }
                    break;
                }
                place = self.admit(&run, &mut ticket) => place,
            };
            self.executing.fetch_add(1, Ordering::Relaxed);
            let next = Box::pin(attempt(&workflow, &mut run, &signals)).await;
            self.executing.fetch_sub(1, Ordering::Relaxed);
            drop(place);
            match next {
                Next::Retry => {}
                Next::Ended | Next::CutOff => break,
            }
        }
        self.open().remove(&id);
        workflow.forget(&id);
    }

    /// Waits until the run may execute: its time, then its lane, then a place.
    async fn admit(&self, run: &RunRecord, ticket: &mut Option<Ticket>) -> Option<OwnedSemaphorePermit> {
        if let Some(due) = run.due_at {
            self.clock.sleep_until(due).await;
        }
        if let Some(lane) = &run.lane {
            ticket.get_or_insert_with(|| self.lanes.enter(lane)).ready().await;
        }
        if run.summary.parent.is_some() {
            return None;
        }
        // The semaphore is never closed.
        Arc::clone(&self.places).acquire_owned().await.ok()
    }
}
