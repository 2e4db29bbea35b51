//! The theme switch: system, light, dark; kept in a cookie so that the server renders it.

use super::Icon;
use crate::ui::browser;
use crate::ui::page::Theme;
use leptos::prelude::*;

/// Cycles through the themes.
#[component]
pub fn ThemeButton() -> impl IntoView {
    // The server knows the theme only in the document's root; the button learns it after hydration.
    let theme = RwSignal::new(Theme::System);
    Effect::new(move |_| {
        let now = document().document_element().and_then(|root| root.get_attribute("data-theme"));
        theme.set(Theme::from_cookie(now.as_deref().unwrap_or_default()));
    });
    let choose = move |_| {
        let next = match theme.get() {
            Theme::System => Theme::Light,
            Theme::Light => Theme::Dark,
            Theme::Dark => Theme::System,
        };
        theme.set(next);
        browser::set_cookie(Theme::COOKIE, next.slug());
        browser::set_root_attribute("data-theme", next.slug());
    };
    let label = move || match theme.get() {
        Theme::System => "Theme: as the system",
        Theme::Light => "Theme: light",
        Theme::Dark => "Theme: dark",
    };
    let icon = Signal::derive(move || match theme.get() {
        Theme::System => "theme",
        Theme::Light => "sun",
        Theme::Dark => "moon",
    });
    view! {
        <button class="icon-button" type="button" aria-label=label title=label on:click=choose>
            <Icon name=icon />
        </button>
    }
    .into_any()
}
