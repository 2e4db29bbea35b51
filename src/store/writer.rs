//! Writes that are asked for at the same time are committed together, so that many runs at once share the cost of a
//! commit.
//!
//! There is no task of its own: whoever comes first writes for all who wait. Each write still succeeds or fails alone.

use super::StoreError;
use super::loaded::Rider;
use sqlx::SqlitePool;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// Writes in one transaction at most.
const TOGETHER: usize = 128;

/// The queue before the one connection that writes.
#[derive(Default)]
pub(super) struct Writer {
    waiting: Mutex<Vec<Job>>,
    /// Held by the one who writes for all.
    leading: tokio::sync::Mutex<()>,
}

struct Job {
    unit: Box<dyn Rider>,
    done: oneshot::Sender<Result<(), StoreError>>,
}

impl Writer {
    /// Writes and commits. Must be run to its end: others may depend on it.
    pub(super) async fn commit(&self, pool: &SqlitePool, unit: Box<dyn Rider>) -> Result<(), StoreError> {
        let (done, mut result) = oneshot::channel();
        self.waiting().push(Job { unit, done });
        loop {
            let leader = tokio::select! {
                biased;
                result = &mut result => return result.unwrap_or_else(|_| Err(cut_off())),
                leader = self.leading.lock() => leader,
            };
            let jobs: Vec<Job> = {
                let mut waiting = self.waiting();
                let count = waiting.len().min(TOGETHER);
                waiting.drain(..count).collect()
            };
            write_together(pool, jobs).await;
            drop(leader);
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Job>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cut_off() -> StoreError {
    StoreError::Database("a write was cut off".to_owned())
}

/// All in one transaction and, if one of them fails, each in its own.
async fn write_together(pool: &SqlitePool, jobs: Vec<Job>) {
    if jobs.len() > 1 && write(pool, &jobs).await.is_ok() {
        for job in jobs {
            // The one who waited may be gone.
            job.done.send(Ok(())).ok();
        }
        return;
    }
    for job in jobs {
        let result = write(pool, std::slice::from_ref(&job)).await;
        job.done.send(result).ok();
    }
}

async fn write(pool: &SqlitePool, jobs: &[Job]) -> Result<(), StoreError> {
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for job in jobs {
        job.unit.write(&mut transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
