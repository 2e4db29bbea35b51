//! A bar between two parts that is dragged or moved with the arrow keys; the size goes into the layout cookie.

use super::Workbench;
use crate::ui::browser;
use crate::ui::kit::{live, on};
use crate::ui::page::Layout;
use leptos::ev::{KeyboardEvent, PointerEvent};
use leptos::html;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::web_sys::HtmlElement;

/// Which two parts it divides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Chat and work.
    Chat,
    /// File tree and file.
    Tree,
}

impl Split {
    fn property(self) -> &'static str {
        match self {
            Self::Chat => "--chat",
            Self::Tree => "--tree",
        }
    }

    fn limits(self) -> (u16, u16) {
        match self {
            Self::Chat => Layout::CHAT,
            Self::Tree => Layout::TREE,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Chat => "Width of the chat",
            Self::Tree => "Width of the file list",
        }
    }

    fn of(self, layout: Layout) -> u16 {
        match self {
            Self::Chat => layout.chat,
            Self::Tree => layout.tree,
        }
    }
}

/// The bar.
#[component]
pub fn Splitter(
    /// What it divides.
    split: Split,
) -> impl IntoView {
    let bench = Workbench::here();
    let size = move || split.of(bench.layout.get());
    // Pointer position and size when the drag began.
    let from = RwSignal::new(None::<(i32, i32)>);
    let bar = NodeRef::<html::Div>::new();
    // As it is drawn: the style sheet gives it at most a share of the room.
    let drawn = move || {
        let before = bar.get_untracked().and_then(|bar| bar.previous_element_sibling());
        let before = before.and_then(|element| element.dyn_into::<HtmlElement>().ok());
        before.map_or_else(|| i32::from(split.of(bench.layout.get_untracked())), |element| element.offset_width())
    };
    let resize = move |to: i32| {
        let (least, most) = split.limits();
        let clamp = |to: i32| to.clamp(i32::from(least), i32::from(most)) as u16;
        let draw = |to: u16| browser::set_root_property(split.property(), &format!("{to}px"));
        draw(clamp(to));
        let to = clamp(drawn());
        draw(to);
        bench.layout.update(|layout| match split {
            Split::Chat => layout.chat = to,
            Split::Tree => layout.tree = to,
        });
    };
    let down = move |event: PointerEvent| {
        event.prevent_default();
        from.set(Some((event.client_x(), drawn())));
        // Captured, the bar gets the moves also over the preview's frame.
        if let Some(bar) = bar.get_untracked() {
            let _ = bar.set_pointer_capture(event.pointer_id());
        }
    };
    let drag = move |event: PointerEvent| {
        if let Some((x, size)) = from.get_untracked() {
            resize(size + event.client_x() - x);
        }
    };
    let up = move |_: PointerEvent| {
        if from.get_untracked().is_some() {
            from.set(None);
            bench.remember();
        }
    };
    let key = move |event: KeyboardEvent| {
        let now = drawn();
        let to = match event.key().as_str() {
            "ArrowLeft" => now - 16,
            "ArrowRight" => now + 16,
            "Home" => i32::from(split.limits().0),
            "End" => i32::from(split.limits().1),
            _ => return,
        };
        event.prevent_default();
        resize(to);
        bench.remember();
    };
    let (least, most) = split.limits();
    view! {
        <div
            class="splitter"
            node_ref=bar
            role="separator"
            tabindex="0"
            aria-orientation="vertical"
            aria-label=split.label()
            aria-valuemin=least
            aria-valuemax=most
            aria-valuenow=live::text(move || size().to_string())
            data-dragging=live::text(move || from.get().is_some().to_string())
            on:pointerdown=on(down)
            on:pointermove=on(drag)
            on:pointerup=on(up)
            on:pointercancel=on(up)
            on:keydown=on(key)
        ></div>
    }
    .into_any()
}
