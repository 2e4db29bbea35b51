//! `/runs`: what there is, what fits, page by page.

use super::errors::Errors;
use super::parts::{Mark, When, queued, short, took};
use super::query::{ListQuery, PERIODS};
use crate::domain::{ProjectId, RunStatus, RunSummary};
use crate::ui::kit::compact;
use crate::ui::run_words::{StatusPill, words};
use crate::workflow::{RunCount, RunError};
use leptos::prelude::*;

/// Everything the list shows.
pub struct ListPage {
    /// What was asked for.
    pub query: ListQuery,
    /// What fits, newest first.
    pub runs: Vec<RunSummary>,
    /// Whether there are newer ones.
    pub newer: bool,
    /// Whether there are older ones.
    pub older: bool,
    /// How many runs there are in all.
    pub counts: Vec<RunCount>,
    /// Ways of failing.
    pub errors: Vec<RunError>,
    /// Projects by name.
    pub projects: Vec<(ProjectId, String)>,
    /// What the last action did.
    pub notice: Option<String>,
    /// Why no run can start now.
    pub trouble: Option<String>,
    /// Unix ms.
    pub now: u64,
}

/// The list as markup.
pub fn list_html(page: ListPage) -> String {
    super::html(move || {
        let in_errors = page.query.view == "errors";
        let current = |here: bool| here.then_some("page");
        let runs = ListQuery { view: String::new(), ..page.query.first_page() };
        let errors = ListQuery { view: "errors".to_owned(), ..ListQuery::default() };
        let failures = page.errors.len();
        view! {
            <div class="row between">
                <h1>"Runs"</h1>
                <nav class="switch" aria-label="View">
                    <a href=runs.href() aria-current=current(!in_errors)>"All runs"</a>
                    <a href=errors.href() aria-current=current(in_errors)>"Errors"{(failures > 0).then(|| view! { <small>{failures}</small> })}</a>
                </nav>
            </div>
            {page.notice.clone().map(|notice| view! { <p class="notice" role="status"><span>{notice}</span></p> })}
            {page.trouble.clone().map(|trouble| view! { <Trouble trouble /> })}
            {if in_errors {
                view! { <Errors errors=page.errors now=page.now /> }.into_any()
            } else {
                view! {
                    <Counts counts=page.counts.clone() query=page.query.clone() />
                    <Filters counts=page.counts query=page.query.clone() projects=page.projects.clone() />
                    <Table runs=page.runs.clone() query=page.query.clone() projects=page.projects now=page.now />
                    <Pager runs=page.runs query=page.query newer=page.newer older=page.older />
                }
                .into_any()
            }}
        }
        .into_any()
    })
}

/// Says why nothing starts, and that nothing need be done about the runs.
#[component]
fn Trouble(trouble: String) -> impl IntoView {
    view! {
        <div class="failure" role="alert">
            <Mark name="alert" />
            <div>
                <p><strong>"Runs wait"</strong></p>
                <pre class="failure-text">{trouble}</pre>
                <p class="muted">"They start by themselves once it answers."</p>
            </div>
        </div>
    }
    .into_any()
}

/// How many there are of each kind; each is a link to them.
#[component]
fn Counts(counts: Vec<RunCount>, query: ListQuery) -> impl IntoView {
    let of = |fits: &dyn Fn(RunStatus) -> bool| -> u64 {
        let in_task = |count: &&RunCount| query.task.is_empty() || count.task == query.task;
        counts.iter().filter(in_task).filter(|count| fits(count.status)).map(|count| count.count).sum()
    };
    let active = |status: RunStatus| !status.is_final();
    let kinds = [
        ("", "All", of(&|_| true)),
        ("active", "Active", of(&active)),
        ("COMPLETED", "Completed", of(&|status| status == RunStatus::Completed)),
        ("failures", "Failed", of(&RunStatus::is_failure)),
        ("CANCELED", "Canceled", of(&|status| status == RunStatus::Canceled)),
    ];
    let links = kinds.into_iter().map(|(status, name, count)| {
        let current = (query.status == status).then_some("page");
        let href = ListQuery { status: status.to_owned(), ..query.first_page() }.href();
        view! { <a class="count" href=href aria-current=current data-kind=(count > 0).then_some(status)><strong>{compact(count)}</strong><span>{name}</span></a> }
    });
    view! { <nav class="counts" aria-label="By status">{links.collect_view()}</nav> }.into_any()
}

#[component]
fn Filters(counts: Vec<RunCount>, query: ListQuery, projects: Vec<(ProjectId, String)>) -> impl IntoView {
    let mut tasks: Vec<String> = counts.into_iter().map(|count| count.task).collect();
    tasks.push(query.task.clone());
    tasks.retain(|task| !task.is_empty());
    tasks.sort();
    tasks.dedup();
    let status_options = [("active", "Active".to_owned()), ("failures", "Any failure".to_owned())]
        .into_iter()
        .chain(RunStatus::ALL.into_iter().map(|status| (status.as_str(), words(status))))
        .map(|(value, name)| option(value.to_owned(), name, &query.status));
    let task_options = tasks.into_iter().map(|task| option(task.clone(), task, &query.task));
    let project_options =
        projects.into_iter().map(|(id, name)| option(id.to_string(), short(&name, 40), &query.project));
    let period_options =
        PERIODS.iter().map(|(value, name, _)| option((*value).to_owned(), (*name).to_owned(), &query.period));
    let kept = [("error", &query.error), ("tag", &query.tag), ("batch", &query.batch)]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| view! { <input type="hidden" name=name value=value.clone() /> });
    let kept: Vec<_> = kept.collect();
    view! {
        <form class="filters" method="get" action="/runs" role="search">
            <input class="input" type="search" name="text" placeholder="Id, task or words" aria-label="Search runs" value=query.text.clone() data-key="/" />
            <select class="input" name="status" aria-label="Status"><option value="">"Any status"</option>{status_options.collect_view()}</select>
            <select class="input" name="task" aria-label="Task"><option value="">"Any task"</option>{task_options.collect_view()}</select>
            <select class="input" name="project" aria-label="Project"><option value="">"Any project"</option>{project_options.collect_view()}</select>
            <select class="input" name="period" aria-label="Period"><option value="">"Any time"</option>{period_options.collect_view()}</select>
            {kept}
            <button class="button" type="submit">"Show"</button>
            {query.narrows().then(|| view! { <a class="link" href="/runs">"Clear"</a> })}
        </form>
    }
    .into_any()
}

fn option(value: String, name: String, chosen: &str) -> impl IntoView + use<> {
    let selected = value == chosen;
    view! { <option value=value selected=selected>{name}</option> }
}

#[component]
fn Table(runs: Vec<RunSummary>, query: ListQuery, projects: Vec<(ProjectId, String)>, now: u64) -> impl IntoView {
    if runs.is_empty() {
        let (title, text) = if query.narrows() {
            ("No run fits", "Take a filter away, or choose a longer period.")
        } else {
            ("No runs yet", "Each step of the agent, and each call of the API, is a durable run that shows up here.")
        };
        return view! { <div class="empty"><Mark name="runs" /><h3>{title}</h3><p>{text}</p></div> }.into_any();
    }
    let fields = query.first_page().fields();
    let fields = fields.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value /> });
    let fields: Vec<_> = fields.collect();
    let rows = runs.into_iter().map(|run| {
        let project = run.project.as_ref().and_then(|id| projects.iter().find(|(known, _)| known == id));
        let project = project.map(|(_, name)| short(name, 32));
        view! { <Row run project query=query.clone() now /> }
    });
    let rows: Vec<_> = rows.collect();
    view! {
        <form method="post" action="/runs/bulk">
            // Enter on a checkbox presses the form's first button: this one, which does nothing.
            <button type="submit" disabled hidden></button>
            {fields}
            <div class="table-wrap">
                <table class="runs all">
                    <thead>
                        <tr>
                            <th scope="col"><span class="visually-hidden">"Choose"</span></th>
                            <th scope="col">"Task"</th>
                            <th scope="col">"Status"</th>
                            <th scope="col" class="num">"Attempt"</th>
                            <th scope="col" class="num">"Waited"</th>
                            <th scope="col" class="num">"Took"</th>
                            <th scope="col" class="num">"When"</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            <div class="row bulk">
                <label class="row">
                    <select class="input" name="which" aria-label="Which runs">
                        <option value="chosen">"The chosen runs"</option>
                        <option value="all">"All runs that fit"</option>
                    </select>
                </label>
                <button class="button small" type="submit" name="action" value="cancel">"Cancel"</button>
                <button class="button small" type="submit" name="action" value="replay">"Replay"</button>
                <span class="muted small keys">"J and K move, Enter opens, / searches"</span>
            </div>
        </form>
    }
    .into_any()
}

#[component]
fn Row(run: RunSummary, project: Option<String>, query: ListQuery, now: u64) -> impl IntoView {
    let nested = run.parent.is_some().to_string();
    let choose = format!("Choose {} {}", run.task, short(&run.title, 40));
    view! {
        <tr data-nested=nested>
            <td><input type="checkbox" name="run" value=run.id.to_string() aria-label=choose /></td>
            <td>
                <a class="run-link" href=query.first_page().under(&format!("/runs/{}", run.id))>
                    <strong>{run.task.clone()}</strong>
                    <span class="run-title">{short(&run.title, 120)}</span>
                    {project.map(|project| view! { <span class="run-project">{project}</span> })}
                </a>
                {run.error.as_ref().map(|error| view! { <p class="run-error">{short(error, 200)}</p> })}
            </td>
            <td><StatusPill status=run.status /></td>
            <td class="num">{format!("{} of {}", run.attempt, run.max_attempts)}</td>
            <td class="num">{queued(&run)}</td>
            <td class="num">{took(&run, now)}</td>
            <td class="num"><When at=run.created_at now /></td>
        </tr>
    }
    .into_any()
}

#[component]
fn Pager(runs: Vec<RunSummary>, query: ListQuery, newer: bool, older: bool) -> impl IntoView {
    let id = |run: Option<&RunSummary>| run.map(|run| run.id.to_string()).unwrap_or_default();
    let after = ListQuery { after: id(runs.first()), ..query.first_page() };
    let before = ListQuery { before: id(runs.last()), ..query.first_page() };
    view! {
        <nav class="row pager" aria-label="Pages">
            {newer.then(|| view! { <a class="button small" rel="prev" href=after.href()>"Newer"</a> })}
            {older.then(|| view! { <a class="button small" rel="next" href=before.href()>"Older"</a> })}
        </nav>
    }
    .into_any()
}
