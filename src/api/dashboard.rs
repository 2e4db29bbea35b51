//! The runs dashboard over HTTP: gathers what a page shows, and the forms on it.
//!
//! `part` is what both the page and its refresh are made of, so that they cannot differ.

use super::AppState;
use super::error::{Failure, Path};
use super::once::Once;
use super::pages::{answer, failure, form_failure, is_for_a_person, read_only};
use crate::dashboard::{ListPage, ListQuery, RunPage, list_html, run_html};
use crate::documents::{Document, SurePage};
use crate::domain::{ApiError, Message, ProjectId, RunId};
use crate::services::Services;
use crate::store::now_ms;
use crate::ui::PageData;
use crate::workflow::{BULK_MAX, BulkAction, Replay, RunFilter};
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{OriginalUri, Query, State};
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

/// Runs on one page.
const PAGE: u32 = 50;
/// Ways of failing on their page.
const ERRORS: u32 = 100;

/// A page of the dashboard.
pub(super) struct Part {
    title: String,
    /// What stands inside `<main>`.
    pub html: String,
    live: bool,
}

/// What a page's address says besides the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Extra {
    show: String,
    done: String,
}

/// The page at a path, for instance `/runs?status=failures` or `/runs/run_1`.
pub(super) async fn part(services: &Services, path: &str) -> Result<Part, ApiError> {
    let invalid = |_| ApiError::invalid("that is not the address of a page of runs");
    let uri: Uri = path.parse().map_err(invalid)?;
    let query = |error: axum::extract::rejection::QueryRejection| ApiError::invalid(error.body_text());
    let Query(list) = Query::<ListQuery>::try_from_uri(&uri).map_err(query)?;
    let Query(extra) = Query::<Extra>::try_from_uri(&uri).map_err(query)?;
    match uri.path().strip_prefix("/runs").map(|rest| rest.trim_matches('/')) {
        Some("") => list_part(services, list, &extra).await,
        Some(id) => {
            let id = RunId::parse(id).map_err(|_| ApiError::not_found(format!("there is no run with the id {id}")))?;
            run_part(services, id, list, extra, None).await
        }
        None => Err(ApiError::invalid("that is not the address of a page of runs")),
    }
}

async fn list_part(services: &Services, query: ListQuery, extra: &Extra) -> Result<Part, ApiError> {
    let now = now_ms();
    let runs = services.workflow.store();
    let filter = query.filter(now)?;
    // One more than is shown says whether there are more.
    let mut found = runs.list(&RunFilter { limit: Some(PAGE + 1), ..filter.clone() }).await?;
    let more = found.len() > PAGE as usize;
    let backwards = filter.after.is_some();
    if more && backwards {
        found.remove(0);
    } else {
        found.truncate(PAGE as usize);
    }
    let page = ListPage {
        newer: if backwards { more } else { filter.before.is_some() },
        older: if backwards { true } else { more },
        runs: found,
        counts: counts(services, filter.project.as_ref()).await?,
        errors: runs.errors(ERRORS).await?,
        projects: names(services).await?,
        notice: notice(&extra.done),
        trouble: services.workflow.health().trouble,
        query,
        now,
    };
    Ok(Part { title: "Runs".to_owned(), html: list_html(page), live: true })
}

async fn run_part(
    services: &Services,
    id: RunId,
    list: ListQuery,
    extra: Extra,
    refused: Option<(String, String)>,
) -> Result<Part, ApiError> {
    let now = now_ms();
    let runs = services.workflow.store();
    let detail = runs.detail(&id).await?;
    let payload = runs.record(&id).await?.payload;
    let neighbour = RunFilter { limit: Some(1), ..list.first_page().filter(now)? };
    let newer = runs.list(&RunFilter { after: Some(id.clone()), ..neighbour.clone() }).await?;
    let older = runs.list(&RunFilter { before: Some(id.clone()), ..neighbour }).await?;
    let state = match &detail.summary.project {
        Some(project) => services.store.events().state(project).await.ok(),
        None => None,
    };
    let turn = detail.root.as_ref().unwrap_or(&id);
    let answers = |message: &&Message| message.turn.as_ref() == Some(turn);
    let message = state.as_ref().and_then(|state| state.messages.iter().find(answers)).map(|found| found.id.clone());
    let title = format!("{} run", detail.summary.task);
    let live = !detail.summary.status.is_final();
    let html = run_html(RunPage {
        descendants: runs.descendants(&id).await?,
        payload: std::sync::Arc::unwrap_or_clone(payload),
        no_replay: services.workflow.no_replay(&detail.summary.task),
        newer: newer.into_iter().next().map(|run| run.id),
        older: older.into_iter().next().map(|run| run.id),
        notice: notice(&extra.done),
        show: extra.show,
        project: state.as_ref().map(|state| state.name.clone()),
        sandbox: state.as_ref().and_then(|state| Some(state.sandbox.as_ref()?.id.clone())),
        message,
        detail,
        once: Once::mark(),
        refused,
        list,
        now,
    });
    Ok(Part { title, html, live })
}

/// All runs, or those of one project, which are few enough to be counted.
async fn counts(services: &Services, project: Option<&ProjectId>) -> Result<Vec<crate::workflow::RunCount>, ApiError> {
    let runs = services.workflow.store();
    Ok(match project {
        Some(project) => runs.counts_of(project).await?,
        None => runs.counts().await?,
    })
}

async fn names(services: &Services) -> Result<Vec<(ProjectId, String)>, ApiError> {
    let projects = services.store.events().projects().await?;
    Ok(projects.into_iter().map(|project| (project.id, project.name)).collect())
}

/// `GET /runs` and `GET /runs/{run}`
pub async fn page(State(app): State<AppState>, OriginalUri(uri): OriginalUri, headers: HeaderMap) -> Response {
    let path = uri.path_and_query().map_or("/runs", |path| path.as_str());
    let page = part(&app.services, path).await.map_err(Failure::from);
    let page = page.map(|Part { title, html, live }| PageData::Runs { title, html, live });
    answer(&app, &headers, page)
}

/// `POST /runs/{run}/cancel`: the button without JavaScript, and with it.
pub async fn cancel(State(app): State<AppState>, path: Result<Path<RunId>, Failure>, headers: HeaderMap) -> Response {
    let done = async {
        let Path(id) = path?;
        app.services.workflow.cancel(&id).await?;
        Ok::<_, Failure>(format!("/runs/{id}"))
    };
    lead_on(&app, &headers, done.await)
}

/// `GET /runs/{run}/{what}`: a payload, an output or metadata as JSON, whole.
pub async fn value(
    State(app): State<AppState>,
    path: Result<Path<(RunId, String)>, Failure>,
    headers: HeaderMap,
) -> Response {
    let found = async {
        let Path((id, what)) = path?;
        let run = app.services.workflow.record_of(&id).await?;
        let value = match what.as_str() {
            "payload" => Some(std::sync::Arc::unwrap_or_clone(run.payload)),
            "output" => run.output,
            "metadata" => run.labels.metadata,
            _ => None,
        };
        let value = value.ok_or_else(|| ApiError::not_found(format!("this run has no {what}")))?;
        serde_json::to_string_pretty(&value).map_err(|error| Failure::from(ApiError::internal(error.to_string())))
    };
    match found.await {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => failure(&app, &headers, error),
    }
}

/// `GET /runs/{run}/replay`: the address a replay was refused at, opened anew.
pub async fn to_run(path: Result<Path<RunId>, Failure>, State(app): State<AppState>, headers: HeaderMap) -> Response {
    lead_on(&app, &headers, path.map(|Path(id)| format!("/runs/{id}")))
}

/// Body of a replay: the payload as it was edited.
#[derive(Debug, Default, Deserialize)]
pub struct ReplayBody {
    payload: Option<String>,
    /// The mark of the page it was sent from.
    #[serde(default)]
    once: String,
}

/// `POST /runs/{run}/replay`
pub async fn replay(
    State(app): State<AppState>,
    path: Result<Path<RunId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<ReplayBody>, FormRejection>,
) -> Response {
    let (id, ReplayBody { payload, once }) = match (path, form.map_err(form_failure)) {
        (Ok(Path(id)), Ok(Form(body))) => (id, body),
        (Err(error), _) | (_, Err(error)) => return failure(&app, &headers, error),
    };
    let (asked, workflow, run) = (payload.clone().unwrap_or_default(), app.services.workflow.clone(), id.clone());
    let work = async move {
        let payload = payload.map(|text| {
            serde_json::from_str(&text).map_err(|error| ApiError::invalid(format!("The payload is not JSON: {error}.")))
        });
        let changes = Replay { payload: payload.transpose()?, ..Replay::default() };
        let run = workflow.replay(&run, changes).await?;
        Ok(format!("/runs/{run}?done=replayed-1-0-0"))
    };
    let error = match app.once(&once, &asked, work).await {
        Ok(to) => return Redirect::to(&to).into_response(),
        Err(error) => error,
    };
    let refused = Some((asked, error.error.message.clone())).filter(|(typed, _)| !typed.is_empty());
    let page = run_part(&app.services, id, ListQuery::default(), Extra::default(), refused).await;
    match page {
        Ok(Part { title, html, live }) if is_for_a_person(&headers) => {
            let (status, _) = error.identified();
            (status, answer(&app, &headers, Ok(PageData::Runs { title, html, live }))).into_response()
        }
        _ => failure(&app, &headers, error),
    }
}

/// `POST /runs/bulk`: the same action on the chosen runs, or on all that fit. Before the latter, a page asks and says
/// how many they are.
pub async fn bulk(
    State(app): State<AppState>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let done = async {
        let Form(fields) = form.map_err(form_failure)?;
        bulk_asked(&app, fields).await
    };
    match done.await {
        Ok(Bulk::Done(href)) => Redirect::to(&href).into_response(),
        Ok(Bulk::Ask(page)) => read_only(&app, &headers, Document::Sure(page)),
        Err(error) => failure(&app, &headers, error),
    }
}

/// What comes of the form.
enum Bulk {
    /// It is done; the address of the list that says so.
    Done(String),
    /// A question comes first.
    Ask(SurePage),
}

/// What the form says besides the list's own fields.
const BULK_FIELDS: [&str; 6] = ["action", "which", "run", "sure", "until", "once"];

async fn bulk_asked(app: &AppState, fields: Vec<(String, String)>) -> Result<Bulk, Failure> {
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let (action, word) = match field("action") {
        "cancel" => (BulkAction::Cancel, "canceled"),
        "replay" => (BulkAction::Replay, "replayed"),
        other => return Err(ApiError::invalid(format!("there is no action \"{other}\"")).into()),
    };
    let asked: serde_json::Map<_, _> = fields
        .iter()
        .filter(|(name, _)| !BULK_FIELDS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let query: ListQuery =
        serde_json::from_value(asked.into()).map_err(|error| ApiError::invalid(error.to_string()))?;
    let (ids, left_out) = if field("which") == "all" {
        let now = now_ms();
        // What was submitted after the question was not asked about.
        let to = field("until").parse().unwrap_or(now);
        let filter = RunFilter { to: Some(to), ..query.filter(now)? };
        let (mut ids, left_out) = app.services.workflow.bulk_fits(filter, action).await?;
        let more = ids.len() > BULK_MAX;
        ids.truncate(BULK_MAX);
        if field("sure").is_empty() && !ids.is_empty() {
            return Ok(Bulk::Ask(question(&query, action, ids.len(), more, now)));
        }
        (ids, left_out)
    } else {
        let ids: Result<Vec<RunId>, _> =
            fields.iter().filter(|(name, _)| name == "run").map(|(_, id)| RunId::parse(id.clone())).collect();
        let ids = ids.map_err(|error| ApiError::invalid(error.to_string()))?;
        if ids.is_empty() {
            return Err(ApiError::invalid("choose runs first, or \"All runs that fit\"").into());
        }
        (ids, 0)
    };
    let workflow = app.services.workflow.clone();
    let work = async move {
        let report = workflow.bulk(&ids, action).await?;
        let (done, skipped, left_out) = (report.done, report.skipped, report.left_out + left_out);
        let href = query.href();
        let and = if href.contains('?') { '&' } else { '?' };
        Ok(format!("{href}{and}done={word}-{done}-{skipped}-{left_out}"))
    };
    app.once(field("once"), "bulk", work).await.map(Bulk::Done)
}

fn question(query: &ListQuery, action: BulkAction, count: usize, more: bool, now: u64) -> SurePage {
    let replay = action == BulkAction::Replay;
    let mut fields = query.fields();
    let word = if replay { "replay" } else { "cancel" };
    for (name, value) in [("action", word), ("which", "all"), ("sure", "yes"), ("until", &now.to_string())] {
        fields.push((name.to_owned(), value.to_owned()));
    }
    fields.push(("once".to_owned(), Once::mark()));
    SurePage { replay, count, more, fields, list: query.href() }
}

fn lead_on(app: &AppState, headers: &HeaderMap, done: Result<String, Failure>) -> Response {
    match done {
        Ok(href) => Redirect::to(&href).into_response(),
        Err(error) => failure(app, headers, error),
    }
}

/// `canceled-3-1-0` as words; nothing for what no redirect of ours says.
fn notice(done: &str) -> Option<String> {
    let (word, numbers) = done.split_once('-')?;
    let numbers: Vec<usize> = numbers.split('-').map(str::parse).collect::<Result<_, _>>().ok()?;
    let [done, skipped, left_out] = numbers.try_into().ok()?;
    let what = match word {
        "canceled" => "stopped",
        "replayed" => "submitted once more",
        _ => return None,
    };
    let runs = if done == 1 { "1 run was".to_owned() } else { format!("{done} runs were") };
    let rest = match skipped {
        0 => String::new(),
        n => format!(" {n} could not be: they had ended already, had not ended yet, or are gone."),
    };
    let left = match left_out {
        0 => String::new(),
        n => format!(
            " {n} left out: runs that another run started come with that one, and runs whose page says so are not \
             replayed."
        ),
    };
    let most = if done >= BULK_MAX { format!(" One action takes at most {BULK_MAX}.") } else { String::new() };
    Some(format!("{runs} {what}.{rest}{left}{most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_action_did_is_told_in_words() {
        assert_eq!(notice("canceled-1-0-0").unwrap(), "1 run was stopped.");
        assert!(notice("replayed-3-2-0").unwrap().starts_with("3 runs were submitted once more. 2 could not be"));
        assert!(notice("replayed-3-0-2").unwrap().contains(" 2 left out: "));
        assert_eq!(notice("<b>-1-1-1"), None);
        assert_eq!(notice("replayed-1-1"), None);
        assert_eq!(notice(""), None);
    }
}
