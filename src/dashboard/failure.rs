//! Why a run failed, as far as its record says: what kind of error it was, how often the run was tried, and what failed
//! inside it.

use super::parts::{Copy, Mark, short};
use super::query::ListQuery;
use crate::domain::{Attempt, ErrorCode, RunDetail, RunId, RunStatus};
use crate::store::Descendant;
use crate::ui::kit::duration;
use leptos::prelude::*;

/// Attempts and causes shown at most, the last ones.
const SHOWN: usize = 10;

/// The run's error; nothing for a run that has none.
pub(super) fn failed(detail: &RunDetail, descendants: &[Descendant], list: &ListQuery) -> Option<AnyView> {
    let error = detail.error.clone()?;
    let same = detail.fingerprint.clone().map(|error| ListQuery { error, ..ListQuery::default() }.href());
    let code = serde_json::to_value(error.code).ok().and_then(|code| code.as_str().map(str::to_owned));
    let tries = earlier(&detail.attempts).into_iter().map(|line| view! { <li>{line}</li> });
    let tries: Vec<_> = tries.collect();
    let inside = inside(detail, descendants).into_iter().map(|Cause { run, name, message }| {
        let name = match run {
            Some(run) => view! { <a href=list.first_page().under(&format!("/runs/{run}"))>{name}</a> }.into_any(),
            None => view! { <span>{name}</span> }.into_any(),
        };
        view! { <li>{name}": "{short(&message, 400)}</li> }
    });
    let inside: Vec<_> = inside.collect();
    Some(
        view! {
            <div class="failure">
                <Mark name="alert" />
                <div>
                    <p class="row"><strong>"Why it failed"</strong>{code.map(|code| view! { <code title=kind(error.code)>{code}</code> })}<Copy text=error.message.clone() what="error" /></p>
                    <pre class="failure-text">{error.message}</pre>
                    <p>{kind(error.code)}". "{tried(detail)}</p>
                    {error.request_id.map(|id| view! { <p>"Request "<code>{id}</code>" in the server's log"</p> })}
                    {(!tries.is_empty()).then(|| view! { <p>"Before:"</p><ul>{tries}</ul> })}
                    {(!inside.is_empty()).then(|| view! { <p>"What failed inside it:"</p><ul>{inside}</ul> })}
                    {same.map(|href| view! { <a class="link" href=href>"Runs that failed in the same way"</a> })}
                </div>
            </div>
        }
        .into_any(),
    )
}

/// What a kind of error means.
fn kind(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidInput => "What was asked for cannot be done as given",
        ErrorCode::Unauthorized => "A key or token was missing or wrong",
        ErrorCode::Forbidden => "It is not allowed",
        ErrorCode::NotFound => "Something it needs is not there",
        ErrorCode::Conflict => "Something was not in a state that allows it",
        ErrorCode::TooLarge => "Something is over its limit",
        ErrorCode::Model => "The model's provider refused or failed",
        ErrorCode::Sandbox => "The sandbox could not do it",
        ErrorCode::Timeout => "A time limit was reached",
        ErrorCode::Cancelled => "It was stopped",
        ErrorCode::Storage => "The server has no room",
        ErrorCode::Internal => "A fault of the server, whose log has more about it",
    }
}

/// Whether it was tried again, and why no more.
fn tried(detail: &RunDetail) -> String {
    let run = &detail.summary;
    match (run.status, run.attempt, run.max_attempts) {
        (_, 0, _) => "It never started.".to_owned(),
        (RunStatus::Failed, 1, 1) => "It was tried once; its task allows no more.".to_owned(),
        (RunStatus::Failed, n, most) if n >= most => format!("It was tried {n} times, which is all it is allowed."),
        (RunStatus::Failed, n, most) => {
            format!("It ended with attempt {n} of {most}: trying again cannot help with this error.")
        }
        (_, n, most) => format!("It ended with attempt {n} of {most}."),
    }
}

/// The attempts before the last, with how each ended.
fn earlier(attempts: &[Attempt]) -> Vec<String> {
    let before = attempts.split_last().map_or(&[][..], |(_, before)| before);
    let told = |attempt: &Attempt| {
        let end = attempt.finished_at.unwrap_or(attempt.started_at);
        let how = match (&attempt.error, attempt.retry_at) {
            (Some(error), Some(at)) => {
                format!("{} (tried again after {})", short(&error.message, 400), duration(at.saturating_sub(end)))
            }
            (Some(error), None) => short(&error.message, 400),
            (None, _) => "cut off by the end of the server; it did not count".to_owned(),
        };
        format!("attempt {}: {how}", attempt.number)
    };
    before.iter().skip(before.len().saturating_sub(SHOWN)).map(told).collect()
}

/// A step or run that failed within the last attempt.
#[derive(Debug, PartialEq, Eq)]
struct Cause {
    run: Option<RunId>,
    name: String,
    message: String,
}

/// What failed within the last attempt: its steps, and the runs below it.
fn inside(detail: &RunDetail, descendants: &[Descendant]) -> Vec<Cause> {
    let since = detail.attempts.last().map_or(0, |attempt| attempt.started_at);
    let steps = detail.steps.iter().filter(|step| step.started_at >= since).filter_map(|step| {
        let message = step.error.as_ref()?.message.clone();
        Some(Cause { run: None, name: format!("step {}", step.name), message })
    });
    let runs = descendants.iter().map(|below| &below.summary);
    let runs = runs.filter(|run| run.created_at >= since && run.status.is_failure()).map(|run| Cause {
        run: Some(run.id.clone()),
        name: if run.title.is_empty() {
            run.task.clone()
        } else {
            format!("{} · {}", run.task, short(&run.title, 80))
        },
        message: run.error.clone().unwrap_or_default(),
    });
    let all: Vec<Cause> = steps.chain(runs).collect();
    let left_out = all.len().saturating_sub(SHOWN);
    all.into_iter().skip(left_out).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ApiError, RunSummary, Step};

    fn summary(id: &str, status: RunStatus) -> RunSummary {
        RunSummary {
            id: RunId::parse(id).unwrap(),
            task: "probe".into(),
            title: "npm i".into(),
            status,
            project: None,
            parent: None,
            call: None,
            attempt: 2,
            max_attempts: 2,
            created_at: 350,
            started_at: Some(110),
            finished_at: Some(400),
            error: Some("no such package".into()),
        }
    }

    fn detail() -> RunDetail {
        let attempt = |number, started_at, retry_at: Option<u64>| Attempt {
            number,
            started_at,
            finished_at: Some(started_at + 90),
            error: Some(ApiError::internal("away")),
            retry_at,
            crashed: false,
        };
        let step = |name: &str, started_at| Step {
            name: name.into(),
            attempt: 1,
            started_at,
            finished_at: Some(started_at + 10),
            error: Some(ApiError::internal("not yet")),
        };
        RunDetail {
            error: Some(ApiError { request_id: Some("req_1".into()), ..ApiError::new(ErrorCode::Sandbox, "away") }),
            attempts: vec![attempt(1, 110, Some(1_200)), attempt(2, 1_200, None)],
            steps: vec![step("old", 120), step("new", 1_210)],
            ..RunDetail::bare(summary("run_1", RunStatus::Failed))
        }
    }

    #[test]
    fn a_failure_tells_its_kind_its_attempts_and_what_failed_inside() {
        let late = RunSummary { created_at: 1_220, ..summary("run_2", RunStatus::Failed) };
        let below = [summary("run_0", RunStatus::Failed), late, summary("run_3", RunStatus::Completed)];
        let below = below.map(|summary| Descendant { summary, attempts: Vec::new(), steps: Vec::new() });
        let html = super::super::html(move || failed(&detail(), &below, &ListQuery::default()).into_any());
        for told in [
            "The sandbox could not do it",
            "It was tried 2 times, which is all it is allowed.",
            "attempt 1: away (tried again after 1.0 s)",
            "req_1",
            "step new",
            "/runs/run_2",
            "no such package",
        ] {
            assert!(html.contains(told), "{told} is not in {html}");
        }
        assert!(!html.contains("step old") && !html.contains("run_0") && !html.contains("run_3"), "{html}");
    }

    #[test]
    fn why_it_is_not_tried_again_is_said() {
        let of = |status, attempt, max_attempts| {
            let summary = RunSummary { attempt, max_attempts, ..summary("run_1", status) };
            tried(&RunDetail::bare(summary))
        };
        assert!(of(RunStatus::Failed, 1, 3).contains("attempt 1 of 3: trying again cannot help"));
        assert!(of(RunStatus::Failed, 1, 1).contains("allows no more"));
        assert_eq!(of(RunStatus::Expired, 0, 3), "It never started.");
        assert_eq!(of(RunStatus::TimedOut, 2, 3), "It ended with attempt 2 of 3.");
    }
}
