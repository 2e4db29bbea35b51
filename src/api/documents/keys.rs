//! Keys of programs: what there is, a new one, the end of one.

use super::{answer, done_or_again, fields};
use crate::api::AppState;
use crate::api::error::Failure;
use crate::documents::{Document, KeyRow, KeysPage, NewKey};
use crate::domain::ApiError;
use crate::store::{ApiKey, KeyKind};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

/// `GET /settings/keys`
pub async fn keys(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let page = page(&app, None, String::new()).await;
    answer(&app, &headers, page)
}

/// The forms.
#[derive(Deserialize)]
pub struct Change {
    set: String,
    /// A new key's name, or the id of one to end.
    name: String,
    #[serde(default)]
    kind: String,
}

/// `POST /settings/keys`. A new key is in the answer itself, and nowhere else: no address leads to it again.
pub async fn change(
    State(app): State<AppState>,
    headers: HeaderMap,
    form: Result<Form<Change>, FormRejection>,
) -> Response {
    let asked = match fields(form) {
        Ok(asked) => asked,
        Err(failed) => return answer(&app, &headers, Err(failed)),
    };
    let Change { set, name, kind } = asked;
    let keys = app.services.store.keys();
    let result = match set.as_str() {
        "create" => {
            let made = async {
                let kind = KeyKind::parse(&kind).ok_or_else(|| ApiError::invalid("A key is e2b or trigger."))?;
                let (key, text) = keys.create(kind, &name).await?;
                page(&app, Some(made(key, text)), String::new()).await
            };
            match made.await {
                Ok(page) => return answer(&app, &headers, Ok(page)),
                Err(error) => Err(error),
            }
        }
        "revoke" => {
            let revoked = async {
                keys.revoke(&name).await?;
                app.services.fleet.retire().await?;
                Ok("/settings/keys".to_owned())
            };
            revoked.await
        }
        _ => Err(ApiError::invalid("There is no such setting.").into()),
    };
    let typed = if set == "create" { name } else { String::new() };
    done_or_again(&app, &headers, result, page(&app, None, typed)).await
}

fn made(key: ApiKey, secret: String) -> NewKey {
    let variable = match key.kind {
        KeyKind::E2b => "E2B_API_KEY",
        KeyKind::Trigger => "TRIGGER_SECRET_KEY",
    };
    NewKey { name: key.name, variable, secret }
}

async fn page(app: &AppState, made: Option<NewKey>, typed: String) -> Result<Document, Failure> {
    let rows = app.services.store.keys().list().await?.into_iter().map(|key| {
        let sandboxes = (key.kind == KeyKind::E2b).then(|| app.services.fleet.records(&key.id).len());
        let ApiKey { id, kind, name, hint, created_at } = key;
        KeyRow { id, name, hint, kind: kind.name(), created_at, sandboxes }
    });
    Ok(Document::Keys(KeysPage { keys: rows.collect(), made, typed }))
}
