//! Handlers of the documents: each gathers what a page shows, or does what one of its forms asks for.
//!
//! How the pages look is `crate::documents`. A form's origin is checked by the guard like every other request that
//! changes something.

mod changes;
mod faults;
mod import;
mod keys;
mod message;
mod models;
mod project;

pub use changes::{back, changes, fork};
pub use faults::{again, faults};
pub use import::{import, run_import};
pub use keys::{change as change_keys, keys};
pub use message::{edit, resend};
pub use models::{change as change_models, models};
pub use project::{change as change_project, settings};

use super::AppState;
use super::error::{Failure, Path};
use crate::documents::Document;
use crate::domain::{ApiError, ProjectId};
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Redirect, Response};

/// A document, or the failure in its place.
fn answer(app: &AppState, headers: &HeaderMap, page: Result<Document, Failure>) -> Response {
    match page {
        Ok(page) => super::pages::read_only(app, headers, page),
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

/// After a form with something typed: on to another page, or its page once more with that and why nothing was done.
async fn done_or_again(
    app: &AppState,
    headers: &HeaderMap,
    result: Result<String, Failure>,
    again: impl Future<Output = Result<Document, Failure>>,
) -> Response {
    match result {
        Err(error) if super::pages::is_for_a_person(headers) => match again.await {
            Ok(page) => super::pages::redrawn(app, headers, page, error),
            // Its own failure says less than that of the form.
            Err(_) => super::pages::failure(app, headers, error),
        },
        result => done(app, headers, result),
    }
}

/// What a form's address names, and its fields.
fn sent<P, T>(path: Result<Path<P>, Failure>, form: Result<Form<T>, FormRejection>) -> Result<(P, T), Failure> {
    let Path(path) = path?;
    Ok((path, fields(form)?))
}

/// The fields of a form.
fn fields<T>(form: Result<Form<T>, FormRejection>) -> Result<T, Failure> {
    form.map(|Form(fields)| fields).map_err(|rejection| ApiError::invalid(rejection.body_text()).into())
}

/// Where a project's workbench is.
fn bench(project: &ProjectId) -> String {
    format!("/p/{project}")
}
