//! OpenTelemetry: ended runs as spans, sent to a collector over OTLP/HTTP with JSON. Off unless an endpoint is set.
//!
//! What a trace shows is in the run records already, with exact times and across restarts, so it is made from them: one
//! trace for each tree of runs (an agent turn and the commands it ran), a span for each run, attempt and step. That
//! needs no tracing library in the build and costs nothing while no collector is set.
//! It must not know tasks or sandboxes, and a collector that is away never holds up a run.

mod spans;

use crate::config::OtlpConfig;
use crate::store::RunRecord;
use crate::workflow::Workflow;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Runs sent in one request at most.
const BATCH: usize = 64;
/// How long the first run of a batch waits for others.
const GATHER: Duration = Duration::from_millis(500);
/// A collector that takes longer is taken for unreachable.
const TIMEOUT: Duration = Duration::from_secs(10);
/// What is still to be sent at the end gets so long.
const LAST: Duration = Duration::from_secs(2);

/// Sends ended runs until it is shut down.
pub struct Exporter {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Sender {
    config: OtlpConfig,
    workflow: Workflow,
    http: reqwest::Client,
    /// Whether the last request failed: the first failure is told, the rest is not.
    failing: bool,
}

impl Exporter {
    /// Begins to send; none if the address cannot be used, which is logged.
    pub fn start(config: OtlpConfig, workflow: &Workflow) -> Option<Self> {
        // Without a provider of its own, rustls has none until the first client of the server is made.
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let http = match reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build() {
            Ok(http) => http,
            Err(error) => {
                tracing::error!(%error, "no traces are exported");
                return None;
            }
        };
        let endings = workflow.endings();
        let sender = Sender { config, workflow: workflow.clone(), http, failing: false };
        let stop = CancellationToken::new();
        let task = tokio::spawn(sender.run(endings, stop.clone()));
        Some(Self { stop, task })
    }

    /// Sends what is left, for two seconds at most.
    pub async fn shutdown(self) {
        self.stop.cancel();
        let abort = self.task.abort_handle();
        if tokio::time::timeout(LAST, self.task).await.is_err() {
            abort.abort();
        }
    }
}

impl Sender {
    async fn run(mut self, mut endings: Receiver<Arc<RunRecord>>, stop: CancellationToken) {
        loop {
            let first = match stop.run_until_cancelled(endings.recv()).await {
                Some(Ok(run)) => run,
                Some(Err(RecvError::Lagged(missed))) => {
                    tracing::warn!(missed, "runs ended faster than they could be exported");
                    continue;
                }
                // Stopped, or the workflow is gone: what has arrived is still sent.
                Some(Err(RecvError::Closed)) | None => {
                    self.send(&gathered(&mut endings, Vec::new())).await;
                    return;
                }
            };
            stop.run_until_cancelled(tokio::time::sleep(GATHER)).await;
            let batch = gathered(&mut endings, vec![first]);
            self.send(&batch).await;
        }
    }

    async fn send(&mut self, batch: &[Arc<RunRecord>]) {
        let mut found = Vec::new();
        for run in batch {
            // A run whose project was deleted meanwhile has nothing to show.
            if let Ok(detail) = self.workflow.store().detail(&run.summary.id).await {
                spans::of_run(&detail, &mut found);
            }
        }
        if found.is_empty() {
            return;
        }
        let mut request = self.http.post(&self.config.endpoint).json(&spans::document(&self.config.service, found));
        for (name, value) in &self.config.headers {
            request = request.header(name, value.expose());
        }
        let failure = match request.send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            Err(error) => Some(error.without_url().to_string()),
        };
        match (failure, self.failing) {
            (Some(reason), false) => {
                tracing::warn!(reason, "the collector of traces takes none; runs go on, their traces are lost");
                self.failing = true;
            }
            (None, true) => {
                tracing::info!("the collector of traces is back");
                self.failing = false;
            }
            _ => {}
        }
    }
}

/// With what else has arrived.
fn gathered(endings: &mut Receiver<Arc<RunRecord>>, mut batch: Vec<Arc<RunRecord>>) -> Vec<Arc<RunRecord>> {
    while batch.len() < BATCH {
        match endings.try_recv() {
            Ok(run) => batch.push(run),
            Err(broadcast::error::TryRecvError::Lagged(_)) => {}
            Err(_) => break,
        }
    }
    batch
}
