//! The component gallery: every page in every state, with the real shell, styles and hydration, and no services.
//!
//! `cargo xtask build --dev`, then `cargo run --example gallery --features ssr`, then open the address it prints.

mod backend;
mod dashboard;
mod documents;
mod fixtures;
mod script;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use backend::Fixture;
use futures::{Stream, StreamExt, stream};
use sandcastle::documents::document_html;
use sandcastle::server_fns::Backend;
use sandcastle::ui::{Assets, Layout, PageData, Pane, ShellOptions, Theme, shell};
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tower_http::services::{ServeDir, ServeFile};

/// Where the gallery listens; another port by the first argument.
const PORT: u16 = 4400;

#[derive(Clone)]
struct Gallery {
    assets: Arc<Assets>,
    app: Arc<str>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(PORT);
    let site = std::path::PathBuf::from("target/site");
    let gallery =
        Gallery { assets: Arc::new(assets(&site)?), app: format!("http://localhost:{port}/fixture-app/").into() };
    let router = Router::new()
        .route("/", get(|state, query| page(state, Path("home".to_owned()), query)))
        .route("/{page}", get(page))
        .route_service("/icons.svg", ServeFile::new(site.join("icons.svg")))
        .route_service("/favicon.svg", ServeFile::new(site.join("favicon.svg")))
        .route("/fixture-app/", get(|| async { Html(include_str!("app.html")) }))
        .route("/api/projects/{id}/events", get(events))
        .route("/api/fn/{name}", post(server_fn))
        .fallback_service(ServeDir::new(&site))
        .with_state(gallery);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("http://127.0.0.1:{port}/");
    for name in fixtures::NAMES.iter().chain(&documents::NAMES) {
        println!("http://127.0.0.1:{port}/{name}");
    }
    Ok(axum::serve(listener, router).await?)
}

/// The newest built files.
fn assets(site: &std::path::Path) -> Result<Assets, Box<dyn std::error::Error>> {
    let find = |extension: &str| -> Result<String, Box<dyn std::error::Error>> {
        for entry in std::fs::read_dir(site.join("pkg"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name.starts_with("sandcastle") && name.ends_with(extension) {
                return Ok(format!("/pkg/{name}"));
            }
        }
        Err(format!("no {extension} in {}: run `cargo xtask build --dev` first", site.display()).into())
    };
    Ok(Assets { css: find(".css")?, js: find(".js")?, wasm: find(".wasm")? })
}

async fn page(
    State(gallery): State<Gallery>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let theme = Theme::from_cookie(query.get("theme").map(String::as_str).unwrap_or_default());
    let options = ShellOptions { nonce: "gallery", assets: &gallery.assets, theme, reload_script: None };
    let html = match (documents::document(&name), fixtures::page(&name, &gallery.app)) {
        (Some(page), _) => document_html(page, documents::problem(&name), &options),
        (None, Some(page)) => shell(laid_out(page, &query), &options),
        (None, None) => return StatusCode::NOT_FOUND.into_response(),
    };
    ([(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY))], Html(html)).into_response()
}

/// The page with the pane the address asks for.
fn laid_out(mut page: PageData, query: &HashMap<String, String>) -> PageData {
    if let PageData::Project(project) = &mut page {
        let pane = query.get("pane").map(String::as_str).unwrap_or_default();
        project.layout = Layout::from_cookie(&format!("420.220.{pane}"));
        if project.layout.pane != Pane::Code {
            project.open_file = None;
        }
    }
    page
}

const POLICY: &str = "default-src 'self'; script-src 'nonce-gallery' 'strict-dynamic' 'wasm-unsafe-eval'; \
        style-src 'self' 'nonce-gallery'; connect-src 'self'; img-src 'self' data:; frame-src 'self' http://localhost:*; \
        frame-ancestors 'none'; base-uri 'none'; object-src 'none'; form-action 'self'";

/// The live project tells its story; the others stay as they are.
async fn events(
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Sse<impl Stream<Item = Result<SseEvent, Infallible>>> {
    let after = query.get("after").and_then(|n| n.parse().ok()).unwrap_or(0);
    let story = if id == "prj_live" { script::story(after) } else { Vec::new() };
    let told = stream::iter(story).then(|(wait, event)| async move {
        tokio::time::sleep(Duration::from_millis(wait)).await;
        Ok(event)
    });
    Sse::new(told.chain(stream::pending())).keep_alive(KeepAlive::default())
}

async fn server_fn(request: axum::extract::Request) -> Response {
    let backend: Arc<dyn Backend> = Arc::new(Fixture);
    leptos_axum::handle_server_fns_with_context(move || leptos::prelude::provide_context(backend.clone()), request)
        .await
        .into_response()
}
