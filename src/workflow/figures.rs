//! What the workflow counts while it works, for the metrics page: how long runs waited and how long they took.

use crate::domain::{RunStatus, RunSummary};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Upper ends of the histograms' buckets, in milliseconds.
pub const BUCKETS_MS: [u64; 12] = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000, 60_000, 300_000, 1_800_000];
/// Tasks counted on their own.
const TASKS_MAX: usize = 64;

/// Counts since the start of the server.
#[derive(Debug, Default)]
pub struct Figures {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    waited: BTreeMap<String, Histogram>,
    took: BTreeMap<String, Histogram>,
    ended: BTreeMap<(String, &'static str), u64>,
}

/// Durations by size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many fell into each of [`BUCKETS_MS`], not counting the ones before.
    pub buckets: [u64; BUCKETS_MS.len()],
    /// How many in all.
    pub count: u64,
    /// Their sum in milliseconds.
    pub sum_ms: u64,
}

impl Histogram {
    fn add(&mut self, ms: u64) {
        if let Some(bucket) = BUCKETS_MS.iter().position(|end| ms <= *end) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum_ms = self.sum_ms.saturating_add(ms);
    }
}

impl Figures {
    /// From submission (or the time it was to wait for) to the first attempt, by task.
    pub fn waited(&self) -> BTreeMap<String, Histogram> {
        self.lock().waited.clone()
    }

    /// From the first attempt to the end, by task.
    pub fn took(&self) -> BTreeMap<String, Histogram> {
        self.lock().took.clone()
    }

    /// Runs that ended, by task and status.
    pub fn ended_runs(&self) -> BTreeMap<(String, &'static str), u64> {
        self.lock().ended.clone()
    }

    /// A run starts; `due_at` is the time it was to wait for (Unix ms).
    pub(super) fn started(&self, run: &RunSummary, due_at: Option<u64>) {
        let waited = run.started_at.unwrap_or_default().saturating_sub(due_at.unwrap_or(run.created_at));
        count(&mut self.lock().waited, &run.task, waited);
    }

    pub(super) fn ended(&self, run: &RunSummary) {
        let mut inner = self.lock();
        if let (Some(started), Some(finished)) = (run.started_at, run.finished_at) {
            count(&mut inner.took, &run.task, finished.saturating_sub(started));
        }
        if inner.ended.len() < TASKS_MAX * RunStatus::ALL.len() {
            *inner.ended.entry((run.task.clone(), run.status.as_str())).or_default() += 1;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count(histograms: &mut BTreeMap<String, Histogram>, task: &str, ms: u64) {
    if let Some(histogram) = histograms.get_mut(task) {
        histogram.add(ms);
    } else if histograms.len() < TASKS_MAX {
        histograms.entry(task.to_owned()).or_default().add(ms);
    }
}
