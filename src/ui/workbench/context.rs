//! What the parts of the workbench share: the store, the chosen pane, file and command, and the last failure.

use crate::domain::{ApiError, Change, CommandId};
use crate::server_fns::{command_output, stop_turn};
use crate::ui::browser;
use crate::ui::chat::{Choice, Told};
use crate::ui::kit::effect;
use crate::ui::page::{Layout, Pane, ProjectPage};
use crate::ui::store::Store;
use leptos::ev::{self, KeyboardEvent};
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos::wasm_bindgen::JsCast;
use leptos::web_sys::Element;
use std::future::Future;
use std::pin::Pin;

/// What a person asked of the server, under way.
type Action = Pin<Box<dyn Future<Output = Result<(), ApiError>>>>;

/// Handle to the shared state; cheap to copy into views.
#[derive(Clone, Copy)]
pub struct Workbench {
    /// The project's data.
    pub store: Store,
    /// The pane shown.
    pub pane: RwSignal<Pane>,
    /// On a phone: whether the chat is shown instead of the pane.
    pub phone_chat: RwSignal<bool>,
    /// Sizes as they are now.
    pub layout: RwSignal<Layout>,
    /// Path of the file shown in Code.
    pub file: RwSignal<Option<String>>,
    /// The command shown in Logs; none follows what is new.
    pub command: RwSignal<Option<CommandId>>,
    /// Whether Logs shows the network in place of a command.
    pub network: RwSignal<bool>,
    /// The last action's failure.
    pub failure: RwSignal<Option<ApiError>>,
    /// Model of the next message.
    pub choice: Choice,
    /// What became of the last message.
    pub told: RwSignal<Option<Told>>,
    /// While the turn is being stopped.
    pub stopping: RwSignal<bool>,
    /// The command whose output could not be read last.
    pub unread: RwSignal<Option<CommandId>>,
    // Whether the person chose a pane: then it never changes by itself.
    chosen: RwSignal<bool>,
}

impl Workbench {
    /// Starts from what the page came with.
    pub fn new(page: &ProjectPage) -> Self {
        Self {
            store: Store::new(page),
            pane: RwSignal::new(if page.open_file.is_some() { Pane::Code } else { page.layout.pane }),
            phone_chat: RwSignal::new(true),
            layout: RwSignal::new(page.layout),
            file: RwSignal::new(page.open_file.as_ref().map(|file| file.path.clone())),
            command: RwSignal::new(None),
            network: RwSignal::new(false),
            failure: RwSignal::new(None),
            choice: Choice::new(page.model.clone(), page.effort.clone()),
            told: RwSignal::new(None),
            stopping: RwSignal::new(false),
            unread: RwSignal::new(None),
            chosen: RwSignal::new(false),
        }
    }

    /// The workbench around the calling component.
    #[expect(
        clippy::expect_used,
        reason = "a component outside of the workbench is a mistake in the code, seen at once"
    )]
    pub fn here() -> Self {
        use_context::<Self>().expect("used inside the workbench")
    }

    /// Runs an action and shows its failure.
    pub fn act<T: 'static>(self, action: impl Future<Output = Result<T, ApiError>> + 'static) {
        self.run(Box::pin(async move { action.await.map(drop) }), Box::new(|_| ()));
    }

    /// The same, unless it is under way, which `pending` says. `then` is told whether it was done.
    pub fn once<T: 'static>(
        self,
        pending: RwSignal<bool>,
        action: impl Future<Output = Result<T, ApiError>> + 'static,
        then: impl FnOnce(bool) + 'static,
    ) {
        if pending.get_untracked() {
            return;
        }
        pending.set(true);
        let then = move |done| {
            pending.set(false);
            then(done);
        };
        self.run(Box::pin(async move { action.await.map(drop) }), Box::new(then));
    }

    fn run(self, action: Action, then: Box<dyn FnOnce(bool)>) {
        self.failure.set(None);
        spawn_local(async move {
            let result = action.await;
            let done = result.is_ok();
            if let Err(error) = result {
                self.failure.set(Some(error));
            }
            then(done);
        });
    }

    /// Stops the turn.
    pub fn stop(self) {
        self.once(self.stopping, stop_turn(self.store.id()), |_| ());
    }

    /// On a phone: shows the chat because the person asked for it.
    pub fn choose_chat(self) {
        self.chosen.set(true);
        self.phone_chat.set(true);
    }

    /// Shows a pane because the person asked for it.
    pub fn choose(self, pane: Pane) {
        self.chosen.set(true);
        self.phone_chat.set(false);
        self.pane.set(pane);
        self.layout.update(|layout| layout.pane = pane);
        self.remember();
    }

    /// Opens a file in Code.
    pub fn open_file(self, path: String) {
        self.file.set(Some(path));
        self.choose(Pane::Code);
    }

    /// Shows a command's output in Logs.
    pub fn show_command(self, command: CommandId) {
        self.want_output(&command);
        self.network.set(false);
        self.command.set(Some(command));
        self.choose(Pane::Logs);
    }

    /// Fetches a command's tail if none of it is here. Live output comes by itself.
    pub fn want_output(self, command: &CommandId) {
        if is_server() || self.store.has_output(command) {
            return;
        }
        let ended = self.store.peek(|state| state.command(command).is_some_and(|c| c.exit.is_some()));
        if ended {
            let command = command.clone();
            if self.unread.get_untracked().is_some() {
                self.unread.set(None);
            }
            spawn_local(async move {
                match command_output(self.store.id(), command.clone(), None).await {
                    Ok(slice) => self.store.put_output(&command, slice),
                    Err(_) => self.unread.set(Some(command)),
                }
            });
        }
    }

    /// Keeps sizes and pane for the next visit.
    pub fn remember(self) {
        browser::set_cookie(Layout::COOKIE, &self.layout.get_untracked().to_cookie());
    }

    /// Turns to the preview once, when it becomes ready, unless the person chose another pane before.
    pub fn switch_when_ready(self) {
        Effect::new(move |before: Option<bool>| {
            let ready = self.store.read(Change::Preview, |state| state.preview.is_some());
            if ready && before == Some(false) && !self.chosen.get_untracked() {
                self.pane.set(Pane::Preview);
                if browser::is_narrow() {
                    self.phone_chat.set(false);
                }
            }
            ready || before == Some(true)
        });
    }

    /// Ctrl or Cmd with 1 to 4 shows a pane; Escape stops the turn.
    pub fn listen_to_keys(self) {
        effect(move || {
            // It lives as long as the page.
            let _ = window_event_listener(ev::keydown, move |event| {
                let command = event.ctrl_key() || event.meta_key();
                let pane = match event.key().as_str() {
                    "1" => Pane::Preview,
                    "2" => Pane::Code,
                    "3" => Pane::Logs,
                    "4" => Pane::Runs,
                    "Escape" if self.store.peek(|state| state.turn.is_some()) && !is_for_another(&event) => {
                        return self.stop();
                    }
                    _ => return,
                };
                if command {
                    event.prevent_default();
                    self.choose(pane);
                }
            });
        });
    }
}

/// Whether Escape means something nearer than the turn: text that is being composed, another field than the composer's,
/// an open popover.
fn is_for_another(event: &KeyboardEvent) -> bool {
    let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let field = |element: Element| element.matches("input, select, textarea:not([name=prompt])").unwrap_or(false);
    event.default_prevented()
        || event.is_composing()
        || target.is_some_and(field)
        || matches!(document().query_selector(":popover-open"), Ok(Some(_)))
}
