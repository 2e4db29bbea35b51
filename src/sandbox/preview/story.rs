//! Why an app cannot be shown right now, for the person who waits for it.

use super::Target;
use crate::domain::{CommandView, ProjectState, SandboxPhase};
use crate::sandbox::output::LogFrom;
use crate::sandbox::probe::{interesting, plain};
use crate::sandbox::{PreviewAddress, Service};
use serde::Serialize;

/// Output shown, in bytes.
const OUTPUT: u64 = 4000;

/// What the page says. The same text is in the page and in the answers to its questions.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Story {
    /// What the page does.
    pub(super) state: State,
    /// The headline.
    pub(super) title: String,
    /// What is going on, and what to do.
    pub(super) detail: String,
    /// The last output, without control sequences.
    pub(super) output: String,
    /// Other ports that are open.
    pub(super) ports: Vec<OpenPort>,
}

/// What the page does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// The app answers: show it.
    Ready,
    /// It will come by itself.
    #[default]
    Waiting,
    /// It ended; somebody has to act.
    Ended,
    /// The sandbox is down; a button starts it.
    Down,
}

/// A port that is open.
#[derive(Clone, Debug, Serialize)]
pub(super) struct OpenPort {
    port: u16,
    url: String,
}

impl Story {
    /// The app answers.
    pub(super) fn ready() -> Self {
        Self { state: State::Ready, ..Self::default() }
    }
}

/// Looks at the project and tells.
pub(super) async fn tell(service: &Service, address: &PreviewAddress, target: &Target) -> Story {
    let state = match service.inner.state(&target.project).await {
        Ok(state) => state,
        Err(error) => return story(State::Ended, "The project cannot be read", error.to_string()),
    };
    let (mut story, command) = from_state(&state, target.port);
    if let Some(command) = command
        && let Ok(slice) = service.read_log(&target.project, &command.id, LogFrom::Tail(OUTPUT), OUTPUT).await
    {
        story.output = plain(&slice.text).trim_end().to_owned();
    }
    story.ports = state
        .ports
        .iter()
        .filter(|open| open.port != target.port)
        .map(|open| OpenPort { port: open.port, url: address.url(&target.sandbox, open.port) })
        .collect();
    story
}

fn story(state: State, title: impl Into<String>, detail: impl Into<String>) -> Story {
    Story { state, title: title.into(), detail: detail.into(), ..Story::default() }
}

fn from_state(state: &ProjectState, port: u16) -> (Story, Option<&CommandView>) {
    let command = interesting(state).first().copied();
    let sandbox = state.sandbox.as_ref();
    let detail = sandbox.and_then(|sandbox| sandbox.detail.clone());
    match sandbox.map(|sandbox| sandbox.phase) {
        None | Some(SandboxPhase::Creating) => {
            (story(State::Waiting, "Starting the sandbox", "This takes a moment."), None)
        }
        Some(SandboxPhase::Asleep) => {
            let why = detail.map_or_else(String::new, |why| format!(" ({why})"));
            (story(State::Down, "The sandbox is asleep", format!("Its files are safe{why}. Wake it to go on.")), None)
        }
        Some(SandboxPhase::Failed) => {
            let why = detail.unwrap_or_else(|| "the reason is not known".to_owned());
            let text = format!("{why}. The files are kept; the app starts again with the sandbox.");
            (story(State::Down, "The sandbox stopped", text), command)
        }
        Some(SandboxPhase::Running) => match command {
            Some(running) if running.exit.is_none() => {
                let text = format!("{} is running; nothing listens on port {port} yet.", running.line);
                (story(State::Waiting, "Waiting for the app", text), command)
            }
            Some(ended) => {
                let how = ended.exit.as_ref().map(|exit| exit.describe()).unwrap_or_default();
                let text = format!("{} ended: {how}. Ask in the chat to fix it and start it again.", ended.line);
                (story(State::Ended, "The app is not running", text), command)
            }
            None => {
                let text = "It opens here as soon as something answers.";
                (story(State::Waiting, format!("Nothing listens on port {port} yet"), text), None)
            }
        },
    }
}
