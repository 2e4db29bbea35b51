//! The frame around the runs dashboard: markup of the server, fetched again when runs change, with keys for what its
//! links and buttons do.
//!
//! It knows nothing of runs. What it must find in the markup: `data-key` (pressed for a click; a key that opened something
//! goes on inside it), `data-copy` (a text to copy, or empty for the section's `<pre>`), `.run-link` (what J and K move
//! over), and what must not be replaced under a person's hands.

use crate::server_fns::runs_part;
use crate::ui::browser;
use crate::ui::kit::{TopBar, effect, live as changing, on};
use crate::ui::transport::while_looked_at;
use leptos::prelude::*;
use leptos::task::spawn_local;
use leptos::wasm_bindgen::{JsCast, closure::Closure};
use leptos::web_sys::{Element, Event, EventSource, HtmlElement, HtmlInputElement};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

/// What a person is in the middle of: markup is not replaced while any of it is there. The first option of a choice is
/// the one nobody chose.
const IN_HAND: &str = "main details.hold[open], main input:checked, main :is(input, select, textarea):focus, \
                       main option:checked:not([selected], :first-child)";
/// What may end that.
const LET_GO: [&str; 4] = ["visibilitychange", "focusout", "change", "toggle"];
/// A click that takes the focus away is over by then.
const CLICK: Duration = Duration::from_millis(300);
/// Until a stream that the browser gave up is opened again.
const REOPEN: Duration = Duration::from_secs(3);

/// The pages at `/runs` and `/runs/{run}`.
#[component]
pub fn RunsPage(
    /// What the server drew.
    html: String,
    /// Whether it may change.
    live: bool,
) -> impl IntoView {
    let content = RwSignal::new(html);
    let lost = RwSignal::new(false);
    effect(move || {
        window_event_listener(leptos::ev::keydown, |event| {
            let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
            let plain = !event.ctrl_key() && !event.meta_key() && !event.alt_key();
            if plain && press(&event.key(), target.as_ref()) {
                event.prevent_default();
            }
        });
        if live {
            Rc::new(Live::new(content, lost)).watch();
        }
    });
    let copy = move |event: leptos::ev::MouseEvent| {
        let target = event.target().and_then(|target| target.dyn_into::<Element>().ok());
        let button = target.and_then(|element| element.closest("[data-copy]").ok().flatten());
        let Some(button) = button else { return };
        let text = button.get_attribute("data-copy").filter(|text| !text.is_empty());
        let below = || button.closest("section").ok()??.query_selector("pre").ok()??.text_content();
        if let Some(text) = text.or_else(below) {
            browser::copy(&text);
        }
    };
    view! {
        <TopBar />
        <p class="stopped" role="status" hidden=changing::flag(move || !lost.get())>
            "The server cannot be reached, so this may be out of date. Trying again…"
        </p>
        <main class="page wide" inner_html=changing::text(move || content.get()) on:click=on(copy)></main>
    }
    .into_any()
}

fn find(selector: &str) -> Option<HtmlElement> {
    document().query_selector(selector).ok().flatten()?.dyn_into().ok()
}

/// Does what a key stands for; false if it stands for nothing here.
fn press(key: &str, target: Option<&Element>) -> bool {
    let key = key.to_ascii_lowercase();
    let is = |selector: &str| target.is_some_and(|element| element.matches(selector).unwrap_or(false));
    let choosing = is("input[type='checkbox']");
    if key == "escape"
        && let Some(opener) = find("main details.hold[open] > summary")
    {
        let _ = opener.focus();
        opener.click();
        return true;
    }
    if key == "enter" && choosing {
        // Enter opens, also where a box could be checked.
        let row = target.and_then(|element| element.closest("tr").ok().flatten());
        let link = row.and_then(|row| row.query_selector(".run-link").ok().flatten()?.dyn_into::<HtmlElement>().ok());
        return link.map(|link| link.click()).is_some();
    }
    let writing = is("input, textarea, select") && !choosing;
    if writing || !matches!(key.as_str(), "j" | "k" | "r" | "c" | "/") {
        return false;
    }
    let inside = format!("main details[open] form [data-key='{key}']");
    if let Some(element) = find(&inside).or_else(|| find(&format!("main [data-key='{key}']"))) {
        // A search field is clicked into by focus.
        let _ = element.focus();
        element.click();
        // What the click has opened is gone on with by Enter or the same key.
        if let Some(next) = find(&inside) {
            let _ = next.focus();
        }
        return true;
    }
    match key.as_str() {
        "j" => browser::move_focus("main .run-link", 1),
        "k" => browser::move_focus("main .run-link", -1),
        _ => false,
    }
}

/// Whether replacing the markup now would take something from the person, or would not be seen.
fn busy() -> bool {
    let typed = find("main input[type='search']").and_then(|field| field.dyn_into::<HtmlInputElement>().ok());
    document().hidden() || find(IN_HAND).is_some() || typed.is_some_and(|field| field.value() != field.default_value())
}

/// The markup, and whether it is what the server would draw now.
struct Live {
    content: RwSignal<String>,
    /// Whether nobody tells that runs changed.
    lost: RwSignal<bool>,
    /// Whether runs changed since it was drawn.
    stale: Cell<bool>,
    /// Whether it is being fetched. One at a time, so that no older answer comes last.
    asking: Cell<bool>,
    /// Tells that runs changed; none while nobody looks.
    source: RefCell<Option<EventSource>>,
}

impl Live {
    fn new(content: RwSignal<String>, lost: RwSignal<bool>) -> Self {
        Self { content, lost, stale: Cell::new(false), asking: Cell::new(false), source: RefCell::default() }
    }

    fn watch(self: Rc<Self>) {
        let live = Rc::clone(&self);
        let let_go = Closure::<dyn FnMut()>::new(move || {
            let live = Rc::clone(&live);
            set_timeout(move || live.refresh(), CLICK);
        });
        for kind in LET_GO {
            // Not all of them bubble.
            let listener = let_go.as_ref().unchecked_ref();
            let _ = document().add_event_listener_with_callback_and_bool(kind, listener, true);
        }
        // It lives as long as the page.
        let_go.forget();
        let (away, back) = (Rc::clone(&self), self);
        let left = Cell::new(false);
        let leave = move || {
            if let Some(source) = away.source.take() {
                source.close();
            }
        };
        while_looked_at(leave, move || {
            if back.source.borrow().is_none() {
                // The page came with what there was; what came since it was left is not known.
                back.stale.set(back.stale.get() || left.replace(true));
                back.listen();
                back.refresh();
            }
        });
    }

    /// Opens the stream. The browser opens one that broke off again by itself, but not one that was refused.
    fn listen(self: &Rc<Self>) {
        let Ok(source) = EventSource::new("/api/runs/events") else { return };
        let (live, stream) = (Rc::clone(self), source.clone());
        let told = Closure::<dyn FnMut(Event)>::new(move |event: Event| {
            let failed = event.type_() == "error";
            if live.lost.get_untracked() != failed {
                live.lost.set(failed);
            }
            if failed && stream.ready_state() == EventSource::CLOSED {
                // What a new stream's beginning does not tell.
                live.stale.set(true);
                let live = Rc::clone(&live);
                set_timeout(move || live.listen(), REOPEN);
            } else if !failed {
                live.stale.set(live.stale.get() || event.type_() == "message");
                live.refresh();
            }
        });
        let listener = told.as_ref().unchecked_ref();
        source.set_onopen(Some(listener));
        source.set_onmessage(Some(listener));
        source.set_onerror(Some(listener));
        told.forget();
        self.source.replace(Some(source));
    }

    /// Fetches the markup if it is stale and may be replaced; else that is done once it may be.
    fn refresh(self: &Rc<Self>) {
        if !self.stale.get() || self.asking.get() || busy() {
            return;
        }
        let here = location().pathname().and_then(|path| Ok(path + &location().search()?));
        let Ok(here) = here else { return };
        self.stale.set(false);
        self.asking.set(true);
        let live = Rc::clone(self);
        spawn_local(async move {
            let answer = runs_part(here).await;
            live.asking.set(false);
            match answer {
                // What was opened while the answer came stays.
                Ok(html) if !busy() => {
                    live.show(html);
                    live.refresh();
                }
                // Old markup is better than an error over it.
                _ => live.stale.set(true),
            }
        });
    }

    /// Replaces the markup. What a person has reached by keys is reached again in the new one.
    fn show(&self, html: String) {
        let reached = document().active_element().and_then(|element| {
            let by = |name: &str| Some(format!("main [{name}='{}']", element.get_attribute(name)?));
            by("href").or_else(|| by("data-key"))
        });
        self.content.set(html);
        if let Some(reached) = reached {
            request_animation_frame(move || browser::focus_quietly(&reached));
        }
    }
}
