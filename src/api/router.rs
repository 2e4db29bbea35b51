//! Every route of the server, and the layers around them.

use super::error::Failure;
use super::{
    AppState, attachments, dashboard, documents, guard, history, metrics, models, network, observe, openapi, pages,
    preview, projects, runs, runs_live, sandboxes, site, sse, trigger,
};
use crate::domain::ApiError;
use crate::sandbox::unread;
use crate::server_fns::Backend;
use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use http_body_util::BodyExt as _;
use leptos::prelude::provide_context;
use std::sync::Arc;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

/// Routes for programs; `openapi.json` documents each of them.
fn program_routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    vec![
        ("/api/projects", get(projects::list).post(projects::create)),
        ("/api/projects/import", post(projects::import)),
        ("/api/attachments", post(attachments::upload)),
        ("/api/attachments/{attachment}", get(attachments::get)),
        ("/api/projects/{project}", get(projects::get).delete(projects::delete)),
        ("/api/projects/{project}/messages", post(projects::send)),
        ("/api/projects/{project}/stop", post(projects::stop)),
        ("/api/projects/{project}/retry", post(projects::retry)),
        ("/api/projects/{project}/events", get(sse::events)),
        ("/api/projects/{project}/archive", get(projects::archive)),
        ("/api/projects/{project}/changes/{commit}", get(history::changes)),
        ("/api/projects/{project}/back", post(history::back)),
        ("/api/projects/{project}/resend", post(history::resend)),
        ("/api/projects/{project}/fork", post(history::fork)),
        ("/api/projects/{project}/repo.git/{*path}", get(history::repository)),
        ("/api/projects/{project}/network", get(network::get).put(network::put)),
        ("/api/sandboxes/{sandbox}", get(sandboxes::get)),
        ("/api/sandboxes/{sandbox}/files", get(sandboxes::files)),
        ("/api/sandboxes/{sandbox}/cmds/{command}", get(sandboxes::command)),
        ("/api/sandboxes/{sandbox}/cmds/{command}/logs", get(sandboxes::logs)),
        ("/api/runs", get(runs::list)),
        ("/api/runs/events", get(runs_live::events)),
        ("/api/runs/{run}", get(runs::get)),
        ("/api/runs/{run}/log", get(runs::log)),
        ("/api/runs/{run}/cancel", post(runs::cancel)),
        ("/api/runs/{run}/replay", post(runs::replay)),
        ("/api/models", get(models::list)),
        ("/api/openapi.json", get(openapi::document)),
        ("/healthz", get(metrics::healthz)),
        ("/readyz", get(metrics::readyz)),
        ("/metrics", get(metrics::metrics)),
    ]
}

/// The paths of the routes for programs.
pub fn program_paths() -> impl Iterator<Item = &'static str> {
    program_routes().into_iter().map(|(path, _)| path)
}

/// Routes for people.
fn page_routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    vec![
        ("/", get(pages::home)),
        ("/new", post(pages::new_project)),
        ("/import", get(documents::import).post(documents::run_import)),
        ("/p/{project}", get(pages::project)),
        ("/runs", get(dashboard::page)),
        ("/runs/bulk", post(dashboard::bulk)),
        ("/runs/{run}", get(dashboard::page)),
        ("/runs/{run}/cancel", post(dashboard::cancel)),
        ("/runs/{run}/replay", get(dashboard::to_run).post(dashboard::replay)),
        ("/runs/{run}/{what}", get(dashboard::value)),
        ("/p/{project}/changes/{message}", get(documents::changes)),
        ("/p/{project}/back", post(documents::back)),
        ("/p/{project}/fork", post(documents::fork)),
        ("/p/{project}/edit/{message}", get(documents::edit).post(documents::resend)),
        ("/p/{project}/faults", get(documents::faults).post(documents::again)),
        ("/p/{project}/settings", get(documents::settings).post(documents::change_project)),
        ("/settings", get(pages::settings)),
        ("/settings/keys", get(documents::keys).post(documents::change_keys)),
        ("/settings/models", get(documents::models).post(documents::change_models)),
        ("/theme", post(pages::choose_theme)),
        ("/login", get(pages::login).post(pages::sign_in)),
        ("/api/fn/{name}", post(server_fn)),
    ]
}

/// The whole server. Layers below are listed from the innermost out: a request meets the last one first.
pub fn router(app: AppState) -> Router {
    let routes = program_routes().into_iter().chain(page_routes()).chain(trigger::routes());
    routes
        .fold(Router::new(), |router, (path, methods)| router.route(path, methods))
        .fallback(site::file_or_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // The guard holds each path's own limit.
        .layer(DefaultBodyLimit::disable())
        .layer(compression())
        .layer(from_fn_with_state(Arc::clone(&app.guard), guard::guard))
        .layer(from_fn(take_unread))
        .layer(from_fn_with_state(app.clone(), preview::dispatch))
        .layer(from_fn(observe::observe))
        .with_state(app)
}

/// Only what is sent in one piece: the layer polls a stream again after its end, which not every stream survives.
fn compression() -> CompressionLayer<impl tower_http::compression::Predicate> {
    let whole = SizeAbove::new(1024)
        .and(NotForContentType::SSE)
        .and(NotForContentType::IMAGES)
        .and(NotForContentType::const_new("application/octet-stream"))
        .and(NotForContentType::const_new("application/x-ndjson"))
        .and(NotForContentType::const_new("application/wasm"))
        .and(NotForContentType::const_new("application/zip"));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(whole)
}

/// A refusal reaches whoever is still sending.
async fn take_unread(request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let (body, rest) = unread::lend(body.map_err(Into::into).boxed_unsync());
    let answer = next.run(Request::from_parts(head, Body::new(body))).await;
    rest.take().await;
    answer
}

async fn method_not_allowed() -> Failure {
    Failure::with_status(StatusCode::METHOD_NOT_ALLOWED, ApiError::invalid("this address does not take that method"))
}

/// Calls from the interface.
async fn server_fn(State(app): State<AppState>, request: Request) -> Response {
    let known = leptos::server_fn::axum::server_fn_paths().any(|(path, _)| path == request.uri().path());
    if !known {
        return Failure::from(ApiError::not_found("there is no such call; reload the page")).into_response();
    }
    let backend: Arc<dyn Backend> = Arc::new(app.services.clone());
    let context = move || provide_context(Arc::clone(&backend));
    let response = leptos_axum::handle_server_fns_with_context(context, request).await.into_response();
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR { with_own_status(response).await } else { response }
}

/// Every failed call leaves leptos as a 500; its body knows better.
async fn with_own_status(response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, super::BODY_LIMIT).await.unwrap_or_default();
    match serde_json::from_slice::<ApiError>(&body) {
        Ok(error) => Failure::from(error).into_response(),
        Err(_) => Response::from_parts(parts, body.into()),
    }
}
