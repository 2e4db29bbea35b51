//! A project's settings: name, budget, auto-fix, secrets, network rules, and its end.

use super::{answer, done, done_or_again, sent};
use crate::api::AppState;
use crate::api::error::{Failure, Path};
use crate::documents::{Document, ProjectSettings, Typed};
use crate::domain::{ApiError, EventBody, NetworkPolicy, ProjectId, Usage};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

/// `GET /p/{project}/settings`
pub async fn settings(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Path(project) = path?;
        page(&app, project, Typed::default()).await
    };
    let page = page.await;
    answer(&app, &headers, page)
}

async fn page(app: &AppState, project: ProjectId, typed: Typed) -> Result<Document, Failure> {
    let state = app.services.store.events().state(&project).await?;
    let secrets = app.services.store.secrets().of(&project).await?;
    Ok(Document::Project(ProjectSettings {
        project,
        name: state.name.clone(),
        spent: state.spent,
        unpriced: app.services.unpriced_model(&state).await,
        budget: state.budget,
        auto_fix: state.auto_fix,
        secrets: secrets.into_keys().collect(),
        policy: state.network.policy.clone(),
        typed,
    }))
}

/// The forms.
#[derive(Deserialize)]
pub struct Change {
    set: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

/// `POST /p/{project}/settings`
pub async fn change(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<Change>, FormRejection>,
) -> Response {
    let (project, Change { set, name, value }) = match sent(path, form) {
        Ok(sent) => sent,
        Err(error) => return done(&app, &headers, Err(error)),
    };
    let result = async {
        let services = &app.services;
        let events = services.store.events();
        match set.as_str() {
            "name" => services.rename_project(&project, &value).await?,
            "delete" => {
                services.delete_project(&project).await?;
                return Ok("/".to_owned());
            }
            "budget" => services.set_budget(&project, dollars(&value)?).await?,
            "auto_fix" => {
                events.append(&project, vec![EventBody::AutoFixSet { on: value == "on" }]).await?;
            }
            "secret" => services.set_secret(&project, &name, &value).await?,
            "rule_on" | "rule_off" => {
                let rule = value.trim();
                let change = |policy: NetworkPolicy| match set.as_str() {
                    "rule_on" => policy.allowing(rule),
                    _ => policy.without(rule),
                };
                services.sandbox.change_network_policy(&project, change).await?;
                return Ok(format!("/p/{project}/settings#network"));
            }
            "forget" => services.store.secrets().remove(&project, &name).await?,
            _ => return Err(ApiError::invalid("There is no such setting.").into()),
        }
        Ok(format!("/p/{project}/settings"))
    };
    let result: Result<String, Failure> = result.await;
    // A secret is not sent back.
    let value = if set == "secret" { String::new() } else { value };
    done_or_again(&app, &headers, result, page(&app, project, Typed { set, name, value })).await
}

/// An amount as a person types it; empty for none.
fn dollars(text: &str) -> Result<Option<u64>, ApiError> {
    let text = text.trim().trim_start_matches('$').replace(',', ".");
    if text.is_empty() {
        return Ok(None);
    }
    let amount = text.parse::<f64>().ok().and_then(Usage::micro_usd);
    amount.map(Some).ok_or_else(|| ApiError::invalid("The budget must be an amount such as 2.50."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_type_them() {
        assert_eq!(dollars(" $2,50 ").unwrap(), Some(2_500_000));
        assert_eq!(dollars("").unwrap(), None);
        assert!(dollars("-1").is_err() && dollars("much").is_err() && dollars("inf").is_err());
    }
}
