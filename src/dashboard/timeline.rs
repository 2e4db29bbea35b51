//! A run as spans over time: its wait, attempts, steps, log lines and the runs it started, with theirs.

use crate::domain::{Attempt, LogLevel, RunDetail, RunId, RunLog, RunStatus, RunSummary, Step};
use crate::store::Descendant;
use crate::ui::run_words::tone;

/// Spans drawn at most.
const SPANS_MAX: usize = 500;

/// A run on a common scale.
pub(super) struct Timeline {
    /// Unix ms.
    pub start: u64,
    /// Unix ms.
    pub end: u64,
    /// In the order they are drawn.
    pub spans: Vec<Span>,
    /// How many were left out.
    pub left_out: usize,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub depth: usize,
    pub kind: Kind,
    pub name: String,
    /// The run it stands for, if it is another one.
    pub run: Option<RunId>,
    pub start: u64,
    pub end: u64,
    /// `done`, `working`, `failed`, `asleep` or `idle`.
    pub state: &'static str,
    /// Its error.
    pub note: Option<String>,
}

/// What a span stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Waiting for a place, a lane or a time.
    Queue,
    Attempt,
    /// Waiting for the next attempt.
    Backoff,
    Step,
    Log,
    Run,
}

impl Kind {
    /// The word for styles.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Attempt => "attempt",
            Self::Backoff => "backoff",
            Self::Step => "step",
            Self::Log => "log",
            Self::Run => "run",
        }
    }
}

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Show {
    #[default]
    All,
    /// No waits and no log lines.
    Work,
    /// Only what failed.
    Errors,
}

impl Show {
    pub fn parse(word: &str) -> Self {
        match word {
            "work" => Self::Work,
            "errors" => Self::Errors,
            _ => Self::All,
        }
    }

    fn wants(self, span: &Span) -> bool {
        match self {
            Self::All => true,
            Self::Work => !matches!(span.kind, Kind::Queue | Kind::Backoff | Kind::Log),
            Self::Errors => span.state == "failed",
        }
    }
}

impl Timeline {
    /// Lays a run out; `now` is where what still goes on ends.
    pub fn of(detail: &RunDetail, descendants: &[Descendant], show: Show, now: u64) -> Self {
        let mut layout = Layout { descendants, now, spans: Vec::new() };
        layout.run(&detail.summary, &detail.attempts, &detail.steps, &detail.logs, 0);
        let start = detail.summary.created_at;
        let last = layout.spans.iter().map(|span| span.end).max().unwrap_or(start);
        let mut spans: Vec<Span> = layout.spans.into_iter().filter(|span| show.wants(span)).collect();
        let left_out = spans.len().saturating_sub(SPANS_MAX);
        spans.truncate(SPANS_MAX);
        Self { start, end: last.max(start + 1), spans, left_out }
    }
}

struct Layout<'a> {
    descendants: &'a [Descendant],
    now: u64,
    spans: Vec<Span>,
}

impl Layout<'_> {
    /// A run's own lines; the run itself is drawn by its caller.
    fn run(&mut self, run: &RunSummary, attempts: &[Attempt], steps: &[Step], logs: &[RunLog], depth: usize) {
        let begun = run.started_at.or(run.finished_at).unwrap_or(self.now);
        if begun > run.created_at {
            let waits = run.started_at.is_none() && !run.status.is_final();
            let name = if run.started_at.is_none() && run.status.is_final() { "never started" } else { "queue time" };
            self.push(
                depth,
                Kind::Queue,
                name.to_owned(),
                run.created_at,
                begun,
                if waits { "working" } else { "idle" },
            );
        }
        for (index, attempt) in attempts.iter().enumerate() {
            let end = attempt.finished_at.unwrap_or(self.now);
            let until = attempts.get(index + 1).map_or(u64::MAX, |next| next.started_at);
            let alone = attempts.len() == 1 && depth > 0;
            let inner = if alone { depth } else { depth + 1 };
            if !alone {
                self.attempt(run, attempt, end, depth);
            }
            self.inside(run, attempt, steps, logs, until, inner);
            if let Some(retry_at) = attempt.retry_at.filter(|at| *at > end) {
                let began = attempts.get(index + 1).map_or(self.now, |next| next.started_at);
                let (name, state) = if began < retry_at { ("waiting", "working") } else { ("backoff", "idle") };
                self.push(depth, Kind::Backoff, name.to_owned(), end, retry_at.min(began.max(end)), state);
            }
        }
    }

    fn attempt(&mut self, run: &RunSummary, attempt: &Attempt, end: u64, depth: usize) {
        let (state, note) = match (&attempt.error, attempt.crashed, attempt.finished_at) {
            (Some(error), ..) => ("failed", Some(error.message.clone())),
            (None, true, _) => ("failed", Some("cut off by the end of the server; it did not count".to_owned())),
            (None, false, None) => ("working", None),
            (None, false, Some(_)) if run.status == RunStatus::Canceled => ("asleep", None),
            (None, false, Some(_)) => ("done", None),
        };
        self.push(depth, Kind::Attempt, format!("attempt {}", attempt.number), attempt.started_at, end, state);
        self.note(note);
    }

    /// What happened during an attempt, in order.
    fn inside(
        &mut self,
        run: &RunSummary,
        attempt: &Attempt,
        steps: &[Step],
        logs: &[RunLog],
        until: u64,
        depth: usize,
    ) {
        enum Item<'a> {
            Step(&'a Step),
            Log(&'a RunLog),
            Child(&'a Descendant),
        }
        let during = |at: u64| at >= attempt.started_at && at < until;
        let steps = steps.iter().filter(|step| during(step.started_at));
        let logs = logs.iter().filter(|log| during(log.at));
        let descendants = self.descendants;
        let children = descendants
            .iter()
            .filter(|child| child.summary.parent.as_ref() == Some(&run.id) && during(child.summary.created_at));
        let mut items: Vec<(u64, Item<'_>)> = steps
            .map(|step| (step.started_at, Item::Step(step)))
            .chain(logs.map(|log| (log.at, Item::Log(log))))
            .chain(children.map(|child| (child.summary.created_at, Item::Child(child))))
            .collect();
        items.sort_by_key(|(at, _)| *at);
        for (_, item) in items {
            match item {
                Item::Step(step) => self.step(step, run, depth),
                Item::Log(log) => {
                    let state = if log.level == LogLevel::Error { "failed" } else { "idle" };
                    self.push(depth, Kind::Log, log.message.clone(), log.at, log.at, state);
                }
                Item::Child(child) => self.child(child, depth),
            }
        }
    }

    fn step(&mut self, step: &Step, run: &RunSummary, depth: usize) {
        let over = run.status.is_final();
        let end = step.finished_at.unwrap_or(if over { step.started_at } else { self.now });
        let state = match (&step.error, step.finished_at) {
            (Some(_), _) => "failed",
            (None, Some(end)) if end <= self.now => "done",
            (None, None) if over => "asleep",
            (None, _) => "working",
        };
        self.push(depth, Kind::Step, step.name.clone(), step.started_at, end.min(self.now), state);
        self.note(step.error.as_ref().map(|error| error.message.clone()));
    }

    fn child(&mut self, child: &Descendant, depth: usize) {
        let run = &child.summary;
        let name = if run.title.is_empty() { run.task.clone() } else { format!("{} · {}", run.task, run.title) };
        let end = run.finished_at.unwrap_or(self.now);
        self.push(depth, Kind::Run, name, run.started_at.unwrap_or(run.created_at), end, tone(run.status));
        self.note(run.error.clone());
        if let Some(span) = self.spans.last_mut() {
            span.run = Some(run.id.clone());
        }
        // Its wait is part of the work above it; what it did inside is shown one level down.
        let began = run.started_at.unwrap_or(self.now);
        let at_once = RunSummary { created_at: began, ..run.clone() };
        self.run(&at_once, &child.attempts, &child.steps, &[], depth + 1);
    }

    fn push(&mut self, depth: usize, kind: Kind, name: String, start: u64, end: u64, state: &'static str) {
        self.spans.push(Span { depth, kind, name, run: None, start, end: end.max(start), state, note: None });
    }

    fn note(&mut self, note: Option<String>) {
        if let Some(span) = self.spans.last_mut() {
            span.note = note;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ApiError;

    fn summary(id: &str, parent: Option<&str>) -> RunSummary {
        RunSummary {
            id: RunId::parse(id).unwrap(),
            task: "probe".into(),
            title: String::new(),
            status: RunStatus::Completed,
            project: None,
            parent: parent.map(|id| RunId::parse(id).unwrap()),
            call: None,
            attempt: 2,
            max_attempts: 3,
            created_at: 100,
            started_at: Some(110),
            finished_at: Some(400),
            error: None,
        }
    }

    fn detail() -> RunDetail {
        let attempt = |number, started_at, finished_at, retry_at: Option<u64>| Attempt {
            number,
            started_at,
            finished_at: Some(finished_at),
            error: retry_at.map(|_| ApiError::internal("away")),
            retry_at,
            crashed: false,
        };
        let step = Step { name: "one".into(), attempt: 1, started_at: 120, finished_at: Some(150), error: None };
        let log = RunLog { at: 130, level: LogLevel::Info, message: "said".into(), attempt: 1 };
        RunDetail {
            attempts: vec![attempt(1, 110, 200, Some(300)), attempt(2, 300, 400, None)],
            steps: vec![step],
            logs: vec![log],
            ..RunDetail::bare(summary("run_1", None))
        }
    }

    fn lines(timeline: &Timeline) -> Vec<(usize, &str, u64, u64, &str)> {
        timeline.spans.iter().map(|s| (s.depth, s.name.as_str(), s.start, s.end, s.state)).collect()
    }

    #[test]
    fn a_run_is_its_wait_its_attempts_and_what_happened_in_them() {
        let child = RunSummary {
            created_at: 310,
            started_at: Some(315),
            finished_at: Some(390),
            ..summary("run_2", Some("run_1"))
        };
        let child = Descendant { summary: child, attempts: Vec::new(), steps: Vec::new() };
        let timeline = Timeline::of(&detail(), &[child], Show::All, 1_000);
        assert_eq!(
            lines(&timeline),
            [
                (0, "queue time", 100, 110, "idle"),
                (0, "attempt 1", 110, 200, "failed"),
                (1, "one", 120, 150, "done"),
                (1, "said", 130, 130, "idle"),
                (0, "backoff", 200, 300, "idle"),
                (0, "attempt 2", 300, 400, "done"),
                (1, "probe", 315, 390, "done"),
            ]
        );
        assert_eq!((timeline.start, timeline.end), (100, 400));
        let errors = Timeline::of(&detail(), &[], Show::Errors, 1_000);
        assert_eq!(errors.spans.len(), 1);
        assert_eq!(errors.spans[0].note.as_deref(), Some("away"));
    }

    #[test]
    fn what_goes_on_ends_now() {
        let mut open = detail();
        open.summary.status = RunStatus::Executing;
        open.summary.finished_at = None;
        open.attempts[1].finished_at = None;
        let timeline = Timeline::of(&open, &[], Show::Work, 1_000);
        let last = timeline.spans.last().unwrap();
        assert_eq!((last.name.as_str(), last.end, last.state), ("attempt 2", 1_000, "working"));
    }
}
