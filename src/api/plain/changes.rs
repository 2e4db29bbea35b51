//! What a turn changed, and going back or forking from its end.

use super::{Plain, answer, bench, done, escape, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Path};
use crate::domain::{ApiError, MessageId, ProjectId};
use crate::sandbox::{ChangeKind, FileChange};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde::Deserialize;
use std::fmt::Write as _;

/// Lines of all files that are shown.
const LINES_MAX: usize = 5_000;

/// `GET /p/{project}/changes/{message}`
pub async fn changes(
    State(app): State<AppState>,
    path: Result<Path<(ProjectId, MessageId)>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Path((project, message)) = path?;
        let state = app.services.store.events().state(&project).await?;
        let checkpoint = state.message(&message).and_then(|m| m.checkpoint.clone());
        let checkpoint = checkpoint.ok_or_else(|| ApiError::not_found("There is no checkpoint at this message."))?;
        let changes = app.services.sandbox.changes(&project, &checkpoint.commit).await?;
        let last = state.messages.last().is_some_and(|m| m.id == message);
        let mut body = format!(
            "<p class=\"muted\">{} files, <ins>+{}</ins> <del>−{}</del> · checkpoint <code>{}</code></p>",
            checkpoint.files,
            checkpoint.added,
            checkpoint.removed,
            escape(checkpoint.commit.get(..10).unwrap_or_default())
        );
        body.push_str("<div class=\"plain-actions\">");
        if !last {
            body.push_str(&button(
                &project,
                "back",
                &message,
                "Go back to this point",
                "Later messages are taken back with their changes. The files as they are now stay in the history.",
            ));
        }
        body.push_str(&button(
            &project,
            "fork",
            &message,
            "Fork a new project from here",
            "A project of its own with these files, this conversation and its own preview.",
        ));
        body.push_str("</div>");
        files(&changes.files, &mut body);
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        let git = format!("git clone http://{host}/api/projects/{project}/repo.git");
        let _ =
            write!(body, "<p class=\"muted\">All checkpoints as a git repository: <code>{}</code></p>", escape(&git));
        Ok(Plain { title: "What this turn changed", back: (bench(&project), "Back to the project"), body })
    };
    let page: Result<Plain<'_>, Failure> = page.await;
    answer(&app, &headers, page)
}

fn button(project: &ProjectId, action: &str, message: &MessageId, words: &str, hint: &str) -> String {
    format!(
        "<form method=\"post\" action=\"/p/{project}/{action}\"><input type=\"hidden\" name=\"message\" \
         value=\"{message}\"><button class=\"button\">{words}</button><small>{hint}</small></form>"
    )
}

fn files(changes: &[FileChange], out: &mut String) {
    let mut left = LINES_MAX;
    for change in changes {
        let word = match change.kind {
            ChangeKind::Added => "new",
            ChangeKind::Removed => "removed",
            ChangeKind::Changed => "changed",
        };
        let open = if changes.len() <= 12 { " open" } else { "" };
        let _ = write!(
            out,
            "<details class=\"diff\"{open}><summary><code>{}</code> <small>{word}</small> <ins>+{}</ins> <del>−{}</del></summary>",
            escape(&change.path),
            change.added,
            change.removed
        );
        if change.hunks.is_empty() {
            out.push_str("<p class=\"muted\">Not shown: no text, or nothing but its mode changed.</p>");
        }
        for hunk in &change.hunks {
            let _ = writeln!(out, "<pre><span class=\"at\">@@ {} → {} @@</span>", hunk.at.0, hunk.at.1);
            for (sign, line) in hunk.lines.iter().take(left) {
                let tag = match sign {
                    '+' => "ins",
                    '-' => "del",
                    _ => "span",
                };
                let _ = writeln!(out, "<{tag}>{sign}{}</{tag}>", escape(line));
            }
            left = left.saturating_sub(hunk.lines.len());
            out.push_str("</pre>");
        }
        out.push_str("</details>");
        if left == 0 {
            out.push_str("<p class=\"muted\">There is more; clone the repository to see all of it.</p>");
            return;
        }
    }
}

/// A form that names a message.
#[derive(Deserialize)]
pub struct OfMessage {
    message: MessageId,
}

/// `POST /p/{project}/back`
pub async fn back(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<OfMessage>, FormRejection>,
) -> Response {
    let result = async {
        let (Path(project), OfMessage { message }) = (path?, fields(form)?);
        app.services.agent.go_back(&project, &message).await?;
        Ok(bench(&project))
    };
    let result = result.await;
    done(&app, &headers, result)
}

/// `POST /p/{project}/fork`
pub async fn fork(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<OfMessage>, FormRejection>,
) -> Response {
    let result = async {
        let (Path(project), OfMessage { message }) = (path?, fields(form)?);
        Ok(bench(&app.services.fork_project(&project, &message).await?))
    };
    let result = result.await;
    done(&app, &headers, result)
}
