//! Liveness, readiness and the Prometheus page.

use super::AppState;
use super::error::Failure;
use crate::domain::SandboxPhase;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
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
    let runs = app.services.store.runs().count_by_status().await?;
    let mut text = String::new();
    gauge(&mut text, "sandcastle_projects", "Projects.", projects.len() as u64);
    gauge(&mut text, "sandcastle_projects_working", "Projects whose agent is at work.", working as u64);
    gauge(&mut text, "sandcastle_sandboxes_live", "Sandboxes that are running.", live as u64);
    gauge(&mut text, "sandcastle_event_streams", "Open event streams.", app.metrics.streams.get());
    if let Some(bytes) = resident_bytes() {
        gauge(&mut text, "process_resident_memory_bytes", "Resident memory of the server.", bytes);
    }
    runs_by_status(&mut text, &runs);
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text))
}

// Writing to a String cannot fail, so the results below are dropped.
fn gauge(text: &mut String, name: &str, help: &str, value: u64) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
}

fn runs_by_status(text: &mut String, runs: &[(String, u64)]) {
    text.push_str("# HELP sandcastle_runs Task runs kept, by status.\n# TYPE sandcastle_runs gauge\n");
    for (status, count) in runs {
        let _ = writeln!(text, "sandcastle_runs{{status=\"{status}\"}} {count}");
    }
}

fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}
