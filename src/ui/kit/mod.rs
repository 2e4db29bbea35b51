//! Small pieces every area uses: icons, times, numbers for people, terminal lines, empty states.

mod ansi;
mod dialog;
pub(crate) mod format;
pub mod live;
mod theme;

pub use ansi::line_html;
pub use dialog::Confirm;
pub use format::{bytes, compact, duration, money};
pub use live::{effect, memo, on};
pub use theme::ThemeButton;

use crate::domain::ApiError;
use crate::ui::browser;
use leptos::prelude::*;

/// An icon of the sprite. It is decoration: the control around it carries the name.
#[component]
pub fn Icon(
    /// Name of the symbol in `public/icons.svg`.
    #[prop(into)]
    name: Signal<&'static str>,
) -> impl IntoView {
    view! {
        <svg class="icon" aria-hidden="true">
            <use_ href=live::text(move || format!("/icons.svg#{}", name.get()))></use_>
        </svg>
    }
    .into_any()
}

/// The product's mark and name, as a link home.
#[component]
pub fn Brand() -> impl IntoView {
    view! {
        <a class="brand" href="/">
            <Icon name="mark" />
            <span>"Sandcastle"</span>
        </a>
    }
    .into_any()
}

/// The bar on top of every page but the workbench.
#[component]
pub fn TopBar(
    /// A document's theme form; other pages have the button.
    #[prop(optional)]
    theme: Option<AnyView>,
) -> impl IntoView {
    view! {
        <header class="topbar">
            <Brand />
            <nav aria-label="Main">
                <a class="link" href="/runs">"Runs"</a>
                <a class="link" href="/settings">"Settings"</a>
                {theme.unwrap_or_else(|| view! { <ThemeButton /> }.into_any())}
            </nav>
        </header>
    }
    .into_any()
}

/// A moment in the past: the date first (the same on both sides), how long ago once the browser's clock is known.
#[component]
pub fn Ago(
    /// Unix ms.
    at: u64,
) -> impl IntoView {
    let now = use_now();
    let text = move || match now.get() {
        Some(now) => format::ago(at, now),
        None => format::day(at),
    };
    view! { <time class="ago">{live::text(text)}</time> }.into_any()
}

/// The browser's clock, or nothing before hydration is done. One timer serves the whole page.
pub fn use_now() -> RwSignal<Option<u64>> {
    if let Some(Clock(now)) = use_context::<Clock>() {
        return now;
    }
    RwSignal::new(None)
}

#[derive(Clone, Copy)]
struct Clock(RwSignal<Option<u64>>);

/// Provides the clock that [`use_now`] reads; called once by the app.
pub fn provide_clock() {
    let now = RwSignal::new(None);
    provide_context(Clock(now));
    effect(move || {
        now.set(Some(browser::now_ms()));
        let tick = move || now.set(Some(browser::now_ms()));
        // It lives as long as the page.
        let _ = set_interval_with_handle(tick, std::time::Duration::from_secs(1));
    });
}

/// What a panel shows when there is nothing to show, and why.
#[component]
pub fn Empty(
    /// Icon above the words.
    icon: &'static str,
    /// What is the case.
    #[prop(into)]
    title: Signal<String>,
    /// What will change it.
    #[prop(into)]
    text: Signal<String>,
    /// Buttons.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    view! {
        <div class="empty">
            <Icon name=icon />
            <h3>{live::text(move || title.get())}</h3>
            <p>{live::text(move || text.get())}</p>
            {children.map(|children| children())}
        </div>
    }
    .into_any()
}

/// The last action's failure, said where the person looks; dismissed by the next one or its own button.
#[component]
pub fn Notice(
    /// The failure.
    error: RwSignal<Option<ApiError>>,
) -> impl IntoView {
    live::view(move || {
        error.get().map(|failure| {
            view! {
                <div class="notice" role="alert">
                    <Icon name="alert" />
                    <span>{failure.message}</span>
                    <button class="icon-button" type="button" aria-label="Dismiss" on:click=on(move |_| error.set(None))>
                        <Icon name="close" />
                    </button>
                </div>
            }
        })
    })
    .into_any()
}
