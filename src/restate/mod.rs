//! The engine for which a Restate server decides when a run executes: it holds the queue, the timers of delays and
//! backoff, and calls this server when a run's turn has come.
//!
//! Records, attempts, steps and output stay in our store; Restate's journal holds one small entry an attempt. The parts:
//! `desk` knows which runs wait for Restate's word and which have it, `service` is what Restate calls, `client` is how
//! Restate is asked, `contact` keeps the two in agreement, also over the death of either. It must not know what a task
//! does.
//!
//! An attempt belongs to this process and not to the call that started it. So a call that breaks off (Restate was
//! restarted, or gave up on a slow answer) disturbs nothing: the next call for the same run waits for the same attempt.

mod client;
mod contact;
mod desk;
mod service;
mod turn;

use crate::config::RestateConfig;
use crate::domain::RunId;
use crate::store::{RunRecord, Store};
use crate::workflow::executor::Executor;
use crate::workflow::{Clock, Engine, EngineError, EngineHealth, Workflow, WorkflowOptions};
use async_trait::async_trait;
use client::Client;
use contact::Contact;
use desk::Desk;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use turn::Turn;

/// Answers of ended runs get so long to reach Restate before the connections are cut.
const LAST_WORDS: Duration = Duration::from_millis(300);
/// Under this name Restate keeps the id of the data folder with our deployment.
const ID_KEY: &str = "sandcastle";

struct Restate {
    executor: Executor,
    desk: Arc<Desk>,
    /// The listener for Restate's calls and what keeps contact with it.
    work: TaskTracker,
    closing: CancellationToken,
}

/// The engine over a Restate server. It need not be there yet: runs wait until it is.
pub async fn engine(
    config: &RestateConfig,
    store: &Store,
    options: &WorkflowOptions,
    clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Engine>, EngineError> {
    let identity = Identity::of(store).await?;
    let executor = Executor::new(clock, options);
    let desk = Arc::new(Desk::new(store.runs().clone(), executor.clone(), Client::new(config)?));
    let (work, closing) = (TaskTracker::new(), CancellationToken::new());
    let listener = service::Listener::bind(Arc::clone(&desk), &identity).await.map_err(EngineError::Listen)?;
    let contact = Contact::new(Arc::clone(&desk), listener.uri(), identity);
    work.spawn(listener.serve(closing.clone()));
    let until = closing.clone();
    work.spawn(async move {
        until.run_until_cancelled(contact.keep()).await;
    });
    Ok(Arc::new(Restate { executor, desk, work, closing }))
}

/// By what this server and Restate know each other.
struct Identity {
    /// Names the data folder: a Restate server runs the tasks of one.
    id: String,
    /// Comes with each call of Restate, so that no other program can make one.
    token: String,
}

impl Identity {
    async fn of(store: &Store) -> Result<Self, EngineError> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        Ok(Self {
            id: hex(store.secret("restate-id").await?.get(..8).unwrap_or_default()),
            token: hex(&store.secret("restate-token").await?),
        })
    }

    /// The value of the header `authorization`.
    fn password(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

#[async_trait]
impl Engine for Restate {
    fn enqueue(&self, run: RunRecord, workflow: Workflow) {
        let desk = Arc::clone(&self.desk);
        self.executor.drive(run, workflow, |run, entry, moved| Turn::new(desk, run, entry, moved));
    }

    fn cancel(&self, id: &RunId) -> bool {
        self.executor.cancel(id)
    }

    fn reschedule(&self, id: &RunId, due_at: u64) -> bool {
        self.executor.reschedule(id, due_at)
    }

    fn health(&self) -> EngineHealth {
        EngineHealth { trouble: self.desk.trouble(), ..self.executor.health() }
    }

    async fn shutdown(&self, grace: Duration) {
        self.executor.shutdown(grace).await;
        // The calls of runs that have ended are being answered.
        self.desk.answered(LAST_WORDS).await;
        self.closing.cancel();
        self.work.close();
        self.work.wait().await;
    }
}
