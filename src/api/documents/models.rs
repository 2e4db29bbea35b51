//! Models: endpoints with their keys, what each model is known to do, favourites.

use super::{answer, done, done_or_again, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Query};
use crate::documents::{Document, EndpointRow, ModelRow, ModelsPage, models_address};
use crate::domain::ApiError;
use crate::llm::{Aptitude, ModelInfo};
use crate::store::ModelNote;
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Models shown at once; a search narrows them.
const SHOWN: usize = 100;

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
pub struct ModelsQuery {
    /// Words that must be in the id.
    #[serde(default)]
    q: String,
}

/// `GET /settings/models`
pub async fn models(
    State(app): State<AppState>,
    query: Result<Query<ModelsQuery>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Query(ModelsQuery { q }) = query?;
        page(&app, q, <(String, String)>::default()).await
    };
    let page = page.await;
    answer(&app, &headers, page)
}

async fn page(app: &AppState, q: String, typed: (String, String)) -> Result<Document, Failure> {
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
            let aptitude = note.and_then(|n| n.aptitude.as_deref());
            let aptitude = aptitude.and_then(|text| serde_json::from_str::<Aptitude>(text).ok());
            ModelRow { favourite: note.is_some_and(|n| n.favourite), badge: aptitude.map(|a| a.badge()), info }
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
        match set.as_str() {
            "endpoint" => app.services.save_endpoint(&name, &url, Some(&key)).await?,
            "remove" => app.services.remove_endpoint(&name).await?,
            "favourite" => app.services.toggle_favourite(&name).await?,
            "probe" => app.services.probe_model(&name).await.map(drop)?,
            _ => return Err(ApiError::invalid("There is no such setting.").into()),
        }
        app.models.refresh();
        Ok(models_address(&q))
    };
    let result: Result<String, Failure> = result.await;
    let typed = if set == "endpoint" { (name, url) } else { Default::default() };
    done_or_again(&app, &headers, result, page(&app, q, typed)).await
}
