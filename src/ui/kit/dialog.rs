//! A question before something that cannot be undone.

use super::{effect, live, on};
use crate::ui::browser;
use leptos::html;
use leptos::prelude::*;

/// A modal question, shown while `open` is true.
#[component]
pub fn Confirm(
    /// Whether it is asked.
    open: RwSignal<bool>,
    /// The question.
    #[prop(into)]
    title: Signal<String>,
    /// What will happen.
    #[prop(into)]
    text: Signal<String>,
    /// The word on the button that does it.
    action: &'static str,
    /// Does it.
    on_confirm: Callback<()>,
) -> impl IntoView {
    let dialog = NodeRef::<html::Dialog>::new();
    effect(move || {
        let open = open.get();
        if let Some(element) = dialog.get() {
            if open { browser::show_modal(&element) } else { browser::close_modal(&element) }
        }
    });
    view! {
        <dialog class="dialog" node_ref=dialog aria-label=live::text(move || title.get()) on:close=on(move |_| open.set(false))>
            <h2>{live::text(move || title.get())}</h2>
            <p>{live::text(move || text.get())}</p>
            <div class="row end">
                <button class="button" type="button" on:click=on(move |_| open.set(false))>
                    "Keep it"
                </button>
                <button
                    class="button danger"
                    type="button"
                    on:click=on(move |_| {
                        open.set(false);
                        on_confirm.run(());
                    })
                >
                    {action}
                </button>
            </div>
        </dialog>
    }
    .into_any()
}
