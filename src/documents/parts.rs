//! Pieces that the documents share: the frame around a page, its parts, and forms.

use crate::domain::ProjectId;
use crate::ui::Theme;
use crate::ui::kit::{Icon, TopBar};
use leptos::prelude::*;

/// Where the link above a page's heading leads.
pub(super) enum Parent {
    /// The home page.
    Home,
    /// The settings of this server.
    Settings,
    /// A project's workbench.
    Project(ProjectId),
    /// A list of runs, by its address.
    Runs(String),
}

/// What a page begins with.
pub(super) struct Head {
    /// The heading.
    pub name: &'static str,
    /// The theme it is shown in.
    pub theme: Theme,
    /// Why the form that was sent has changed nothing.
    pub problem: Option<String>,
}

/// A page: the bar, the way back, the heading, and what stands below.
#[component]
pub(super) fn Frame(
    /// Its beginning.
    head: Head,
    /// Its path and query.
    #[prop(into)]
    here: String,
    /// What it belongs to.
    #[prop(optional)]
    under: Option<Parent>,
    /// For what has long lines.
    #[prop(optional)]
    wide: bool,
    children: Children,
) -> impl IntoView {
    let Head { name, theme, problem } = head;
    let back = under.map(|under| {
        let (to, words) = match under {
            Parent::Home => ("/".to_owned(), "‹ Home"),
            Parent::Settings => ("/settings".to_owned(), "‹ Settings"),
            Parent::Runs(list) => (list, "‹ Runs"),
            Parent::Project(project) => (format!("/p/{project}"), "‹ Back to the project"),
        };
        view! { <nav class="crumbs" aria-label="Back"><a class="link" href=to>{words}</a></nav> }
    });
    view! {
        <TopBar theme=view! { <ThemeForm theme here /> }.into_any() />
        <main class=if wide { "page" } else { "page narrow" }>
            <div>
                {back}
                <h1>{name}</h1>
            </div>
            {problem.map(|problem| view! { <Problem problem /> })}
            {children()}
        </main>
    }
    .into_any()
}

/// What went wrong, said above what it is about.
#[component]
pub(super) fn Problem(problem: String) -> impl IntoView {
    view! { <div class="notice" role="alert"><Icon name="alert" /><span>{problem}</span></div> }.into_any()
}

/// The theme button of a page that runs no code: a form that the server answers with the cookie.
#[component]
fn ThemeForm(theme: Theme, here: String) -> impl IntoView {
    view! {
        <form method="post" action="/theme">
            <input type="hidden" name="next" value=here />
            <button class="icon-button" name="theme" value=theme.next().slug() aria-label=theme.label() title=theme.label()>
                <Icon name=theme.icon() />
            </button>
        </form>
    }
    .into_any()
}

/// A part of a page under a heading of its own.
#[component]
pub(super) fn Section(
    /// The heading.
    name: &'static str,
    /// What an address may point at.
    #[prop(optional)]
    id: Option<&'static str>,
    children: Children,
) -> impl IntoView {
    view! {
        <section class="panel" id=id>
            <h2>{name}</h2>
            {children()}
        </section>
    }
    .into_any()
}

/// A form whose fields and button share a line where there is room.
#[component]
pub(super) fn Form(
    /// Where it is sent.
    #[prop(into)]
    action: String,
    /// What it sends besides what a person fills in.
    #[prop(optional)]
    hidden: Vec<(&'static str, String)>,
    children: Children,
) -> impl IntoView {
    view! {
        <form class="fields" method="post" action=action>
            <Hidden fields=hidden />
            {children()}
        </form>
    }
    .into_any()
}

/// A button that is a form of its own.
#[component]
pub(super) fn PostButton(
    /// Where it is sent.
    #[prop(into)]
    action: String,
    /// What it sends.
    hidden: Vec<(&'static str, String)>,
    /// Its name, where its words alone do not say on what it acts.
    #[prop(optional, into)]
    label: Option<String>,
    /// Whether it is on, if it switches something.
    #[prop(optional, into)]
    pressed: Option<bool>,
    /// What will be lost. Then it opens a question, whose own button does it.
    #[prop(optional, into)]
    confirm: Option<String>,
    children: ChildrenFn,
) -> impl IntoView {
    let Some(loss) = confirm else {
        return view! {
            <form method="post" action=action>
                <Hidden fields=hidden />
                <button class="button small" aria-label=label aria-pressed=pressed.map(|on| on.to_string())>{children()}</button>
            </form>
        }
        .into_any();
    };
    view! {
        <details class="ask">
            <summary class="button small" aria-label=label.clone()>{children()}</summary>
            <form method="post" action=action>
                <Hidden fields=hidden />
                <p>{loss}</p>
                <button class="button small danger" aria-label=label>{children()}</button>
            </form>
        </details>
    }
    .into_any()
}

#[component]
pub(super) fn Hidden(fields: Vec<(&'static str, String)>) -> impl IntoView {
    fields
        .into_iter()
        .map(|(name, value)| view! { <input type="hidden" name=name value=value /> })
        .collect_view()
        .into_any()
}

/// A field with its label above it.
#[component]
pub(super) fn Field(
    /// The label.
    label: &'static str,
    children: Children,
) -> impl IntoView {
    view! {
        <label>
            <span>{label}</span>
            {children()}
        </label>
    }
    .into_any()
}
