//! The only file that differs between the two sides: what just a browser can do. On the server each of these does
//! nothing and returns what an empty browser would, so that views need no gates of their own.

#[cfg(feature = "hydrate")]
pub use web::*;

#[cfg(not(feature = "hydrate"))]
pub use none::*;

#[cfg(feature = "hydrate")]
mod web {
    use crate::domain::{ApiError, Attachment, check_size, json};
    use crate::ui::app::App;
    use crate::ui::page::PageData;
    use js_sys::futures::JsFuture;
    use js_sys::{Date, JsString, Reflect};
    use leptos::prelude::*;
    use leptos::task::spawn_local;
    use std::rc::Rc;
    use std::time::Duration;
    use wasm_bindgen::closure::Closure;
    use wasm_bindgen::{JsCast, JsValue};

    /// Hydrates the document from the data it carries.
    pub fn hydrate() {
        // A release build's panics are traps without words (`xtask`'s `snip`); the document tells the person.
        #[cfg(debug_assertions)]
        console_error_panic_hook::set_once();
        let data = document().get_element_by_id("page-data").and_then(|element| element.text_content());
        let page = data.and_then(|text| json::read::<PageData>(text.as_bytes()).ok());
        match page {
            Some(page) => leptos::mount::hydrate_body(move || view! { <App page/> }),
            // A page from an older server with newer code, or the reverse: it stays readable without hydration.
            None => leptos::logging::error!("the page's data was not understood; reload the page"),
        }
    }

    /// Unix milliseconds now.
    pub fn now_ms() -> u64 {
        Date::now() as u64
    }

    /// Text in lower case, by the browser's tables: std's own weigh as much as the rest of its strings.
    pub fn lowercase(text: &str) -> String {
        if text.is_ascii() { text.to_ascii_lowercase() } else { JsString::from(text).to_lower_case().into() }
    }

    /// The clock time of a moment here, as `14:03:22`.
    pub fn clock_time(at: u64) -> Option<String> {
        let date = Date::new(&JsValue::from_f64(at as f64));
        Some(format!("{:02}:{:02}:{:02}", date.get_hours(), date.get_minutes(), date.get_seconds()))
    }

    /// Reads a value kept in this browser.
    pub fn stored(key: &str) -> Option<String> {
        window().local_storage().ok()??.get_item(key).ok()?
    }

    /// Keeps a value in this browser; an empty one is forgotten.
    pub fn store(key: &str, value: &str) {
        if let Ok(Some(storage)) = window().local_storage() {
            // A full or forbidden storage only means that a draft is not kept.
            let _ = if value.is_empty() { storage.remove_item(key) } else { storage.set_item(key, value) };
        }
    }

    /// Sets a cookie for a year.
    pub fn set_cookie(name: &str, value: &str) {
        let cookie = format!("{name}={value}; path=/; max-age=31536000; samesite=lax");
        let _ = Reflect::set(&document(), &JsValue::from_str("cookie"), &JsValue::from_str(&cookie));
    }

    /// Sets a custom property on the root element (allowed by the CSP, unlike a style attribute in HTML).
    pub fn set_root_property(name: &str, value: &str) {
        if let Some(root) = document().document_element().and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok()) {
            let _ = root.style().set_property(name, value);
        }
    }

    /// Sets an attribute on the root element.
    pub fn set_root_attribute(name: &str, value: &str) {
        if let Some(root) = document().document_element() {
            let _ = root.set_attribute(name, value);
        }
    }

    /// Copies text to the clipboard and says so.
    pub fn copy(text: &str) {
        // Undefined outside secure contexts, that is, on plain HTTP from another machine.
        let clipboard = Reflect::get(&window().navigator(), &"clipboard".into()).ok();
        match clipboard.and_then(|clipboard| clipboard.dyn_into::<web_sys::Clipboard>().ok()) {
            Some(clipboard) => {
                let written = JsFuture::from(clipboard.write_text(text));
                spawn_local(async move { say_copied(written.await.is_ok()) });
            }
            None => say_copied(copy_selected(text).unwrap_or(false)),
        }
    }

    /// Copies by what works everywhere: a selection. False if it did not.
    fn copy_selected(text: &str) -> Option<bool> {
        let document = document();
        let focused = document.active_element();
        let area = document.create_element("textarea").ok()?.dyn_into::<web_sys::HtmlTextAreaElement>().ok()?;
        area.set_class_name("visually-hidden");
        area.set_value(text);
        document.body()?.append_child(&area).ok()?;
        area.select();
        let command = Reflect::get(&document, &"execCommand".into()).ok()?.dyn_into::<js_sys::Function>().ok();
        let copied = command.and_then(|command| command.call1(&document, &"copy".into()).ok());
        area.remove();
        if let Some(focused) = focused.and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok()) {
            let _ = focused.focus();
        }
        copied?.as_bool()
    }

    fn say_copied(copied: bool) {
        let words = if copied { "Copied" } else { "Not copied: the browser does not allow it" };
        if let Some(place) = document().get_element_by_id("said") {
            place.set_text_content(Some(words));
            set_timeout(move || place.set_text_content(None), Duration::from_secs(2));
        }
    }

    /// Moves the focus among the elements that fit, from the one that has it or from the first. False if there are none.
    pub fn move_focus(selector: &str, by: i32) -> bool {
        let Ok(found) = document().query_selector_all(selector) else { return false };
        let active = document().active_element();
        let all = (0..found.length()).filter_map(|n| found.item(n)?.dyn_into::<web_sys::HtmlElement>().ok());
        let all: Vec<web_sys::HtmlElement> = all.collect();
        let here = all.iter().position(|element| active.as_ref() == Some(element.as_ref()));
        let next = here.map_or(0, |here| here.saturating_add_signed(by as isize).min(all.len().saturating_sub(1)));
        all.get(next).is_some_and(|element| element.focus().is_ok())
    }

    /// Gives the first element that fits the focus, without scrolling to it.
    pub fn focus_quietly(selector: &str) {
        let Ok(Some(element)) = document().query_selector(selector) else { return };
        let options = js_sys::Object::new();
        let _ = Reflect::set(&options, &"preventScroll".into(), &true.into());
        let focus = Reflect::get(&element, &"focus".into()).and_then(|focus| focus.dyn_into::<js_sys::Function>());
        let _ = focus.and_then(|focus| focus.call1(&element, &options));
    }

    /// Does something whenever the page is looked at again, for as long as it lives.
    pub fn on_return(act: Box<dyn Fn()>) {
        let shown = Closure::<dyn FnMut()>::new(move || {
            if !document().hidden() {
                act();
            }
        });
        let _ = document().add_event_listener_with_callback("visibilitychange", shown.as_ref().unchecked_ref());
        shown.forget();
    }

    /// Opens a `<dialog>` as a modal.
    pub fn show_modal(element: &web_sys::Element) {
        if let Some(dialog) = element.dyn_ref::<web_sys::HtmlDialogElement>() {
            let _ = dialog.show_modal();
        }
    }

    /// Closes a `<dialog>`.
    pub fn close_modal(element: &web_sys::Element) {
        if let Some(dialog) = element.dyn_ref::<web_sys::HtmlDialogElement>() {
            dialog.close();
        }
    }

    /// Uploads files that are chosen or pasted inside an element or dropped anywhere, for as long as the page lives.
    /// `begin` is told how many come and says whether they may; `done` gets each, or why not.
    pub fn take_files(
        root: &web_sys::Element,
        begin: Box<dyn Fn(usize) -> bool>,
        done: Rc<dyn Fn(Result<Attachment, ApiError>)>,
    ) {
        let take = move |files: js_sys::Array| {
            if begin(files.length() as usize) {
                let done = Rc::clone(&done);
                // One after the other, so that they stay in order.
                spawn_local(async move {
                    for file in files.iter() {
                        done(upload(file).await);
                    }
                });
            }
        };
        let take_chosen = |field: &JsValue, take: &dyn Fn(js_sys::Array)| {
            if let Some(files) = files_of(field) {
                take(files);
                // So that the same file can be chosen again.
                let _ = Reflect::set(field, &"value".into(), &"".into());
            }
        };
        // What was chosen before this code ran.
        if let Ok(Some(field)) = root.query_selector("input[type=file]") {
            take_chosen(&field, &take);
        }
        let hear = Closure::<dyn Fn(web_sys::Event)>::new(move |event: web_sys::Event| {
            let part = |name: &str| Reflect::get(&event, &name.into()).ok().filter(JsValue::is_object);
            match event.type_().as_str() {
                "change" => {
                    if let Some(field) = event.target() {
                        take_chosen(&field, &take);
                    }
                }
                "paste" => {
                    if let Some(data) = part("clipboardData")
                        && let Some(files) = files_of(&data)
                        && !has_words(&data, &files)
                    {
                        event.prevent_default();
                        take(files);
                    }
                }
                // What may be dropped has to be said while it is over the page; else the tab opens the file.
                "dragover" => {
                    let types = part("dataTransfer").and_then(|data| Reflect::get(&data, &"types".into()).ok());
                    if types.is_some_and(|types| js_sys::Array::from(&types).includes(&"Files".into(), 0)) {
                        event.prevent_default();
                    }
                }
                _ => {
                    if let Some(files) = part("dataTransfer").and_then(|data| files_of(&data)) {
                        event.prevent_default();
                        take(files);
                    }
                }
            }
        });
        let hear_by: &js_sys::Function = hear.as_ref().unchecked_ref();
        for kind in ["change", "paste"] {
            let _ = root.add_event_listener_with_callback(kind, hear_by);
        }
        for kind in ["drop", "dragover"] {
            let _ = window().add_event_listener_with_callback(kind, hear_by);
        }
        hear.forget();
    }

    /// The files a field or a transfer holds; nothing if there are none.
    fn files_of(holder: &JsValue) -> Option<js_sys::Array> {
        let files = Reflect::get(holder, &"files".into()).ok().filter(JsValue::is_object)?;
        Some(js_sys::Array::from(&files)).filter(|files| files.length() > 0)
    }

    /// Whether what is pasted is text: cells of a table bring a picture of themselves. A copied file brings its name.
    fn has_words(data: &JsValue, files: &js_sys::Array) -> bool {
        let get = Reflect::get(data, &"getData".into()).ok().and_then(|get| get.dyn_into::<js_sys::Function>().ok());
        let text = get.and_then(|get| get.call1(data, &"text/plain".into()).ok()).and_then(|text| text.as_string());
        let name = |file: JsValue| Reflect::get(&file, &"name".into()).ok().and_then(|name| name.as_string());
        text.is_some_and(|text| {
            !text.trim().is_empty() && !files.iter().filter_map(name).any(|name| text.contains(&name))
        })
    }

    async fn upload(file: JsValue) -> Result<Attachment, ApiError> {
        let field = |name: &str| Reflect::get(&file, &name.into()).unwrap_or_default();
        let name = field("name").as_string().unwrap_or_default();
        let image = field("type").as_string().is_some_and(|kind| kind.starts_with("image/") && kind != "image/svg+xml");
        check_size(&name, field("size").as_f64().unwrap_or_default() as u64, image)?;
        let lost = |_| ApiError::internal(format!("{name} was not uploaded: the server cannot be reached."));
        let address = format!("/api/attachments?name={}", String::from(js_sys::encode_uri_component(&name)));
        let sent = gloo_net::http::Request::post(&address).body(file.clone()).map_err(lost)?.send().await;
        let answer = sent.map_err(lost)?;
        let text = answer.text().await.map_err(lost)?;
        let unread = |_| ApiError::internal(format!("{name} was not uploaded: HTTP {}.", answer.status()));
        if answer.ok() {
            json::read(text.as_bytes()).map_err(unread)
        } else {
            Err(json::read(text.as_bytes()).map_err(unread)?)
        }
    }

    /// Whether the viewport is a phone's.
    pub fn is_narrow() -> bool {
        matches!(window().match_media("(max-width: 699px)"), Ok(Some(query)) if query.matches())
    }

    /// Posts `{source: "sandcastle", type}` to the preview's frame.
    pub fn post_to_frame(frame: &web_sys::HtmlIFrameElement, kind: &str, origin: &str) {
        let message = js_sys::Object::new();
        let _ = Reflect::set(&message, &"source".into(), &"sandcastle".into());
        let _ = Reflect::set(&message, &"type".into(), &kind.into());
        if let Some(target) = frame.content_window() {
            let _ = target.post_message(&message, origin);
        }
    }

    /// Reads a text field of a message's data.
    pub fn message_field(event: &web_sys::MessageEvent, name: &str) -> Option<String> {
        Reflect::get(&event.data(), &name.into()).ok()?.as_string()
    }
}

#[cfg(not(feature = "hydrate"))]
mod none {
    use crate::domain::{ApiError, Attachment};
    use leptos::web_sys;
    use std::rc::Rc;

    /// Unix milliseconds now.
    pub fn now_ms() -> u64 {
        0
    }

    /// Text in lower case.
    pub fn lowercase(text: &str) -> String {
        text.to_lowercase()
    }

    /// The clock time of a moment here.
    pub fn clock_time(_at: u64) -> Option<String> {
        None
    }

    /// Reads a value kept in this browser.
    pub fn stored(_key: &str) -> Option<String> {
        None
    }

    /// Keeps a value in this browser.
    pub fn store(_key: &str, _value: &str) {}

    /// Sets a cookie for a year.
    pub fn set_cookie(_name: &str, _value: &str) {}

    /// Sets a custom property on the root element.
    pub fn set_root_property(_name: &str, _value: &str) {}

    /// Sets an attribute on the root element.
    pub fn set_root_attribute(_name: &str, _value: &str) {}

    /// Copies text to the clipboard and says so.
    pub fn copy(_text: &str) {}

    /// Moves the focus among the elements that fit.
    pub fn move_focus(_selector: &str, _by: i32) -> bool {
        false
    }

    /// Gives the first element that fits the focus, without scrolling to it.
    pub fn focus_quietly(_selector: &str) {}

    /// Does something whenever the page is looked at again.
    pub fn on_return(_act: Box<dyn Fn()>) {}

    /// Opens a `<dialog>` as a modal.
    pub fn show_modal(_element: &web_sys::Element) {}

    /// Closes a `<dialog>`.
    pub fn close_modal(_element: &web_sys::Element) {}

    /// Uploads files that are chosen or pasted inside an element or dropped anywhere.
    pub fn take_files(
        _root: &web_sys::Element,
        _begin: Box<dyn Fn(usize) -> bool>,
        _done: Rc<dyn Fn(Result<Attachment, ApiError>)>,
    ) {
    }

    /// Whether the viewport is a phone's.
    pub fn is_narrow() -> bool {
        false
    }

    /// Posts a message to the preview's frame.
    pub fn post_to_frame(_frame: &web_sys::HtmlIFrameElement, _kind: &str, _origin: &str) {}

    /// Reads a text field of a message's data.
    pub fn message_field(_event: &web_sys::MessageEvent, _name: &str) -> Option<String> {
        None
    }
}
