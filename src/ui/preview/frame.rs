//! The preview's frame: where it is, and the messages exchanged with the script the proxy puts into the app.

use crate::domain::{Change, PreviewView};
use crate::ui::browser;
use crate::ui::kit::effect;
use crate::ui::store::Store;
use leptos::html;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;

/// Errors remembered at most.
const FAULTS: usize = 5;
/// Longest error text kept, in characters.
const FAULT_MAX: usize = 1000;

/// State of the frame; cheap to copy into views.
#[derive(Clone, Copy)]
pub struct Frame {
    /// The frame, once it is there.
    pub element: NodeRef<html::Iframe>,
    /// What it loads; none before there is an app.
    pub src: RwSignal<Option<String>>,
    /// The path typed or navigated to.
    pub path: RwSignal<String>,
    /// The app's port.
    pub port: RwSignal<Option<u16>>,
    /// Errors the app reported since it was loaded.
    pub faults: RwSignal<Vec<String>>,
    origin: RwSignal<String>,
    // Whether the page in it has said that it is whole. The browser's own error page never does.
    ready: StoredValue<bool>,
    // The files' revision when it was loaded.
    files: StoredValue<u64>,
    store: Store,
}

impl Frame {
    /// Shows the project's app, now and whenever it is ready again.
    pub fn new(store: Store) -> Self {
        let preview = store.peek(|state| state.preview.clone());
        let frame = Self {
            element: NodeRef::new(),
            src: RwSignal::new(preview.as_ref().map(|p| p.url.clone())),
            path: RwSignal::new(preview.as_ref().map(|p| path_of(&p.url)).unwrap_or_default()),
            port: RwSignal::new(preview.as_ref().map(|p| p.port)),
            faults: RwSignal::new(Vec::new()),
            origin: RwSignal::new(preview.as_ref().map(|p| origin_of(&p.url)).unwrap_or_default()),
            ready: StoredValue::new(false),
            files: StoredValue::new(store.peek(|state| state.files_rev)),
            store,
        };
        frame.recover();
        frame.follow();
        Effect::new(move |before: Option<Option<PreviewView>>| {
            let now = store.read(Change::Preview, |state| state.preview.clone());
            if let (Some(before), Some(preview)) = (before, &now)
                && before.is_none_or(|before| before.rev != preview.rev)
            {
                frame.show(preview.port, &preview.url);
            }
            now
        });
        frame
    }

    /// Loads an app's first page.
    pub fn show(self, port: u16, url: &str) {
        self.port.set(Some(port));
        self.origin.set(origin_of(url));
        self.path.set(path_of(url));
        self.load(url.to_owned());
    }

    /// Loads the path typed.
    pub fn go(self) {
        let path = self.path.get_untracked();
        let slash = if path.starts_with('/') { "" } else { "/" };
        self.load(format!("{}{slash}{path}", self.origin.get_untracked()));
    }

    /// Address of the page shown.
    pub fn here(self) -> String {
        format!("{}{}", self.origin.get(), self.path.get())
    }

    /// Goes `back`, `forward`, or does `reload`.
    pub fn steer(self, kind: &str) {
        let Some(element) = self.element.get_untracked() else { return };
        self.faults.set(Vec::new());
        if kind == "reload" {
            self.reload(&element);
        } else {
            browser::post_to_frame(&element, kind, &self.origin.get_untracked());
        }
    }

    // Set again, not asked for: a page that failed to load has no script to hear it.
    fn reload(self, element: &leptos::web_sys::HtmlIFrameElement) {
        self.fresh(false);
        element.set_src(&format!("{}{}", self.origin.get_untracked(), self.path.get_untracked()));
    }

    /// Loads a page again that the server's absence cut off: when the stream broke, or since, it was not whole.
    fn recover(self) {
        let cut = StoredValue::new(None);
        effect(move || {
            let whole = self.ready.get_value();
            if !self.store.open.get() {
                cut.set_value(Some(!whole));
            } else if let Some(cut) = cut.try_update_value(Option::take).flatten()
                && (cut || !whole)
                && let Some(element) = self.element.get_untracked()
            {
                self.reload(&element);
            }
        });
    }

    /// When a turn ends that changed files, loads the page again. One with hot reload has followed them and stays.
    fn follow(self) {
        let before = StoredValue::new(None);
        effect(move || {
            let (works, files) = self.store.read(Change::Turn, |state| (state.turn.is_some(), state.files_rev));
            if works {
                before.update_value(|before| *before = before.or(Some(files)));
                return;
            }
            // What the app itself has written between turns is no reason.
            let changed = before.try_update_value(Option::take).flatten().is_some_and(|before| before != files);
            let Some(element) = self.element.get_untracked() else { return };
            if !changed || files == self.files.get_value() {
                return;
            }
            self.faults.set(Vec::new());
            if self.ready.get_value() {
                browser::post_to_frame(&element, "changed", &self.origin.get_untracked());
            } else {
                self.reload(&element);
            }
        });
    }

    /// Hears where the app goes and what goes wrong in it.
    pub fn listen(self) {
        effect(move || {
            if let Some(element) = self.element.get() {
                // It may have been whole before this page's code ran. Told to anyone: what is there has maybe no origin.
                browser::post_to_frame(&element, "hello", "*");
            }
        });
        effect(move || {
            // It lives as long as the page.
            let _ = window_event_listener_untyped("message", move |event| {
                if let Some(message) = event.dyn_ref::<leptos::web_sys::MessageEvent>() {
                    self.hear(message);
                }
            });
        });
    }

    fn hear(self, message: &leptos::web_sys::MessageEvent) {
        let from_app = message.origin() == self.origin.get_untracked();
        let field = |name| browser::message_field(message, name);
        if !from_app || field("source").as_deref() != Some("sandcastle-preview") {
            return;
        }
        match field("type").as_deref() {
            Some(kind @ ("navigate" | "ready")) => {
                if kind == "ready" {
                    self.fresh(true);
                }
                if let Some(to) = field("path").or_else(|| field("url").map(|url| path_of(&url))) {
                    self.path.set(to);
                }
            }
            Some("error") => {
                let text: String = field("message").unwrap_or_default().chars().take(FAULT_MAX).collect();
                self.faults.update(|faults| {
                    if faults.len() < FAULTS && !text.is_empty() && !faults.contains(&text) {
                        faults.push(text);
                    }
                });
            }
            Some("left") => self.ready.set_value(false),
            _ => {}
        }
    }

    /// What is in the frame is of now; whether it is whole.
    fn fresh(self, ready: bool) {
        self.ready.set_value(ready);
        self.files.set_value(self.store.peek(|state| state.files_rev));
    }

    fn load(self, url: String) {
        self.faults.set(Vec::new());
        self.fresh(false);
        match self.element.get_untracked() {
            // The same address set again loads again; the signal would see no change.
            Some(element) if self.src.with_untracked(|src| src.as_deref() == Some(url.as_str())) => {
                element.set_src(&url)
            }
            _ => self.src.set(Some(url)),
        }
    }
}

fn split(url: &str) -> (&str, &str) {
    let host = url.find("://").map_or(0, |at| at + 3);
    let path = url.get(host..).and_then(|rest| rest.find('/')).map_or(url.len(), |at| host + at);
    url.split_at(path)
}

fn origin_of(url: &str) -> String {
    split(url).0.to_owned()
}

fn path_of(url: &str) -> String {
    let path = split(url).1;
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_split_into_origin_and_path() {
        let url = "http://3000-iabc.localhost:3000/a/b?c=1#d";
        assert_eq!(origin_of(url), "http://3000-iabc.localhost:3000");
        assert_eq!(path_of(url), "/a/b?c=1#d");
        assert_eq!(path_of("http://x.localhost"), "/");
    }
}
