//! The server's parts, put together: what a request handler or a server function may call.
//!
//! Owns the few operations that need more than one part. It must not know HTTP or pages.

mod attachments;
mod fork;
mod import;
mod models;
mod settings;
mod trials;

pub use trials::{Known, Trial, Trials, aptitude};

use crate::agent::{Agent, check_message};
use crate::config::Config;
use crate::domain::{ApiError, Attached, EventBody, MessageId, ProjectId, ProjectSummary};
use crate::llm::Catalog;
use crate::sandbox::Service;
use crate::sandbox::fleet::Fleet;
use crate::sandbox::provider::Provider;
use crate::store::Store;
use crate::workflow::Workflow;
use std::sync::Arc;

/// Characters of a project's name taken from its first prompt.
const NAME_CHARS: usize = 60;
/// Characters of a name a person gives.
const NAME_MAX: usize = 120;

/// Every part a caller may use. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    /// Projects, events, transcripts.
    pub store: Store,
    /// Task runs.
    pub workflow: Workflow,
    /// Sandboxes.
    pub sandbox: Service,
    /// Sandboxes of the e2b API.
    pub fleet: Fleet,
    /// The agent.
    pub agent: Agent,
    /// Models to choose from.
    pub catalog: Catalog,
    /// What models can do, found out by asking them.
    pub trials: Trials,
    /// How sandboxes are made.
    pub provider: Arc<dyn Provider>,
    /// What a person has set.
    pub config: Arc<Config>,
}

impl Services {
    /// Creates a project and, if there is a prompt, sends it as the first message.
    pub async fn create_project(
        &self,
        name: Option<&str>,
        prompt: Option<&str>,
        files: &[Attached],
        model: Option<&str>,
    ) -> Result<(ProjectId, Option<MessageId>), ApiError> {
        let prompt = prompt.map(check_message).transpose()?;
        let name = name.or(prompt).map(title).filter(|name| !name.is_empty()).unwrap_or_else(|| "Untitled".to_owned());
        let id = self.store.events().create_project(&name).await?;
        let Some(prompt) = prompt else { return Ok((id, None)) };
        match self.agent.send_with(&id, prompt, files, model).await {
            Ok(message) => Ok((id, Some(message))),
            Err(error) => {
                // The prompt was not accepted (an unknown model), so nobody asked for an empty project.
                self.store.events().delete_project(&id).await?;
                Err(error)
            }
        }
    }

    /// The newest projects, at most so many, whose name or first prompt has all these words; and how many have them.
    pub async fn find_projects(&self, words: &str, most: usize) -> Result<(Vec<ProjectSummary>, usize), ApiError> {
        let wanted: Vec<String> = words.split_whitespace().map(str::to_lowercase).collect();
        let events = self.store.events();
        if wanted.is_empty() {
            return Ok((events.newest_projects(most).await?, events.count_projects().await?));
        }
        let mut found = events.projects().await?;
        found.retain(|project| {
            let said = format!("{}\n{}", project.name, project.prompt).to_lowercase();
            wanted.iter().all(|word| said.contains(word))
        });
        let total = found.len();
        found.truncate(most);
        Ok((found, total))
    }

    /// Sends a message; it is answered at once or after the running turn.
    pub async fn send_message(
        &self,
        project: &ProjectId,
        text: &str,
        files: &[Attached],
        model: Option<&str>,
    ) -> Result<MessageId, ApiError> {
        self.agent.send_with(project, text, files, model).await
    }

    /// Gives a project another name.
    pub async fn rename_project(&self, id: &ProjectId, name: &str) -> Result<(), ApiError> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(ApiError::invalid(format!("A name has 1 to {NAME_MAX} characters on one line.")));
        }
        self.store.events().append(id, vec![EventBody::ProjectRenamed { name: name.to_owned() }]).await?;
        Ok(())
    }

    /// Deletes a project with its sandbox, files and runs.
    pub async fn delete_project(&self, id: &ProjectId) -> Result<(), ApiError> {
        self.store.events().state(id).await?;
        // Stopping an idle agent is an error only here, where it does not matter: the project goes either way.
        if let Err(error) = self.agent.stop(id).await {
            tracing::debug!(project = %id, %error, "nothing to stop before deleting");
        }
        self.sandbox.delete(id).await?;
        let attachments = self.store.attachments().of(id).await?;
        self.store.events().delete_project(id).await?;
        self.store.attachments().forget(attachments).await?;
        Ok(())
    }
}

/// The first line with words, cut at a word's end.
fn title(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let line: String = line.chars().filter(|c| !c.is_control()).collect();
    if line.chars().count() <= NAME_CHARS {
        return line;
    }
    let cut: String = line.chars().take(NAME_CHARS).collect();
    let words = cut.rsplit_once(' ').map_or(cut.as_str(), |(words, _)| words);
    format!("{}…", words.trim_end_matches([',', '.', ':', ';']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_named_after_the_first_line() {
        assert_eq!(title("\n A todo app\nwith more"), "A todo app");
        let long = title("A booking page for a small yoga studio with a calendar, a form and a list of classes");
        assert_eq!(long, "A booking page for a small yoga studio with a calendar, a…");
    }
}
