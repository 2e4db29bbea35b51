//! Beginning from what is there: a git repository, a zip archive or a folder.

use super::{answer, bench, done_or_again};
use crate::api::AppState;
use crate::api::error::Failure;
use crate::api::form::Filled;
use crate::api::once::Once;
use crate::documents::{Document, ImportPage};
use crate::domain::{ApiError, ProjectId};
use crate::services::Services;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

/// `GET /import`
pub async fn import(State(app): State<AppState>, headers: HeaderMap) -> Response {
    answer(&app, &headers, page(String::new()))
}

/// `POST /import`
pub async fn run_import(State(app): State<AppState>, headers: HeaderMap, form: Result<Filled, Failure>) -> Response {
    let (git, result) = match form {
        Ok(form) => {
            let (git, once) = (form.text("git").trim().to_owned(), form.text("once").to_owned());
            let (services, address) = (app.services.clone(), git.clone());
            let work = async move { Ok(bench(&take(&services, &address, form).await?)) };
            let result = app.once(&once, &git, work).await;
            (git, result)
        }
        Err(error) => (String::new(), Err(error)),
    };
    done_or_again(&app, &headers, result, async { page(git) }).await
}

fn page(git: String) -> Result<Document, Failure> {
    Ok(Document::Import(ImportPage { git, once: Once::mark() }))
}

async fn take(services: &Services, git: &str, mut form: Filled) -> Result<ProjectId, ApiError> {
    if !git.is_empty() {
        return services.import_git(git, None).await;
    }
    let archive = form.files.iter().position(|(field, ..)| field == "zip");
    match archive {
        Some(at) => {
            let (_, name, content) = form.files.swap_remove(at);
            let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
            let name = name.strip_suffix(".zip").unwrap_or(name).to_owned();
            services.import_zip(content, Some(&name)).await
        }
        None if form.files.is_empty() => {
            Err(ApiError::invalid("Nothing was chosen: give the address of a repository, an archive or a folder."))
        }
        None => {
            let files = form.files.into_iter().map(|(_, path, content)| (path, content)).collect();
            services.import_folder(files).await
        }
    }
}
