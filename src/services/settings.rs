//! A project's settings that need more than one part.

use super::Services;
use crate::config::Secret;
use crate::domain::{ApiError, ErrorCode, EventBody, ProjectId};

/// Bytes of a secret's value.
const VALUE_MAX: usize = 16 * 1024;

impl Services {
    /// Sets what the project's turns may cost, in millionths of a dollar. A turn that waits for it can be retried.
    pub async fn set_budget(&self, project: &ProjectId, limit: Option<u64>) -> Result<(), ApiError> {
        self.store.events().append(project, vec![EventBody::BudgetSet { limit }]).await?;
        Ok(())
    }

    /// Sets a secret of the project.
    pub async fn set_secret(&self, project: &ProjectId, name: &str, value: &str) -> Result<(), ApiError> {
        self.store.events().state(project).await?;
        let name = name.trim();
        let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
        if !first || name.len() > 100 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(ApiError::invalid("A secret's name has letters, digits and underscores, as API_TOKEN."));
        }
        if value.is_empty() || value.contains('\0') {
            return Err(ApiError::invalid("A secret's value is not empty and has no NUL character."));
        }
        if value.len() > VALUE_MAX {
            return Err(ApiError::new(ErrorCode::TooLarge, "A secret's value has at most 16 KiB."));
        }
        self.store.secrets().set(project, name, &Secret::new(value)).await?;
        Ok(())
    }
}
