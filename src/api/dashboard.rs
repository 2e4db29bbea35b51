//! The runs dashboard over HTTP: gathers what a page shows, and the forms on it.
//!
//! `part` is what both the page and its refresh are made of, so that they cannot differ.

use super::AppState;
use super::error::{Failure, Path};
use super::pages::{answer, failure, form_failure};
use crate::dashboard::{ListPage, ListQuery, RunPage, list_html, run_html};
use crate::domain::{ApiError, Message, ProjectId, RunId};
use crate::services::Services;
use crate::store::now_ms;
use crate::ui::PageData;
use crate::workflow::{BULK_MAX, BulkAction, BulkReport, Replay, RunFilter};
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{OriginalUri, Query, State};
use axum::http::{HeaderMap, Uri};
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
            run_part(services, id, list, extra).await
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

async fn run_part(services: &Services, id: RunId, list: ListQuery, extra: Extra) -> Result<Part, ApiError> {
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

/// Body of a replay: the payload as it was edited.
#[derive(Debug, Default, Deserialize)]
pub struct ReplayBody {
    payload: Option<String>,
}

/// `POST /runs/{run}/replay`
pub async fn replay(
    State(app): State<AppState>,
    path: Result<Path<RunId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<ReplayBody>, FormRejection>,
) -> Response {
    let done = async {
        let (Path(id), Form(body)) = (path?, form.map_err(form_failure)?);
        let payload = body.payload.map(|text| {
            serde_json::from_str(&text).map_err(|error| ApiError::invalid(format!("the payload is not JSON: {error}")))
        });
        let changes = Replay { payload: payload.transpose()?, ..Replay::default() };
        let run = app.services.workflow.replay(&id, changes).await?;
        Ok::<_, Failure>(format!("/runs/{run}?done=replayed-1-0-0"))
    };
    lead_on(&app, &headers, done.await)
}

/// `POST /runs/bulk`: the same action on the chosen runs, or on all that fit.
pub async fn bulk(
    State(app): State<AppState>,
    headers: HeaderMap,
    form: Result<Form<Vec<(String, String)>>, FormRejection>,
) -> Response {
    let done = async {
        let Form(fields) = form.map_err(form_failure)?;
        let field = |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
        let (action, word) = match field("action") {
            "cancel" => (BulkAction::Cancel, "canceled"),
            "replay" => (BulkAction::Replay, "replayed"),
            other => return Err(ApiError::invalid(format!("there is no action \"{other}\"")).into()),
        };
        let asked: serde_json::Map<_, _> = fields
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "action" | "which" | "run"))
            .map(|(name, value)| (name.clone(), value.clone().into()))
            .collect();
        let query: ListQuery =
            serde_json::from_value(asked.into()).map_err(|error| ApiError::invalid(error.to_string()))?;
        let report = if field("which") == "all" {
            app.services.workflow.bulk_where(query.filter(now_ms())?, action).await?
        } else {
            let ids: Result<Vec<RunId>, _> =
                fields.iter().filter(|(name, _)| name == "run").map(|(_, id)| RunId::parse(id.clone())).collect();
            let ids = ids.map_err(|error| ApiError::invalid(error.to_string()))?;
            if ids.is_empty() {
                return Err(ApiError::invalid("choose runs first, or \"All runs that fit\"").into());
            }
            app.services.workflow.bulk(&ids, action).await?
        };
        let BulkReport { done, skipped, left_out, .. } = report;
        let href = query.href();
        let and = if href.contains('?') { '&' } else { '?' };
        Ok::<_, Failure>(format!("{href}{and}done={word}-{done}-{skipped}-{left_out}"))
    };
    lead_on(&app, &headers, done.await)
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
