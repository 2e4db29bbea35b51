//! Pages without scripts: what a person rarely needs costs the other pages nothing.
//!
//! Plain HTML from the server with links and forms, in the same style. A form's origin is checked by the guard like
//! every other request that changes something.

mod changes;
mod faults;
mod message;
mod models;
mod project;

pub use changes::{back, changes, fork};
pub use faults::{again, faults};
pub use message::{edit, resend};
pub use models::{change as change_models, models};
pub use project::{change as change_project, settings};

use super::AppState;
use super::error::Failure;
use super::guard::{self, cookie};
use crate::domain::{ApiError, ProjectId};
use crate::ui::Theme;
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Redirect, Response};

/// A page under way.
struct Plain<'a> {
    title: &'a str,
    /// Where the arrow leads: address and words.
    back: (String, &'a str),
    /// HTML, safe.
    body: String,
}

impl Plain<'_> {
    /// The document.
    fn draw(&self, app: &AppState, headers: &HeaderMap) -> Response {
        let nonce = leptos::nonce::Nonce::new();
        let theme = Theme::from_cookie(cookie(headers, Theme::COOKIE).unwrap_or_default());
        let css = app.site.assets().css.clone();
        let (title, (to, words)) = (escape(self.title), &self.back);
        let html = format!(
            "<!DOCTYPE html><html lang=\"en\" data-theme=\"{theme}\"><head><meta charset=\"utf-8\"><title>{title} · \
             Sandcastle</title><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta \
             name=\"color-scheme\" content=\"light dark\"><link rel=\"icon\" href=\"/favicon.svg\" type=\"image/svg+xml\"><link \
             rel=\"stylesheet\" href=\"{css}\"></head><body><main class=\"plain\"><nav><a href=\"{to}\">‹ {words}</a></nav>\
             <h1>{title}</h1>{body}</main></body></html>",
            theme = theme.slug(),
            to = escape(to),
            words = escape(words),
            body = self.body,
        );
        let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let policy = guard::page_policy(&nonce, &app.services.config.server.preview_domain, None);
        if let Ok(policy) = HeaderValue::from_str(&policy) {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        response
    }
}

/// A page, or the failure in its place.
fn answer(app: &AppState, headers: &HeaderMap, page: Result<Plain<'_>, Failure>) -> Response {
    match page {
        Ok(page) => page.draw(app, headers),
        Err(error) => super::pages::failure(app, headers, error),
    }
}

/// After a form: on to another page, or the failure.
fn done(app: &AppState, headers: &HeaderMap, result: Result<String, Failure>) -> Response {
    match result {
        Ok(to) => Redirect::to(&to).into_response(),
        Err(error) => super::pages::failure(app, headers, error),
    }
}

/// The fields of a form.
fn fields<T>(form: Result<Form<T>, FormRejection>) -> Result<T, Failure> {
    form.map(|Form(fields)| fields).map_err(|rejection| ApiError::invalid(rejection.body_text()).into())
}

/// Text in HTML, also inside quoted attributes.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Where a project's workbench is.
fn bench(project: &ProjectId) -> String {
    format!("/p/{project}")
}
