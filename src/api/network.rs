//! What a project's sandbox may reach over the network, and what it did reach.

use super::AppState;
use super::error::{Failure, Json, Path};
use crate::domain::{ApiError, NetworkPolicy, NetworkView, ProjectId};
use axum::extract::State;

/// `GET /api/projects/{project}/network`
pub async fn get(State(app): State<AppState>, Path(id): Path<ProjectId>) -> Result<Json<NetworkView>, Failure> {
    Ok(Json(app.services.sandbox.network(&id).await?))
}

/// `PUT /api/projects/{project}/network`: replaces the policy.
pub async fn put(
    State(app): State<AppState>,
    Path(id): Path<ProjectId>,
    Json(body): Json<serde_json::Value>,
) -> Result<Json<NetworkView>, Failure> {
    // Whether there is such a project comes first: that is what a caller can do nothing about.
    app.services.store.events().state(&id).await?;
    let policy: NetworkPolicy = serde_json::from_value(body)
        .map_err(|error| ApiError::invalid(format!("this is no network policy: {error}")))?;
    app.services.sandbox.set_network_policy(&id, policy).await?;
    Ok(Json(app.services.sandbox.network(&id).await?))
}
