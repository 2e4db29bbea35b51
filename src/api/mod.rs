//! The HTTP front: REST, the event stream, pages, static files and the guard in front of them.
//!
//! Owns what crosses HTTP: routes, statuses, headers, bodies. It must not decide anything about projects or sandboxes:
//! each handler checks its input and makes one call on the services.

mod attachments;
mod backend;
mod dashboard;
mod documents;
mod error;
mod form;
mod guard;
mod history;
mod metrics;
mod models;
mod network;
mod observe;
mod once;
mod openapi;
mod pages;
mod preview;
mod projects;
mod router;
mod runs;
mod runs_live;
mod sandboxes;
mod site;
mod sse;
mod trigger;

pub use openapi::DOCUMENT as OPENAPI;
pub use router::{program_paths, router};
pub use site::Site;

use crate::domain::FILE_MAX;
use crate::sandbox::gateway::Gateway;
use crate::sandbox::preview::PreviewProxy;
use crate::services::Services;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The largest body accepted, in bytes.
pub const BODY_LIMIT: usize = 2 << 20;
/// The largest archive accepted as a project, in bytes.
pub const ARCHIVE_LIMIT: usize = 64 << 20;

/// The largest body accepted at a path, in bytes.
fn body_limit(path: &str) -> usize {
    match path {
        "/api/projects/import" | "/import" | "/new" => ARCHIVE_LIMIT,
        "/api/attachments" => usize::try_from(FILE_MAX).unwrap_or(BODY_LIMIT),
        path if trigger::owns(path) => trigger::BODY_LIMIT,
        _ => BODY_LIMIT,
    }
}

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct AppState {
    services: Services,
    preview: PreviewProxy,
    gateway: Gateway,
    guard: Arc<guard::Guard>,
    models: models::Models,
    metrics: metrics::Metrics,
    site: Site,
    once: Arc<once::Once>,
    /// Cancelled when the server shuts down: streams end.
    shutdown: CancellationToken,
    /// Owns what handlers start and do not wait for.
    tasks: TaskTracker,
}

impl AppState {
    /// The front over these services, with the two that have addresses of their own. `shutdown` ends the streams;
    /// `tasks` is waited for after that.
    pub fn new(
        services: Services,
        (preview, gateway): (PreviewProxy, Gateway),
        shutdown: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let server = &services.config.server;
        Self {
            preview,
            gateway,
            guard: Arc::new(guard::Guard::new(server)),
            models: models::Models::new(&services, tasks.clone(), shutdown.clone()),
            metrics: metrics::Metrics::default(),
            site: Site::load(server),
            once: Arc::default(),
            services,
            shutdown,
            tasks,
        }
    }
}
