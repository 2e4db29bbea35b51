//! The frame around the runs dashboard: markup of the server, fetched again when runs change, with keys for what its
//! links and buttons do.
//!
//! It knows nothing of runs. What it must find in the markup: `data-key` (pressed for a click), `data-copy` (a text to
//! copy), `.run-link` (what J and K move over), and what must not be replaced under a person's hands.

use crate::server_fns::runs_part;
use crate::ui::browser;
use crate::ui::kit::{TopBar, effect, live as changing, on};
use crate::ui::transport::while_looked_at;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos::wasm_bindgen::{JsCast, closure::Closure};
use leptos::web_sys::{Element, EventSource, HtmlElement, MessageEvent};

/// What a person is in the middle of: markup is not replaced while any of it is there.
const IN_HAND: &str =
    "main details.hold[open], main input:checked, main input:focus, main select:focus, main textarea:focus";

/// The pages at `/runs` and `/runs/{run}`.
#[component]
pub fn RunsPage(
    /// What the server drew.
    html: String,
    /// Whether it may change.
    live: bool,
) -> impl IntoView {
    let content = RwSignal::new(html);
    effect(move || {
        window_event_listener(leptos::ev::keydown, |event| {
            let writes = event.target().and_then(|target| target.dyn_into::<Element>().ok());
            let writes = writes.is_some_and(|element| element.matches("input, textarea, select").unwrap_or(false));
            if !writes && !event.ctrl_key() && !event.meta_key() && !event.alt_key() && press(&event.key()) {
                event.prevent_default();
            }
        });
        if live {
            watch(content);
        }
    });
    let copy = move |event: leptos::ev::MouseEvent| {
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        let button = target.and_then(|element| element.closest("[data-copy]").ok().flatten());
        if let Some(text) = button.and_then(|button| button.get_attribute("data-copy")) {
            browser::copy(&text);
        }
    };
    view! {
        <TopBar />
        <main class="page wide" inner_html=changing::text(move || content.get()) on:click=on(copy)></main>
    }
    .into_any()
}

/// Does what a key stands for; false if it stands for nothing here.
fn press(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    if !matches!(key.as_str(), "j" | "k" | "r" | "c" | "/") {
        return false;
    }
    let find = |selector: &str| document().query_selector(selector).ok().flatten()?.dyn_into::<HtmlElement>().ok();
    if let Some(element) = find(&format!("main [data-key='{key}']")) {
        // A search field is clicked into by focus.
        let _ = element.focus();
        element.click();
        return true;
    }
    match key.as_str() {
        "j" => browser::move_focus("main .run-link", 1),
        "k" => browser::move_focus("main .run-link", -1),
        _ => false,
    }
}

/// Fetches the markup again whenever the server says that runs changed, and when the page is looked at again.
fn watch(content: RwSignal<String>) {
    let source = StoredValue::new_local(None::<Source>);
    let seen = StoredValue::new(false);
    let show = move || {
        if source.with_value(Option::is_some) {
            return;
        }
        // The page came with what there was.
        if seen.try_update_value(|seen| std::mem::replace(seen, true)) == Some(true) {
            fetch(content);
        }
        source.set_value(Source::open(content));
    };
    while_looked_at(move || source.set_value(None), show);
}

/// An open stream with the callback it calls. The browser reopens it by itself when it breaks.
struct Source {
    source: EventSource,
    _changed: Closure<dyn FnMut(MessageEvent)>,
}

impl Source {
    fn open(content: RwSignal<String>) -> Option<Self> {
        let source = EventSource::new("/api/runs/events").ok()?;
        let changed = Closure::<dyn FnMut(MessageEvent)>::new(move |_| fetch(content));
        source.set_onmessage(Some(changed.as_ref().unchecked_ref()));
        Some(Self { source, _changed: changed })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.source.set_onmessage(None);
        self.source.close();
    }
}

fn fetch(content: RwSignal<String>) {
    if document().hidden() || document().query_selector(IN_HAND).ok().flatten().is_some() {
        return;
    }
    let here = location().pathname().and_then(|path| Ok(path + &location().search()?));
    let Ok(here) = here else { return };
    spawn_local(async move {
        // Old markup is better than an error over it.
        if let Ok(html) = runs_part(here).await {
            // The line a person has reached by keys is reached again in the new markup.
            let at = document().active_element().and_then(|element| element.get_attribute("href"));
            content.set(html);
            if let Some(at) = at {
                request_animation_frame(move || {
                    browser::move_focus(&format!("main a[href='{at}']"), 0);
                });
            }
        }
    });
}
