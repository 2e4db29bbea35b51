//! What stands in for the Restate engine in a binary that was built without it: a refusal that says so.

use crate::config::RestateConfig;
use crate::store::Store;
use crate::workflow::{Clock, Engine, EngineError, WorkflowOptions};
use std::sync::Arc;

/// Always [`EngineError::NotBuiltIn`].
pub async fn engine(
    _config: &RestateConfig,
    _store: &Store,
    _options: &WorkflowOptions,
    _clock: Arc<dyn Clock>,
) -> Result<Arc<dyn Engine>, EngineError> {
    Err(EngineError::NotBuiltIn)
}
