//! The runs that are open in this process: how each is reached, where it stands in line, and the task that drives it.
//!
//! What every engine does with a run is here; what an engine adds is the [`Turnstile`]. Only runs without a parent take
//! one of the common places, because a parent that waits for its children while it holds one could otherwise leave them
//! none. Runs that work in a sandbox wait for no child, so all of them take a place of their sandbox.

use super::attempt::Signals;
use super::driver::drive;
use super::engine::{EngineHealth, Pass, Turnstile};
use super::lanes::{Lanes, Ticket};
use super::places::{Groups, Place, Places};
use super::{Clock, Workflow, WorkflowOptions};
use crate::domain::{ProjectId, RunId};
use crate::store::RunRecord;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Drives open runs. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Executor {
    inner: Arc<Inner>,
}

struct Inner {
    clock: Arc<dyn Clock>,
    places: Places,
    sandboxes: Groups,
    lanes: Lanes,
    /// Every run that is here.
    open: Mutex<HashMap<RunId, Open>>,
    executing: AtomicUsize,
    drivers: TaskTracker,
    /// Cancelled when nothing more may start.
    draining: CancellationToken,
    /// Cancelled when what executes is cut off.
    stop: CancellationToken,
}

/// How a run that is here is reached.
struct Open {
    cancel: CancellationToken,
    /// When it was told to start instead.
    moved: watch::Sender<Option<u64>>,
}

/// Where one run stands in line.
pub(crate) struct Entry {
    inner: Arc<Inner>,
    /// Runs with a lower rank go first where runs wait for a place.
    rank: i64,
    lane: Option<String>,
    /// Held until the run has ended, also between attempts: the next in the lane must not overtake.
    ticket: Option<Ticket>,
    sandbox: Option<Places>,
    /// Whether it takes one of the common places.
    on_top: bool,
}

/// The places an execution takes, and that it executes.
struct Executing {
    inner: Arc<Inner>,
    _sandbox: Option<Place>,
    _common: Option<Place>,
}

impl Drop for Executing {
    fn drop(&mut self) {
        self.inner.executing.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Executor {
    /// An executor with the caps of these options.
    pub(crate) fn new(clock: Arc<dyn Clock>, options: &WorkflowOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock,
                places: Places::new(options.parallel),
                sandboxes: Groups::new(options.per_sandbox),
                lanes: Lanes::default(),
                open: Mutex::default(),
                executing: AtomicUsize::new(0),
                drivers: TaskTracker::new(),
                draining: CancellationToken::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// The time it goes by.
    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// Opens a run and drives it to its end in a task of its own. The turnstile is made for the run, of its place in
    /// line and of what tells when it was moved to another time.
    pub(crate) fn drive<T: Turnstile + 'static>(
        &self,
        mut run: RunRecord,
        workflow: Workflow,
        turnstile: impl FnOnce(&RunRecord, Entry, watch::Receiver<Option<u64>>) -> T,
    ) {
        let inner = Arc::clone(&self.inner);
        let (moved, new_time) = watch::channel(None);
        let cancel = {
            let mut open = inner.open();
            let parent = run.summary.parent.as_ref().and_then(|parent| open.get(parent));
            let cancel = parent.map_or_else(CancellationToken::new, |parent| parent.cancel.child_token());
            open.insert(run.summary.id.clone(), Open { cancel: cancel.clone(), moved });
            cancel
        };
        let mut entry = Entry::new(Arc::clone(&inner), &run, &workflow);
        // A run that is due takes its place in the lane now, so that submitting decides the order.
        if run.due_at.is_none_or(|at| at <= inner.clock.now_ms()) {
            entry.enter_lane();
        }
        let mut turnstile = turnstile(&run, entry, new_time.clone());
        self.inner.drivers.spawn(async move {
            let signals = Signals { cancel, stop: inner.stop.clone(), moved: new_time };
            drive(&workflow, &mut run, &signals, &inner.draining, &mut turnstile).await;
            inner.open().remove(&run.summary.id);
            workflow.forget(&run.summary.id);
        });
    }

    /// Stops a run that is here, and the children it has here.
    pub(crate) fn cancel(&self, id: &RunId) -> bool {
        let token = self.inner.open().get(id).map(|open| open.cancel.clone());
        token.inspect(CancellationToken::cancel).is_some()
    }

    /// Tells a run that is here that it has another time.
    pub(crate) fn reschedule(&self, id: &RunId, due_at: u64) -> bool {
        self.inner.open().get(id).map(|open| open.moved.send_replace(Some(due_at))).is_some()
    }

    /// How busy it is.
    pub(crate) fn health(&self) -> EngineHealth {
        EngineHealth {
            open: self.inner.open().len(),
            executing: self.inner.executing.load(Ordering::Relaxed),
            stopping: self.inner.draining.is_cancelled(),
            trouble: None,
        }
    }

    /// Starts nothing more, gives what executes `grace` to end, cuts off the rest and waits until all is still.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        self.inner.draining.cancel();
        self.inner.drivers.close();
        if tokio::time::timeout(grace, self.inner.drivers.wait()).await.is_err() {
            self.inner.stop.cancel();
            self.inner.drivers.wait().await;
        }
    }
}

impl Inner {
    fn open(&self) -> MutexGuard<'_, HashMap<RunId, Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(inner: Arc<Inner>, run: &RunRecord, workflow: &Workflow) -> Self {
        let in_sandbox = workflow.task(&run.summary.task).is_some_and(|task| task.in_sandbox());
        let project = run.summary.project.as_ref().filter(|_| in_sandbox);
        Self {
            rank: run.summary.created_at.cast_signed().saturating_sub(i64::from(run.priority) * 1_000),
            lane: run.lane.clone(),
            ticket: None,
            sandbox: project.map(|project| inner.sandboxes.of(ProjectId::as_str(project))),
            on_top: run.summary.parent.is_none(),
            inner,
        }
    }

    fn enter_lane(&mut self) {
        if let (Some(lane), None) = (&self.lane, &self.ticket) {
            self.ticket = Some(self.inner.lanes.enter(lane));
        }
    }

    /// Waits for the run's turn in its lane and for its places.
    pub(crate) async fn admit(&mut self) -> Pass {
        self.enter_lane();
        if let Some(ticket) = &mut self.ticket {
            ticket.ready().await;
        }
        let sandbox = match &self.sandbox {
            Some(places) => Some(places.take(self.rank).await),
            None => None,
        };
        let common = if self.on_top { Some(self.inner.places.take(self.rank).await) } else { None };
        self.inner.executing.fetch_add(1, Ordering::Relaxed);
        Box::new(Executing { inner: Arc::clone(&self.inner), _sandbox: sandbox, _common: common })
    }
}
