//! A project's settings that need more than one part.

use super::Services;
use crate::config::Secret;
use crate::domain::{ApiError, ErrorCode, EventBody, ProjectId, ProjectState};
use std::time::Duration;

/// Bytes of a secret's value.
const VALUE_MAX: usize = 16 * 1024;
/// A page waits so long for price lists that were never read.
const LISTS: Duration = Duration::from_secs(1);

impl Services {
    /// Sets what the project's turns may cost, in millionths of a dollar. A turn that waits for it can be retried.
    pub async fn set_budget(&self, project: &ProjectId, limit: Option<u64>) -> Result<(), ApiError> {
        self.store.events().append(project, vec![EventBody::BudgetSet { limit }]).await?;
        Ok(())
    }

    /// The name of the model that answers in a project, if nobody tells what it costs: then a budget cannot act.
    pub async fn unpriced_model(&self, state: &ProjectState) -> Option<String> {
        let last = state.messages.iter().rev().find_map(|message| message.model.clone());
        let told = |id: &str| {
            let mut of = state.messages.iter().filter(|m| m.model.as_ref().is_some_and(|model| model.id == id));
            of.any(|message| message.usage.is_some_and(|usage| usage.cost.is_some()))
        };
        let found = async {
            let model = match last {
                Some(model) => model,
                None => self.catalog.resolve(None).await.ok()?.name,
            };
            let known = model.demo || told(&model.id) || self.catalog.facts(&model.id).await.price.is_some();
            (!known).then_some(model.label)
        };
        tokio::time::timeout(LISTS, found).await.ok().flatten()
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
