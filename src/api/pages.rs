//! The pages: each handler gathers a [`PageData`] or a [`Document`], the interface draws it, and this module sends it with
//! its policy.

use super::AppState;
use super::error::{Failure, Path, Query};
use super::form::Filled;
use super::guard::{self, cookie, local_path};
use crate::documents::{Check, Document, SettingsPage, document_html};
use crate::domain::{ApiError, Attached, Attachment, OutputWindow, ProjectId, ProjectState};
use crate::sandbox::LogFrom;
use crate::sandbox::provider::CheckState;
use crate::server_fns::Backend as _;
use crate::ui::{Layout, PageData, Pane, ProjectList, ProjectPage, ShellOptions, Theme, shell};
use axum::Form;
use axum::extract::rejection::FormRejection;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use leptos::nonce::Nonce;
use serde::Deserialize;
use std::net::SocketAddr;

/// Output of one command that comes with the workbench, in bytes.
const TAIL: u64 = 64 * 1024;
/// Output of all commands that comes with the workbench, in bytes.
const TAILS: usize = 256 * 1024;
/// Commands whose output comes with the workbench; that of older ones is fetched when it is looked at.
const TAILED: usize = 12;

/// The query of the home page.
#[derive(Debug, Default, Deserialize)]
pub struct HomeQuery {
    /// Words that the projects must have.
    #[serde(default)]
    q: String,
    /// How many projects are shown at most.
    show: Option<usize>,
}

/// `GET /`
pub async fn home(
    State(app): State<AppState>,
    query: Result<Query<HomeQuery>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Query(HomeQuery { q, show }) = query?;
        let most = show.unwrap_or_default().max(ProjectList::PAGE);
        let (shown, total) = app.services.find_projects(&q, most).await?;
        let more = (total > shown.len()).then(|| {
            let words: String = form_urlencoded::byte_serialize(q.as_bytes()).collect();
            format!("/?q={words}&show={}", shown.len() + ProjectList::PAGE)
        });
        let projects = ProjectList { shown, total, search: q.trim().to_owned(), more };
        let (models, samples) = (app.models.options().await, app.models.samples());
        // A favourite may stand before the default, which alone was given an effort.
        let (default, effort) = app.models.default_model().await;
        let effort = models.first().filter(|first| first.id == default).map(|_| effort).unwrap_or_default();
        let demo = !app.services.config.model.configured && app.models.only_demo().await;
        Ok(PageData::Home { projects, models, effort, samples, demo })
    };
    answer(&app, &headers, page.await)
}

/// The query of the workbench.
#[derive(Debug, Default, Deserialize)]
pub struct ProjectQuery {
    /// A file to show in Code.
    file: Option<String>,
    /// The pane to show in place of the one last chosen: `preview`, `code`, `logs` or `runs`.
    pane: Option<Pane>,
}

/// `GET /p/{project}`
pub async fn project(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    query: Result<Query<ProjectQuery>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let (Path(id), Query(query)) = (path?, query?);
        workbench(&app, &headers, &id, query).await
    };
    answer(&app, &headers, page.await)
}

/// `GET /settings`
pub async fn settings(State(app): State<AppState>, headers: HeaderMap) -> Response {
    let config = &app.services.config;
    let checks = app.services.provider.doctor().await.into_iter().map(|check| {
        let fix = check.fix.filter(|_| check.state != CheckState::Ok);
        let detail = fix.map_or(check.detail.clone(), |fix| format!("{}. {fix}", check.detail));
        Check { name: check.name, ok: check.state != CheckState::Failed, detail }
    });
    let page = SettingsPage {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model_endpoint: config.model.configured.then(|| endpoint_host(&config.model.base_url)),
        default_model: with_effort(app.models.default_model().await),
        demo: !config.model.configured && app.models.only_demo().await,
        key_set: config.model.api_key.is_some(),
        checks: checks.collect(),
        preview_domain: config.server.preview_domain.clone(),
    };
    read_only(&app, &headers, Document::Settings(page))
}

/// `POST /new`: the home page's form without JavaScript.
pub async fn new_project(State(app): State<AppState>, headers: HeaderMap, form: Result<Filled, Failure>) -> Response {
    let created = async {
        let form = form?;
        let prompt = form.text("prompt").to_owned();
        let model = with_effort((form.text("model").to_owned(), form.text("effort").to_owned()));
        let model = Some(model.as_str()).filter(|model| !model.is_empty());
        let mut files = Vec::with_capacity(form.files.len());
        for (_, name, content) in form.files {
            let Attachment { id, name, .. } = app.services.upload(&name, content).await?;
            files.push(Attached { id, name });
        }
        let (id, _) = app.services.create_project(None, Some(&prompt), &files, model).await?;
        Ok::<_, Failure>(id)
    };
    match created.await {
        Ok(id) => Redirect::to(&format!("/p/{id}")).into_response(),
        Err(error) => failure(&app, &headers, error),
    }
}

/// The query of `GET /login`.
#[derive(Debug, Default, Deserialize)]
pub struct LoginQuery {
    #[serde(default)]
    next: String,
}

/// `GET /login`
pub async fn login(
    State(app): State<AppState>,
    query: Result<Query<LoginQuery>, Failure>,
    headers: HeaderMap,
) -> Response {
    let next = query.map(|Query(query)| query.next).unwrap_or_default();
    let next = local_path(&next).to_owned();
    if !app.guard.needs_token() {
        return Redirect::to(&next).into_response();
    }
    read_only(&app, &headers, Document::Login { next })
}

/// Body of `POST /login`.
#[derive(Deserialize)]
pub struct SignIn {
    token: String,
    #[serde(default)]
    next: String,
}

/// `POST /login`: checks the token, sets the cookie and leads on.
pub async fn sign_in(
    State(app): State<AppState>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    form: Result<Form<SignIn>, FormRejection>,
) -> Response {
    let https = headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let SignIn { token, next } = match form {
        Ok(Form(form)) => form,
        Err(rejection) => return failure(&app, &headers, form_failure(rejection)),
    };
    match app.guard.sign_in(app.guard.sender(peer.ip(), &headers), &token, https) {
        Ok(set) => ([(header::SET_COOKIE, set)], Redirect::to(local_path(&next))).into_response(),
        Err(error) => redrawn(&app, &headers, Document::Login { next: local_path(&next).to_owned() }, error),
    }
}

/// Body of `POST /theme`.
#[derive(Deserialize)]
pub struct ChooseTheme {
    theme: String,
    #[serde(default)]
    next: String,
}

/// `POST /theme`: the theme button of a page that runs no code.
pub async fn choose_theme(
    State(app): State<AppState>,
    headers: HeaderMap,
    form: Result<Form<ChooseTheme>, FormRejection>,
) -> Response {
    match form.map_err(form_failure) {
        Ok(Form(ChooseTheme { theme, next })) => {
            let theme = Theme::from_cookie(&theme).slug();
            let set = format!("{}={theme}; Path=/; Max-Age=31536000; SameSite=Lax", Theme::COOKIE);
            ([(header::SET_COOKIE, set)], Redirect::to(local_path(&next))).into_response()
        }
        Err(error) => failure(&app, &headers, error),
    }
}

/// Any failure, as a page for a person and as JSON for a program.
pub fn failure(app: &AppState, headers: &HeaderMap, failure: Failure) -> Response {
    if !is_for_a_person(headers) {
        return failure.into_response();
    }
    let (status, error) = failure.identified();
    let back = came_from(headers);
    (status, read_only(app, headers, Document::Error { error, status: status.as_u16(), back })).into_response()
}

/// The page of a form that changed nothing, with what was typed and why, under the failure's status.
pub(super) fn redrawn(app: &AppState, headers: &HeaderMap, page: Document, failure: Failure) -> Response {
    if !is_for_a_person(headers) {
        return failure.into_response();
    }
    let (status, error) = failure.identified();
    (status, draw(app, headers, |options| document_html(page, Some(error.message), options))).into_response()
}

pub(super) fn is_for_a_person(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/html"))
}

/// The page of ours that led here, if a browser says so.
fn came_from(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (_, page) = text(header::REFERER)?.split_once("://")?;
    let at = page.find('/')?;
    let (host, path) = page.split_at(at);
    (Some(host) == text(header::HOST)).then(|| local_path(path).to_owned())
}

pub(super) fn answer(app: &AppState, headers: &HeaderMap, page: Result<PageData, Failure>) -> Response {
    match page {
        Ok(page) => draw(app, headers, |options| shell(page, options)),
        Err(error) => failure(app, headers, error),
    }
}

/// Sends a document.
pub(super) fn read_only(app: &AppState, headers: &HeaderMap, page: Document) -> Response {
    draw(app, headers, |options| document_html(page, None, options))
}

/// Draws a page under a nonce of its own.
fn draw(app: &AppState, headers: &HeaderMap, page: impl FnOnce(&ShellOptions<'_>) -> String) -> Response {
    let nonce = Nonce::new();
    let assets = app.site.assets();
    let options = ShellOptions {
        nonce: &nonce,
        assets: &assets,
        theme: Theme::from_cookie(cookie(headers, Theme::COOKIE).unwrap_or_default()),
        reload_script: app.site.reload().map(|(script, _)| script),
    };
    let html = page(&options);
    let reload_port = app.site.reload().map(|(_, port)| port);
    let policy = guard::page_policy(&nonce, &app.services.config.server.preview_domain, reload_port);
    let mut response = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match HeaderValue::from_str(&policy) {
        Ok(policy) => {
            headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        // Without its own policy the page gets the guard's, which lets nothing run: safe, and seen at once.
        Err(error) => tracing::error!(%error, "the preview domain does not fit into a header"),
    }
    response
}

async fn workbench(
    app: &AppState,
    headers: &HeaderMap,
    id: &ProjectId,
    query: ProjectQuery,
) -> Result<PageData, Failure> {
    let services = &app.services;
    let state = services.store.events().state(id).await?;
    // A tree that cannot be read leaves the rest of the page useful; Code shows the error when it asks again.
    let (files, outputs) = futures::future::join(services.sandbox.list_files(id), tails(app, &state)).await;
    let open_file = match query.file {
        Some(path) => Some(services.open_file(id.clone(), path).await?),
        None => None,
    };
    let mut layout = Layout::from_cookie(cookie(headers, Layout::COOKIE).unwrap_or_default());
    layout.pane = query.pane.unwrap_or(layout.pane);
    let (model, effort) = match state.messages.iter().rev().find_map(|message| message.model.as_ref()) {
        Some(model) => services.catalog.split(&model.id),
        None => app.models.default_model().await,
    };
    Ok(PageData::Project(Box::new(ProjectPage {
        outputs,
        files: files.unwrap_or_default(),
        models: app.models.options().await,
        model,
        effort,
        layout,
        open_file,
        state: ProjectState::clone(&state),
    })))
}

/// Ends of outputs, the latest commands first, as far as they fit.
async fn tails(app: &AppState, state: &ProjectState) -> Vec<OutputWindow> {
    let reads = state.commands.iter().rev().take(TAILED).map(|command| async {
        let command = command.id.clone();
        // Output of an old command may be gone.
        let tail = app.services.sandbox.read_log(&state.id, &command, LogFrom::Tail(TAIL), TAIL).await.ok()?;
        Some(OutputWindow { command, start: tail.start, end: tail.end, text: tail.text })
    });
    let mut left = TAILS;
    let mut windows: Vec<OutputWindow> = futures::future::join_all(reads)
        .await
        .into_iter()
        .flatten()
        .take_while(|window| {
            let fits = window.text.len() <= left;
            left = left.saturating_sub(window.text.len());
            fits
        })
        .collect();
    windows.reverse();
    windows
}

pub(super) fn form_failure(rejection: FormRejection) -> Failure {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        super::error::too_large(super::BODY_LIMIT)
    } else {
        ApiError::invalid(rejection.body_text()).into()
    }
}

/// A model's id that says how much it shall think.
fn with_effort((model, effort): (String, String)) -> String {
    if model.is_empty() || effort.is_empty() { model } else { format!("{model}:{effort}") }
}

fn endpoint_host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    // A URL may carry a user and password; they are not shown.
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}
