//! Where a person types. It never moves, grows with its text, keeps the draft in this browser, and stays usable while
//! the agent works: then what is sent is queued.

use super::attachments::{Waiting, WaitingFiles};
use crate::domain::{Attached, Attachment};
use crate::server_fns::try_model;
use crate::ui::browser;
use crate::ui::kit::{Icon, Notice, effect, live, memo, on};
use crate::ui::page::ModelOption;
use leptos::ev::{Event, KeyboardEvent, MouseEvent};
use leptos::html;
use leptos::prelude::*;
use leptos::task::spawn_local;

/// What is sent.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// Trimmed, non-empty text.
    pub text: String,
    /// Uploaded files that go with it.
    pub files: Vec<Attached>,
}

/// The model that the next message goes to.
#[derive(Clone, Copy)]
pub struct Choice {
    /// Its id, without how much it shall think.
    pub model: RwSignal<String>,
    /// How much that is: `low`, `medium`, `high`, or empty for its own way.
    pub effort: RwSignal<String>,
}

impl Choice {
    /// Begins with this model.
    pub fn new(model: String, effort: String) -> Self {
        Self { model: RwSignal::new(model), effort: RwSignal::new(effort) }
    }

    /// The id that is sent; none for the default model.
    pub fn id(self) -> Option<String> {
        let (mut id, effort) = (self.model.get_untracked(), self.effort.get_untracked());
        if id.is_empty() {
            return None;
        }
        if !effort.is_empty() {
            id.push(':');
            id.push_str(&effort);
        }
        Some(id)
    }
}

/// What became of a message, told to the box it was typed in.
#[derive(Clone, Debug)]
pub enum Told {
    /// It has arrived: it is taken out.
    Arrived(Outgoing),
    /// It was withdrawn: it is put back, in front of what is there.
    Withdrawn {
        /// Its text.
        text: String,
        /// Its files.
        files: Vec<Attachment>,
    },
}

/// A text box with attachments, model picker, Send and Stop.
#[component]
pub fn Composer(
    /// Its accessible name.
    label: &'static str,
    /// What it shows while empty.
    placeholder: &'static str,
    /// Key of the draft in this browser.
    #[prop(into)]
    draft: String,
    /// Models to choose from.
    models: Vec<ModelOption>,
    /// The chosen one.
    choice: Choice,
    /// While something is being sent.
    busy: Signal<bool>,
    /// While the agent works.
    #[prop(default = Signal::stored(false))]
    working: Signal<bool>,
    /// While the agent is being stopped.
    #[prop(default = Signal::stored(false))]
    stopping: Signal<bool>,
    /// What became of the last message.
    told: RwSignal<Option<Told>>,
    /// Sends.
    on_send: Callback<Outgoing>,
    /// Stops the agent.
    #[prop(optional)]
    on_stop: Option<Callback<()>>,
    /// Whether it has the focus at first.
    #[prop(optional)]
    autofocus: bool,
) -> impl IntoView {
    let text = RwSignal::new(String::new());
    let waiting = Waiting::new();
    let root = NodeRef::<html::Div>::new();
    waiting.watch(root);
    let ids_of = |fits: fn(&ModelOption) -> bool| -> Vec<String> {
        models.iter().filter(|option| fits(option)).map(|option| option.id.clone()).collect()
    };
    let (blind, demo) = (ids_of(|option| option.blind), ids_of(|option| option.demo));
    let untried = ids_of(|option| option.untried);
    let model = choice.model;
    let blind = memo(move || blind.contains(&model.get()));
    let trial = follow_trials(model, untried);
    let thinks = memo(move || !demo.contains(&model.get()));
    let field = NodeRef::<html::Textarea>::new();
    let key = StoredValue::new(draft);
    // The field's text is its own: a signal that wrote it would erase what was typed before this code ran.
    let put = move |value: String| {
        if let Some(field) = field.get_untracked() {
            field.set_value(&value);
        }
        browser::store(&key.get_value(), &value);
        text.set(value);
    };
    // The draft is this browser's: the server has none, so it is put in after hydration.
    effect(move || {
        let Some(field) = field.get() else { return };
        let (draft, typed) = (browser::stored(&key.get_value()).unwrap_or_default(), field.value());
        // A browser that reloads a page puts the draft back by itself.
        put(if typed.starts_with(&draft) { typed } else { in_front(draft, &typed) });
        if autofocus {
            let _ = field.focus();
        }
    });
    effect(move || match told.get() {
        // What was typed or added since it was sent stays.
        Some(Told::Arrived(sent)) => {
            if text.with_untracked(|now| now.trim() == sent.text) {
                put(String::new());
            }
            waiting.files.update(|have| have.retain(|file| !sent.files.iter().any(|gone| gone.id == file.id)));
        }
        Some(Told::Withdrawn { text: back, files }) => {
            let rest = text.get_untracked();
            put(in_front(back, &rest));
            waiting.files.update(|have| {
                have.retain(|file| !files.contains(file));
                let mut all = files;
                all.append(have);
                *have = all;
            });
            if let Some(field) = field.get_untracked() {
                let _ = field.focus();
            }
        }
        None => {}
    });
    let send = move || {
        let trimmed = text.with_untracked(|text| text.trim().to_owned());
        if !trimmed.is_empty()
            && !busy.get_untracked()
            && let Some(files) = waiting.take()
        {
            on_send.run(Outgoing { text: trimmed, files });
        }
    };
    let on_key = move |event: KeyboardEvent| {
        if event.key() == "Enter" && !event.shift_key() && !event.is_composing() {
            event.prevent_default();
            send();
        }
    };
    let on_input = move |event| {
        let value = event_target_value(&event);
        browser::store(&key.get_value(), &value);
        text.set(value);
    };
    let empty = memo(move || text.with(|text| text.trim().is_empty()));
    view! {
        <div class="composer" node_ref=root data-busy=live::text(move || busy.get().to_string())>
            <textarea
                node_ref=field
                name="prompt"
                rows="1"
                aria-label=label
                placeholder=placeholder
                enterkeyhint="send"
                required
                on:input=on(on_input)
                on:keydown=on(on_key)
            ></textarea>
            <WaitingFiles waiting blind />
            <Notice error=waiting.failure />
            <p class="composer-note" role="status">{live::text(move || trial.get())}</p>
            <div class="composer-bar">
                <label class="icon-button attach" title="Attach images and files">
                    <Icon name="attach" />
                    <input type="file" name="files" multiple aria-label="Attach images and files" />
                </label>
                <ModelPicker models model />
                <EffortPicker effort=choice.effort thinks />
                <span class="hint">
                    {live::text(move || if working.get() { "Sent messages wait for this turn" } else { "Shift + Enter for a new line" })}
                </span>
                <button
                    class="button stop"
                    type="button"
                    hidden=live::flag(move || !working.get())
                    aria-disabled=live::maybe(move || stopping.get().then_some("true"))
                    on:click=on(move |_| {
                        if let Some(stop) = on_stop {
                            stop.run(());
                        }
                    })
                >
                    <Icon name="stop" />
                    "Stop"
                </button>
                <button
                    class="button primary send"
                    type="submit"
                    aria-label="Send"
                    hidden=live::flag(move || working.get() && empty.get())
                    data-empty=live::text(move || empty.get().to_string())
                    on:click=on(move |event: MouseEvent| {
                        event.prevent_default();
                        send();
                    })
                >
                    <Icon name="up" />
                </button>
            </div>
        </div>
    }
    .into_any()
}

/// What is found out about the chosen model while it is tried: in words, as it comes.
fn follow_trials(model: RwSignal<String>, untried: Vec<String>) -> RwSignal<String> {
    let words = RwSignal::new(String::new());
    effect(move || {
        let id = model.get();
        words.set(String::new());
        if !untried.contains(&id) {
            return;
        }
        spawn_local(async move {
            let mut seen = 0;
            // Without an answer there is nothing to say: the trial is a courtesy.
            while let Ok(trial) = try_model(id.clone(), seen).await {
                if model.get_untracked() != id {
                    return;
                }
                words.set(trial.words);
                seen = trial.step;
                if !trial.running {
                    return;
                }
            }
        });
    });
    words
}

/// One text before another, if that has any.
fn in_front(first: String, rest: &str) -> String {
    if rest.trim().is_empty() { first } else { format!("{first}\n\n{rest}") }
}

/// Chooses the model for what is sent next.
#[component]
fn ModelPicker(models: Vec<ModelOption>, model: RwSignal<String>) -> impl IntoView {
    let chosen = model.get_untracked();
    let select = NodeRef::<html::Select>::new();
    // What is shown is what is sent: it may have been chosen before this code ran, and a model that is not listed any
    // more cannot be shown.
    effect(move || {
        let shown = select.get().map(|select| select.value()).unwrap_or_default();
        if !shown.is_empty() {
            model.set(shown);
        }
    });
    let mut groups: Vec<(String, Vec<ModelOption>)> = Vec::new();
    for option in models {
        match groups.iter_mut().find(|(group, _)| *group == option.group) {
            Some((_, members)) => members.push(option),
            None => groups.push((option.group.clone(), vec![option])),
        }
    }
    let none = groups.is_empty();
    let options = groups
        .into_iter()
        .map(|(group, members)| {
            let options = members
                .into_iter()
                .map(|option| view! { <option value=option.id.clone() selected=option.id == chosen>{option.label}</option> })
                .collect_view();
            if group.is_empty() {
                options.into_any()
            } else {
                view! { <optgroup label=group>{options}</optgroup> }.into_any()
            }
        })
        .collect_view();
    view! {
        <label class="model-picker" hidden=none>
            <span class="visually-hidden">"Model"</span>
            <select name="model" node_ref=select on:change=on(move |event: Event| model.set(event_target_value(&event)))>
                {options}
            </select>
            <Icon name="chevron" />
        </label>
    }
    .into_any()
}

/// How much a model shall think: what is sent, and its name.
const EFFORTS: [(&str, &str); 4] =
    [("", "Effort: default"), ("low", "Effort: low"), ("medium", "Effort: medium"), ("high", "Effort: high")];

/// Chooses how much the model thinks.
#[component]
fn EffortPicker(effort: RwSignal<String>, thinks: Memo<bool>) -> impl IntoView {
    let chosen = effort.get_untracked();
    let options = EFFORTS
        .into_iter()
        .map(|(value, name)| view! { <option value=value selected=value == chosen>{name}</option> })
        .collect_view();
    view! {
        <label class="model-picker effort" title="How much the model thinks" hidden=live::flag(move || !thinks.get())>
            <span class="visually-hidden">"Reasoning effort"</span>
            <Icon name="thought" />
            <select name="effort" on:change=on(move |event: Event| effort.set(event_target_value(&event)))>
                {options}
            </select>
            <Icon name="chevron" />
        </label>
    }
    .into_any()
}
