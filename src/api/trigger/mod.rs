//! The management API of Trigger.dev, so that programs written for it run their sandbox tasks here.
//!
//! What its SDK calls from a backend: trigger, retrieve, list, cancel, replay, reschedule, results, batches, the
//! realtime subscription (Electric's shape protocol), streams, tags, metadata, idempotency keys and public tokens. Not
//! what its workers call: tasks run in this server. A key sees the runs it submitted and nothing else.

mod auth;
mod batches;
mod error;
mod options;
mod realtime;
mod runs;
mod shape;
mod streams;
mod tasks;
mod tokens;
mod wire;

use super::AppState;
use axum::extract::DefaultBodyLimit;
use axum::routing::{MethodRouter, get, post, put};

/// The longest payload of a run, in bytes; the original's.
const PAYLOAD_LIMIT: usize = 3 << 20;
/// The largest body accepted, in bytes: a payload travels as text within JSON, which can double it.
pub(super) const BODY_LIMIT: usize = 2 * PAYLOAD_LIMIT + (1 << 20);

/// The routes. They are documented by Trigger.dev, not in `openapi.json`.
pub(super) fn routes() -> Vec<(&'static str, MethodRouter<AppState>)> {
    let routes: [(&'static str, MethodRouter<AppState>); 21] = [
        ("/api/v1/tasks/{task}/trigger", post(tasks::trigger)),
        ("/api/v1/runs", get(runs::list)),
        ("/api/v3/runs/{run}", get(runs::retrieve)),
        ("/api/v2/runs/{run}/cancel", post(runs::cancel)),
        ("/api/v1/runs/{run}/replay", post(runs::replay)),
        ("/api/v1/runs/{run}/reschedule", post(runs::reschedule)),
        ("/api/v1/runs/{run}/result", get(runs::result)),
        ("/api/v1/runs/{run}/tags", post(runs::add_tags)),
        ("/api/v1/runs/{run}/metadata", put(runs::put_metadata).get(runs::get_metadata)),
        ("/api/v1/idempotencyKeys/{key}/reset", post(runs::reset_key)),
        ("/api/v3/batches", post(batches::create)),
        ("/api/v3/batches/{batch}/items", post(batches::items)),
        ("/api/v1/batches/{batch}", get(batches::retrieve)),
        ("/api/v2/batches/{batch}", get(batches::retrieve)),
        ("/api/v1/batches/{batch}/results", get(batches::results)),
        ("/api/v1/auth/public-tokens", post(tokens::create)),
        ("/api/v1/auth/jwt/claims", post(tokens::claims)),
        ("/realtime/v1/runs", get(realtime::by_tags)),
        ("/realtime/v1/runs/{run}", get(realtime::run)),
        ("/realtime/v1/batches/{batch}", get(realtime::batch)),
        ("/realtime/v1/streams/{run}/{stream}", get(streams::read)),
    ];
    let limit = DefaultBodyLimit::max(BODY_LIMIT);
    routes.into_iter().map(|(path, methods)| (path, methods.layer(limit))).collect()
}

/// Whether a path is of this API, which asks for its own keys instead of the server's access token.
pub(super) fn owns(path: &str) -> bool {
    ["/api/v1/", "/api/v2/", "/api/v3/", "/realtime/v1/"].iter().any(|prefix| path.starts_with(prefix))
}
