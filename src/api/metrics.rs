//! Liveness, readiness and the Prometheus page.

use super::AppState;
use super::error::Failure;
use crate::domain::SandboxPhase;
use crate::workflow::{BUCKETS_MS, Histogram, RunCount, Workflow};
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted by the HTTP front itself.
#[derive(Clone, Default)]
pub struct Metrics {
    /// Open event streams.
    pub streams: Count,
}

/// How many of something are open.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    /// One more, until the gauge is dropped.
    pub fn enter(&self) -> Gauge {
        self.0.fetch_add(1, Ordering::Relaxed);
        Gauge(Arc::clone(&self.0))
    }

    /// How many now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts while it lives.
pub struct Gauge(Arc<AtomicU64>);

impl Drop for Gauge {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `GET /healthz`: the process answers.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database answers too.
pub async fn readyz(State(app): State<AppState>) -> Result<&'static str, Failure> {
    app.services.store.check().await?;
    Ok("ready\n")
}

/// `GET /metrics`
pub async fn metrics(State(app): State<AppState>) -> Result<impl IntoResponse, Failure> {
    let projects = app.services.store.events().projects().await?;
    let live = projects.iter().filter(|p| p.sandbox == Some(SandboxPhase::Running)).count();
    let working = projects.iter().filter(|p| p.working).count();
    let runs = app.services.workflow.store().counts().await?;
    let mut text = String::new();
    gauge(&mut text, "sandcastle_projects", "Projects.", projects.len() as u64);
    gauge(&mut text, "sandcastle_projects_working", "Projects whose agent is at work.", working as u64);
    gauge(&mut text, "sandcastle_sandboxes_live", "Sandboxes that are running.", live as u64);
    gauge(&mut text, "sandcastle_event_streams", "Open event streams.", app.metrics.streams.get());
    if let Some(bytes) = resident_bytes() {
        gauge(&mut text, "process_resident_memory_bytes", "Resident memory of the server.", bytes);
    }
    runs_by_status(&mut text, &runs);
    run_figures(&mut text, &app.services.workflow);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

// Writing to a String cannot fail, so the results below are dropped.
fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
}

fn runs_by_status(text: &mut String, runs: &[RunCount]) {
    text.push_str("# HELP sandcastle_runs Task runs kept, by task and status.\n# TYPE sandcastle_runs gauge\n");
    for RunCount { task, status, count } in runs {
        let _ = writeln!(text, "sandcastle_runs{{task=\"{task}\",status=\"{}\"}} {count}", status.as_str());
    }
}

fn run_figures(text: &mut String, workflow: &Workflow) {
    let health = workflow.health();
    gauge(text, "sandcastle_runs_open", "Task runs the engine holds.", health.open as u64);
    gauge(text, "sandcastle_runs_executing", "Task runs that execute now.", health.executing as u64);
    let reachable = u64::from(health.trouble.is_none());
    gauge(text, "sandcastle_engine_reachable", "Whether what decides when tasks run can be reached.", reachable);
    let figures = workflow.figures();
    text.push_str("# HELP sandcastle_runs_ended_total Task runs ended.\n# TYPE sandcastle_runs_ended_total counter\n");
    for ((task, status), count) in figures.ended_runs() {
        let _ = writeln!(text, "sandcastle_runs_ended_total{{task=\"{task}\",status=\"{status}\"}} {count}");
    }
    histograms(
        text,
        "sandcastle_run_queue_seconds",
        "From when a run may start to its first attempt.",
        &figures.waited(),
    );
    histograms(text, "sandcastle_run_duration_seconds", "From the first attempt to the end.", &figures.took());
}

fn histograms(text: &mut String, name: &str, help: &str, by_task: &BTreeMap<String, Histogram>) {
    let seconds = |ms: u64| ms as f64 / 1000.0;
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} histogram\n");
    for (task, histogram) in by_task {
        let mut below = 0;
        for (end, count) in BUCKETS_MS.into_iter().zip(histogram.buckets) {
            below += count;
            let _ = writeln!(text, "{name}_bucket{{task=\"{task}\",le=\"{}\"}} {below}", seconds(end));
        }
        let _ = writeln!(text, "{name}_bucket{{task=\"{task}\",le=\"+Inf\"}} {}", histogram.count);
        let _ = writeln!(text, "{name}_sum{{task=\"{task}\"}} {}", seconds(histogram.sum_ms));
        let _ = writeln!(text, "{name}_count{{task=\"{task}\"}} {}", histogram.count);
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
