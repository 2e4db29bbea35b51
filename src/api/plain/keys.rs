//! Keys of programs: what there is, a new one, the end of one.

use super::super::AppState;
use super::super::error::Failure;
use super::{Plain, answer, done, fields};
use crate::domain::html::escape;
use crate::domain::{ApiError, rfc3339};
use crate::store::{ApiKey, KeyKind};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::fmt::Write as _;

/// `GET /settings/keys`
pub async fn keys(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let page = page(&app, String::new()).await;
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
    match asked.set.as_str() {
        "create" => {
            let page = async {
                let kind = KeyKind::parse(&asked.kind).ok_or_else(|| ApiError::invalid("A key is e2b or trigger."))?;
                let (key, text) = app.services.store.keys().create(kind, &asked.name).await?;
                page(&app, made(&key, &text)).await
            };
            answer(&app, &headers, page.await)
        }
        "revoke" => {
            let result = async {
                app.services.store.keys().revoke(&asked.name).await?;
                app.services.fleet.retire().await?;
                Ok("/settings/keys".to_owned())
            };
            done(&app, &headers, result.await)
        }
        _ => done(&app, &headers, Err(ApiError::invalid("There is no such setting.").into())),
    }
}

fn made(key: &ApiKey, text: &str) -> String {
    let variables = match key.kind {
        KeyKind::E2b => "E2B_API_KEY",
        KeyKind::Trigger => "TRIGGER_SECRET_KEY",
    };
    format!(
        "<section role=\"status\"><h2>{} was made</h2><p>Copy it now: it is shown this once and stored as a digest only.</p>\
         <pre><code>{variables}={}</code></pre></section>",
        escape(&key.name),
        escape(text)
    )
}

async fn page(app: &AppState, mut body: String) -> Result<Plain<'static>, Failure> {
    body.push_str(ABOUT);
    let keys = app.services.store.keys().list().await?;
    if keys.is_empty() {
        body.push_str("<p class=\"muted\">There are none.</p>");
    }
    for key in &keys {
        row(app, key, &mut body);
    }
    body.push_str(ADD);
    Ok(Plain { title: "Keys for programs", back: ("/settings".to_owned(), "Settings"), body })
}

const ABOUT: &str = "<section><h2>Keys</h2><p class=\"muted\">An e2b key opens this server to the e2b packages, a trigger key to \
    Trigger.dev's. Each e2b key sees what it made and nothing else; when it is revoked, its sandboxes end and its \
    snapshots and templates are deleted.</p>";

const ADD: &str = "</section><section><h2>New key</h2><form class=\"plain-form\" method=\"post\" action=\"/settings/keys\"><input \
    type=\"hidden\" name=\"set\" value=\"create\"><label>Name<input class=\"input\" name=\"name\" required maxlength=\"80\" \
    placeholder=\"laptop\"></label><label>Opens<select class=\"input\" name=\"kind\"><option value=\"e2b\">the e2b API</option>\
    <option value=\"trigger\">the Trigger.dev API</option></select></label><button class=\"button\">Make a key</button></form>\
    </section>";

fn row(app: &AppState, key: &ApiKey, out: &mut String) {
    let made = rfc3339(key.created_at);
    let day = made.split('T').next().unwrap_or_default();
    let uses = match (key.kind, app.services.fleet.records(&key.id).len()) {
        (KeyKind::Trigger, _) => String::new(),
        (KeyKind::E2b, 1) => " · 1 sandbox".to_owned(),
        (KeyKind::E2b, count) => format!(" · {count} sandboxes"),
    };
    let _ = write!(
        out,
        "<form class=\"plain-form\" method=\"post\" action=\"/settings/keys\"><input type=\"hidden\" name=\"set\" \
         value=\"revoke\"><input type=\"hidden\" name=\"name\" value=\"{}\"><span>{} <code>…{}</code> · {} · {day}{uses}</span>\
         <button class=\"button small\" aria-label=\"Revoke {}\">Revoke</button></form>",
        escape(&key.id),
        escape(&key.name),
        escape(&key.hint),
        key.kind.name(),
        escape(&key.name),
    );
}
