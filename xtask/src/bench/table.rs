//! Samples, and the table they end up in.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Sorted durations of one operation.
pub struct Samples(Vec<Duration>);

impl Samples {
    /// Times `operation`, `count` times after `warm_up` unmeasured ones.
    pub fn take(warm_up: usize, count: usize, mut operation: impl FnMut() -> Result<()>) -> Result<Self> {
        for _ in 0..warm_up {
            operation()?;
        }
        let mut taken = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            operation()?;
            taken.push(begun.elapsed());
        }
        Ok(Self::from(taken))
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.quantile(50)
    }

    /// The slowest but one percent.
    pub fn p99(&self) -> Duration {
        self.quantile(99)
    }

    fn quantile(&self, percent: usize) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get(last * percent / 100).copied().unwrap_or_default()
    }
}

impl From<Vec<Duration>> for Samples {
    fn from(mut taken: Vec<Duration>) -> Self {
        taken.sort();
        Self(taken)
    }
}

/// Rows of figures against goals.
#[derive(Default)]
pub struct Table(Vec<Row>);

struct Row {
    what: String,
    measured: String,
    goal: Option<String>,
    met: Option<bool>,
    note: String,
}

impl Table {
    /// A duration that should stay below `goal`.
    pub fn time(&mut self, what: &str, measured: Duration, goal: Option<Duration>, note: String) {
        let (measured_text, goal_text) = (millis(measured), goal.map(|goal| format!("< {}", millis(goal))));
        self.push(what, measured_text, goal_text, goal.map(|goal| measured < goal), note);
    }

    /// A size in bytes that should not exceed `goal`.
    pub fn size(&mut self, what: &str, measured: u64, goal: Option<u64>, note: String) {
        let text = |bytes: u64| format!("{:.1} KB", bytes as f64 / 1024.0);
        let goal_text = goal.map(|goal| format!("<= {}", text(goal)));
        self.push(what, text(measured), goal_text, goal.map(|goal| measured <= goal), note);
    }

    /// A number that should not exceed `goal`.
    pub fn count(&mut self, what: &str, measured: u64, goal: Option<u64>, note: String) {
        let goal_text = goal.map(|goal| format!("<= {goal}"));
        self.push(what, measured.to_string(), goal_text, goal.map(|goal| measured <= goal), note);
    }

    fn push(&mut self, what: &str, measured: String, goal: Option<String>, met: Option<bool>, note: String) {
        self.0.push(Row { what: what.to_owned(), measured, goal, met, note });
    }

    /// As a Markdown table.
    pub fn markdown(&self) -> String {
        let mut out = String::from("| what | measured | goal | | note |\n|---|---:|---:|---|---|\n");
        for Row { what, measured, goal, met, note } in &self.0 {
            let verdict = met.map_or("", |met| if met { "met" } else { "MISSED" });
            let goal = goal.as_deref().unwrap_or("");
            // Writing to a string cannot fail.
            let _ = writeln!(out, "| {what} | {measured} | {goal} | {verdict} | {note} |");
        }
        out
    }
}

fn millis(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis < 10.0 { format!("{millis:.2} ms") } else { format!("{millis:.0} ms") }
}
