//! Beginning from what is there: a git repository, a zip archive or a folder.

use super::{Plain, answer, bench, done};
use crate::api::AppState;
use crate::api::error::Failure;
use crate::api::form::Filled;
use crate::domain::ApiError;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

/// `GET /import`
pub async fn import(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let body = "<section><h2>Git repository</h2><p class=\"muted\">It is cloned inside the project's sandbox, the latest \
         commit only. Give an address that needs no sign-in.</p>\
         <form class=\"plain-form\" method=\"post\" action=\"/import\" enctype=\"multipart/form-data\"><label>Address\
         <input class=\"input\" name=\"git\" type=\"url\" required placeholder=\"https://github.com/owner/name\" \
         spellcheck=\"false\"></label><button class=\"button primary\">Import</button></form></section>\
         <section><h2>Zip archive</h2><p class=\"muted\">Up to 64 MiB and 5,000 files; unpacked up to 256 MiB.</p>\
         <form class=\"plain-form\" method=\"post\" action=\"/import\" enctype=\"multipart/form-data\"><label>Archive\
         <input class=\"input file\" name=\"zip\" type=\"file\" accept=\".zip,application/zip\" required></label>\
         <button class=\"button primary\">Import</button></form></section>\
         <section><h2>Folder</h2><p class=\"muted\">All files in it, up to 64 MiB. <code>node_modules</code> and \
         <code>.git</code> are left out; they count towards the size, so use an archive if the folder has them.</p>\
         <form class=\"plain-form\" method=\"post\" action=\"/import\" enctype=\"multipart/form-data\"><label>Folder\
         <input class=\"input file\" name=\"folder\" type=\"file\" webkitdirectory multiple required></label>\
         <button class=\"button primary\">Import</button></form></section>";
    let page = Plain { title: "Import a project", back: ("/".to_owned(), "Home"), body: body.to_owned() };
    answer(&app, &headers, Ok(page))
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
