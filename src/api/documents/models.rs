//! Models: endpoints with their keys, what each model is known to do, favourites.

use super::{answer, done, done_or_again, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Query};
use crate::documents::{Document, EndpointRow, ModelRow, ModelsPage, TrialRow, models_address};
use crate::domain::ApiError;
use crate::llm::ModelInfo;
use crate::services::{Known, Trials, aptitude};
use crate::store::ModelNote;
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Models shown at once; a search narrows them.
const SHOWN: usize = 100;
/// Where the page follows the trials under way.
const FOLLOWING: &str = "/settings/models?follow=true";
/// Seconds between two looks at them.
const LOOK: HeaderValue = HeaderValue::from_static("2");

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
pub struct ModelsQuery {
    /// Words that must be in the id.
    #[serde(default)]
    q: String,
    /// Whether the page is loaded again while models are being tried.
    #[serde(default)]
    follow: bool,
}

/// `GET /settings/models`
pub async fn models(
    State(app): State<AppState>,
    query: Result<Query<ModelsQuery>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Query(ModelsQuery { q, follow }) = query?;
        page(&app, q, follow, <(String, String)>::default()).await
    };
    let page = page.await;
    let following = matches!(&page, Ok(Document::Models(page)) if page.following);
    let mut answer = answer(&app, &headers, page);
    if following {
        answer.headers_mut().insert(header::REFRESH, LOOK);
    }
    answer
}

/// The trials under way and those that failed, in words.
fn trials(trials: &Trials) -> Vec<TrialRow> {
    let row = |(id, known): (String, Known)| match known {
        Known::UnderWay(news) => {
            let trial = news.borrow();
            let words = match trial.waits {
                true => "waits for the one before it".to_owned(),
                false => trial.found.so_far(trial.asked),
            };
            Some(TrialRow { id, words, running: true })
        }
        Known::Failed(words) => Some(TrialRow { id, words, running: false }),
        Known::Tried(_) | Known::Nothing => None,
    };
    trials.list().into_iter().filter_map(row).collect()
}

async fn page(app: &AppState, q: String, follow: bool, typed: (String, String)) -> Result<Document, Failure> {
    let trials = trials(&app.services.trials);
    let following = follow && trials.iter().any(|trial| trial.running);
    let endpoints = app.services.store.secrets().endpoints().await?;
    let notes = app.services.store.secrets().model_notes().await?;
    let (models, problem) = app.services.catalog.list().await;
    let endpoints = endpoints.into_iter().map(|endpoint| {
        let key_set = endpoint.key.is_some();
        EndpointRow { prefix: endpoint.prefix, name: endpoint.name, base_url: endpoint.base_url, key_set }
    });
    let mut models = found(models, &notes, &q);
    let more = models.len().saturating_sub(SHOWN);
    models.truncate(SHOWN);
    Ok(Document::Models(ModelsPage {
        endpoints: endpoints.collect(),
        problem: problem.map(|problem| problem.to_string()),
        trials,
        following,
        search: q,
        models,
        more,
        typed,
    }))
}

/// The models whose ids have all the words, favourites first.
fn found(models: Vec<ModelInfo>, notes: &BTreeMap<String, ModelNote>, q: &str) -> Vec<ModelRow> {
    let wanted: Vec<String> = q.split_whitespace().map(str::to_lowercase).collect();
    let fits = |m: &ModelInfo| wanted.iter().all(|word| m.model.id.to_lowercase().contains(word));
    let mut found: Vec<ModelRow> = models
        .into_iter()
        .filter(fits)
        .map(|info| {
            let note = notes.get(&info.model.id);
            let badge = note.and_then(aptitude).map(|aptitude| aptitude.badge());
            ModelRow { favourite: note.is_some_and(|n| n.favourite), badge, info }
        })
        .collect();
    found.sort_by_key(|m| !m.favourite);
    found
}

/// The forms.
#[derive(Deserialize)]
pub struct Change {
    set: String,
    name: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    key: String,
    /// What was searched for.
    #[serde(default)]
    q: String,
}

/// `POST /settings/models`
pub async fn change(
    State(app): State<AppState>,
    headers: HeaderMap,
    form: Result<Form<Change>, FormRejection>,
) -> Response {
    let Change { set, name, url, key, q } = match fields(form) {
        Ok(asked) => asked,
        Err(error) => return done(&app, &headers, Err(error)),
    };
    let result = async {
        let mut next = models_address(&q);
        match set.as_str() {
            "endpoint" => {
                let prefix = app.services.save_endpoint(&name, &url, Some(&key)).await?;
                app.services.try_offered(&prefix).await?;
                next = FOLLOWING.to_owned();
            }
            "remove" => app.services.remove_endpoint(&name).await?,
            "favourite" => app.services.toggle_favourite(&name).await?,
            "probe" => {
                app.services.trials.begin(&name);
                next = FOLLOWING.to_owned();
            }
            _ => return Err(ApiError::invalid("There is no such setting.").into()),
        }
        app.models.refresh();
        Ok(next)
    };
    let result: Result<String, Failure> = result.await;
    let typed = if set == "endpoint" { (name, url) } else { Default::default() };
    done_or_again(&app, &headers, result, page(&app, q, false, typed)).await
}
