//! Beginning from what is there: a git repository, a zip archive or a folder.

use super::{answer, bench, done};
use crate::api::AppState;
use crate::api::error::Failure;
use crate::api::form::Filled;
use crate::documents::Document;
use crate::domain::ApiError;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

/// `GET /import`
pub async fn import(State(app): State<AppState>, headers: HeaderMap) -> Response {
    answer(&app, &headers, Ok(Document::Import))
}

/// `POST /import`
pub async fn run_import(State(app): State<AppState>, headers: HeaderMap, form: Result<Filled, Failure>) -> Response {
    let imported = async {
        let mut form = form?;
        let git = form.text("git").trim().to_owned();
        if !git.is_empty() {
            return Ok(bench(&app.services.import_git(&git, None).await?));
        }
        let archive = form.files.iter().position(|(field, ..)| field == "zip");
        let project = match archive {
            Some(at) => {
                let (_, name, content) = form.files.swap_remove(at);
                let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
                let name = name.strip_suffix(".zip").unwrap_or(name).to_owned();
                app.services.import_zip(content, Some(&name)).await?
            }
            None if form.files.is_empty() => {
                let message = "Nothing was chosen: give the address of a repository, an archive or a folder.";
                return Err(ApiError::invalid(message).into());
            }
            None => {
                let files = form.files.into_iter().map(|(_, path, content)| (path, content)).collect();
                app.services.import_folder(files).await?
            }
        };
        Ok::<_, Failure>(bench(&project))
    };
    let imported = imported.await;
    done(&app, &headers, imported)
}
