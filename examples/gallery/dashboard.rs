//! The runs dashboard of the gallery, drawn as the server draws it.

use crate::script::{START, id, summary};
use sandcastle::dashboard::{ListPage, ListQuery, RunPage, list_html, run_html};
use sandcastle::domain::{ApiError, Attempt, ErrorCode, LogLevel, RunDetail, RunLog, RunStatus, RunSummary, Step};
use sandcastle::store::Descendant;
use sandcastle::ui::PageData;
use sandcastle::workflow::RunCount;
use serde_json::json;

/// When the pages are looked at.
const NOW: u64 = START + 600_000;

/// `/runs`.
pub fn list() -> PageData {
    let runs = runs();
    let counts = runs.iter().map(|run| RunCount { task: run.task.clone(), status: run.status, count: 1 }).collect();
    let page = ListPage {
        query: ListQuery::default(),
        newer: false,
        older: true,
        counts,
        errors: Vec::new(),
        projects: Vec::new(),
        notice: Some("3 runs were submitted once more.".into()),
        trouble: None,
        now: NOW,
        runs,
    };
    PageData::Runs { title: "Runs".into(), html: list_html(page), live: false }
}

/// `/runs/{run}`.
pub fn run(failed: bool) -> PageData {
    let child = |n: u64| Descendant { summary: summary(n), attempts: Vec::new(), steps: Vec::new() };
    let page = RunPage {
        detail: detail(failed),
        payload: json!({"project": "prj_live", "line": "npm install", "background": false, "timeoutMs": 300_000}),
        no_replay: None,
        descendants: if failed { Vec::new() } else { vec![child(5), child(6)] },
        project: Some("Recipe search".into()),
        sandbox: None,
        message: None,
        list: ListQuery::default(),
        newer: Some(id("run_5")),
        older: Some(id("run_3")),
        show: String::new(),
        notice: None,
        refused: None,
        once: String::new(),
        now: NOW,
    };
    PageData::Runs { title: "runCommand run".into(), html: run_html(page), live: false }
}

/// Runs in every state.
fn runs() -> Vec<RunSummary> {
    let mut runs: Vec<RunSummary> = (1..=6).map(summary).collect();
    let states =
        [RunStatus::Executing, RunStatus::Delayed, RunStatus::Failed, RunStatus::Canceled, RunStatus::TimedOut];
    for (n, status) in (20..).zip(states) {
        let error =
            (status == RunStatus::Failed).then(|| "npm ERR! network request to registry.npmjs.org failed".to_owned());
        let finished_at = status.is_final().then_some(START + 9000);
        runs.push(RunSummary { status, error, finished_at, attempt: 2, title: "npm test".into(), ..summary(n) });
    }
    runs.reverse();
    runs
}

/// One run in full.
fn detail(failed: bool) -> RunDetail {
    let status = if failed { RunStatus::Failed } else { RunStatus::Completed };
    let error = failed.then(|| {
        ApiError::new(ErrorCode::Sandbox, "The command could not start: the workspace is over its limit of 4096 MiB.")
    });
    let attempt = |number: u32, error: Option<ApiError>| Attempt {
        number,
        started_at: START + u64::from(number) * 3000,
        finished_at: Some(START + u64::from(number) * 3000 + 1240),
        error,
        retry_at: None,
        crashed: number == 1 && failed,
    };
    let attempts = if failed { (1..=3).map(|n| attempt(n, error.clone())).collect() } else { vec![attempt(1, None)] };
    let log =
        |at: u64, level: LogLevel, message: &str| RunLog { at: START + at, level, message: message.into(), attempt: 1 };
    RunDetail {
        summary: RunSummary { status, attempt: attempts.len() as u32, ..summary(4) },
        payload: json!({"project": "prj_live", "line": "npm install", "background": false, "timeoutMs": 300_000}),
        output: (!failed).then(|| json!({"commandId": "cmd_4", "exitCode": 0, "durationMs": 14_200})),
        error,
        idempotency_key: Some("run_1:call_4".into()),
        replay_of: failed.then(|| id("run_3")),
        attempts,
        steps: vec![
            Step {
                name: "start".into(),
                attempt: 1,
                started_at: START + 3010,
                finished_at: Some(START + 3040),
                error: None,
            },
            Step {
                name: "output".into(),
                attempt: 1,
                started_at: START + 3050,
                finished_at: Some(START + 4100),
                error: None,
            },
        ],
        tags: vec!["sbx:i123".into()],
        logs: vec![
            log(12, LogLevel::Info, "started `npm install`"),
            log(4000, LogLevel::Warn, "the registry answered slowly"),
            log(14_000, if failed { LogLevel::Error } else { LogLevel::Info }, "exit code 0"),
        ],
        ..RunDetail::bare(summary(4))
    }
}
