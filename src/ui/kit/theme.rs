//! The theme switch: system, light, dark; kept in a cookie so that the server renders it.

use super::{Icon, effect, live, on};
use crate::ui::browser;
use crate::ui::page::Theme;
use leptos::prelude::*;

/// Cycles through the themes.
#[component]
pub fn ThemeButton() -> impl IntoView {
    // The server knows the theme only in the document's root; the button learns it after hydration.
    let theme = RwSignal::new(Theme::System);
    effect(move || {
        let now = document().document_element().and_then(|root| root.get_attribute("data-theme"));
        theme.set(Theme::from_cookie(now.as_deref().unwrap_or_default()));
    });
    let choose = move |_| {
        let next = theme.get().next();
        theme.set(next);
        browser::set_cookie(Theme::COOKIE, next.slug());
        browser::set_root_attribute("data-theme", next.slug());
    };
    let label = move || theme.get().label();
    let icon = Signal::derive(move || theme.get().icon());
    view! {
        <button class="icon-button" type="button" aria-label=live::text(label) title=live::text(label) on:click=on(choose)>
            <Icon name=icon />
        </button>
    }
    .into_any()
}
