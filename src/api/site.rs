//! The built browser files: how they are named in pages, and serving them.
//!
//! Both builds put them below the site root and write `hash.txt` beside the binary; the names come from there.

use super::AppState;
use super::error::Failure;
use super::pages;
use crate::config::ServerConfig;
use crate::domain::ApiError;
use crate::ui::Assets;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use leptos::config::LeptosOptions;
use std::path::Path;
use std::sync::Arc;
use tower::ServiceExt as _;
use tower_http::services::ServeDir;
use tower_http::services::fs::ServeFileSystemResponseBody;

/// Names that carry a hash of their content never change what they mean.
const FOREVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// The browser files of this server.
#[derive(Clone)]
pub struct Site {
    options: LeptosOptions,
    assets: Arc<Assets>,
    files: ServeDir,
    /// Reloads pages when `cargo leptos watch` has built something new; none when served for real.
    reload: Option<Arc<str>>,
}

impl Site {
    /// Reads the names of the built files.
    pub fn load(config: &ServerConfig) -> Self {
        let options = leptos_options(config);
        let files = ServeDir::new(&config.site_root)
            .append_index_html_on_directories(false)
            .precompressed_br()
            .precompressed_gzip();
        let reload = std::env::var("LEPTOS_WATCH").is_ok().then(|| reload_script(options.reload_port).into());
        Self { assets: Arc::new(assets(&options)), options, files, reload }
    }

    /// Addresses of the files a page needs. While `cargo leptos watch` builds, they change under a running server.
    pub fn assets(&self) -> Arc<Assets> {
        if self.reload.is_some() { Arc::new(assets(&self.options)) } else { Arc::clone(&self.assets) }
    }

    /// The development reload script and the port it connects to.
    pub fn reload(&self) -> Option<(&str, u32)> {
        self.reload.as_deref().map(|script| (script, self.options.reload_port))
    }

    /// Those of the files that a page needs and that are not there, for `doctor` and the log.
    pub fn missing(&self, site_root: &Path) -> Vec<String> {
        let assets = self.assets();
        [&assets.css, &assets.js, &assets.wasm]
            .into_iter()
            .filter(|address| !site_root.join(address.trim_start_matches('/')).is_file())
            .cloned()
            .collect()
    }
}

/// Every address no route has: a file of the site, or 404.
pub async fn file_or_not_found(State(app): State<AppState>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if !matches!(*request.method(), Method::GET | Method::HEAD) || path.starts_with("/api/") {
        return Failure::from(not_found(&path)).into_response();
    }
    let (parts, _) = request.into_parts();
    let headers = parts.headers.clone();
    // ServeDir refuses paths that leave the folder, and reads no body.
    let Ok(response) = app.site.files.clone().oneshot(Request::from_parts(parts, Body::empty())).await;
    if response.status() == StatusCode::NOT_FOUND {
        return pages::failure(&app, &headers, not_found(&path).into());
    }
    cached(&path, response)
}

fn cached(path: &str, mut response: axum::http::Response<ServeFileSystemResponseBody>) -> Response {
    if response.status().is_success() || response.status() == StatusCode::NOT_MODIFIED {
        let control = if is_hashed(path) { FOREVER } else { REVALIDATE };
        response.headers_mut().insert(header::CACHE_CONTROL, control);
    }
    response.into_response()
}

/// `/pkg/name.HASH.ext`, as both builds name their files.
fn is_hashed(path: &str) -> bool {
    let Some(name) = path.strip_prefix("/pkg/").filter(|name| !name.contains('/')) else { return false };
    let mut parts = name.rsplit('.');
    let (Some(_extension), Some(hash), Some(_name)) = (parts.next(), parts.next(), parts.next()) else { return false };
    hash.len() >= 16 && hash.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

fn not_found(path: &str) -> ApiError {
    let path: String = path.chars().take(120).collect();
    ApiError::not_found(format!("there is nothing at {path}"))
}

/// Leptos' own settings: from `Leptos.toml` where there is one, else their defaults. `LEPTOS_*` wins over both.
fn leptos_options(config: &ServerConfig) -> LeptosOptions {
    let from_file = config.leptos_toml.as_ref().and_then(|path| {
        let path = path.to_str()?;
        leptos::config::get_configuration(Some(path)).ok().map(|file| file.leptos_options)
    });
    from_file.unwrap_or_else(|| {
        LeptosOptions::builder().output_name("sandcastle").site_pkg_dir("pkg").hash_files(true).build()
    })
}

fn assets(options: &LeptosOptions) -> Assets {
    let hashes = std::env::current_exe()
        .ok()
        .and_then(|exe| std::fs::read_to_string(exe.parent()?.join(options.hash_file.as_ref())).ok())
        .filter(|_| options.hash_files)
        .unwrap_or_default();
    let name = |kind: &str| {
        let hash = hashes.lines().find_map(|line| line.split_once(':').filter(|(have, _)| have.trim() == kind));
        let (pkg, output) = (&options.site_pkg_dir, &options.output_name);
        match hash {
            Some((_, hash)) => format!("/{pkg}/{output}.{}.{kind}", hash.trim()),
            None => format!("/{pkg}/{output}.{kind}"),
        }
    };
    Assets { css: name("css"), js: name("js"), wasm: name("wasm") }
}

fn reload_script(port: u32) -> String {
    include_str!("reload.js").replace("RELOAD_PORT", &port.to_string())
}

#[cfg(test)]
mod tests {
    use super::is_hashed;

    #[test]
    fn only_hashed_names_are_kept_forever() {
        assert!(is_hashed("/pkg/sandcastle.XJ2o3A9-kd_0aPq4mNz5Rw.js"));
        assert!(!is_hashed("/pkg/sandcastle.js"));
        assert!(!is_hashed("/pkg/snippets/a.XJ2o3A9kd0aPq4mNz5Rw.js"));
        assert!(!is_hashed("/favicon.svg"));
    }
}
