//! Documents: settings, sign-in, errors. Nothing here is ever compiled into the browser's download, because nothing there
//! names it; so nothing here may need code in the browser.

use crate::domain::ApiError;
use crate::ui::kit::{Brand, Icon, ThemeForm, TopBar};
use crate::ui::page::{Document, SettingsPage, Theme};
use leptos::prelude::*;

/// A document, whole: what stands inside `<body>`.
#[component]
pub fn DocumentView(
    /// What to show.
    document: Document,
    /// The theme it is shown in.
    theme: Theme,
) -> impl IntoView {
    match document {
        Document::Settings(facts) => view! { <Settings facts=*facts theme /> }.into_any(),
        Document::Login { next } => view! { <Login next /> }.into_any(),
        Document::Error { error, status } => view! { <ErrorPage error status /> }.into_any(),
        Document::Plain { title, back: (to, words), html } => view! {
            <main class="plain">
                <nav><a href=to>"‹ " {words}</a></nav>
                <h1>{title}</h1>
                <div class="plain-body" inner_html=html></div>
            </main>
        }
        .into_any(),
    }
}

/// The page at `/settings`: facts about this server, and how to change them.
#[component]
fn Settings(
    /// The facts.
    facts: SettingsPage,
    /// The theme it is shown in.
    theme: Theme,
) -> impl IntoView {
    let SettingsPage { version, model_endpoint, default_model, demo, key_set, checks, preview_domain } = facts;
    let healthy = checks.iter().all(|check| check.ok);
    let checks = checks
        .into_iter()
        .map(|check| {
            view! {
                <li class="check" data-ok=check.ok.to_string()>
                    <Icon name=if check.ok { "check" } else { "alert" } />
                    <span>{check.name}</span>
                    <p>{check.detail}</p>
                </li>
            }
        })
        .collect_view();
    let model = if demo {
        view! {
            <p>"No model is connected. Recorded answers build the sample prompts; everything they do is real."</p>
            <h3>"Connect a model"</h3>
            <p>"Set these in the environment or in "<code>".env.local"</code>" and start the server again. Any OpenAI-compatible endpoint works, also one on this machine."</p>
            <pre class="snippet">"AI_GATEWAY_API_KEY=…              # a key, for the gateway or your provider\nAI_GATEWAY_BASE_URL=https://…/v1  # any OpenAI-compatible endpoint\nAI_MODEL=…                        # the model to use by default"</pre>
        }
        .into_any()
    } else {
        view! {
            <dl class="facts">
                <dt>"Endpoint"</dt>
                <dd>{model_endpoint.unwrap_or_default()}</dd>
                <dt>"Default model"</dt>
                <dd>{default_model}</dd>
                <dt>"Key"</dt>
                <dd>{if key_set { "set, never shown" } else { "none" }}</dd>
            </dl>
        }
        .into_any()
    };
    view! {
        <TopBar theme=view! { <ThemeForm theme path="/settings".to_owned() /> }.into_any() />
        <main class="page narrow">
            <h1>"Settings"</h1>
            <section class="panel">
                <h2>"Model"</h2>
                {model}
                <p><a href="/settings/models">"Endpoints, keys and models"</a></p>
                <p><a href="/settings/keys">"Keys for programs"</a></p>
            </section>
            <section class="panel">
                <h2>"Sandbox"</h2>
                <p>
                    {if healthy {
                        "Apps run isolated."
                    } else {
                        "Something is missing. Each line says how to mend it."
                    }}
                </p>
                <ul class="checks">{checks}</ul>
            </section>
            <section class="panel">
                <h2>"Server"</h2>
                <dl class="facts">
                    <dt>"Version"</dt>
                    <dd>{version}</dd>
                    <dt>"Previews"</dt>
                    <dd><code>{format!("{{port}}-{{sandbox}}.{preview_domain}")}</code></dd>
                    <dt>"For programs"</dt>
                    <dd><a href="/api/openapi.json">"OpenAPI description"</a></dd>
                </dl>
            </section>
        </main>
    }
    .into_any()
}

/// The page at `/login`.
#[component]
fn Login(
    /// Where to go afterwards.
    next: String,
) -> impl IntoView {
    view! {
        <main class="center">
            <Icon name="mark" />
            <h1>"Sandcastle"</h1>
            <p class="muted">"This server is open to the network and asks for its access token."</p>
            <form class="login" method="post" action="/login">
                <input type="hidden" name="next" value=next />
                <label>
                    <span>"Access token"</span>
                    <input class="input" type="password" name="token" required autofocus autocomplete="current-password" />
                </label>
                <button class="button primary" type="submit">"Sign in"</button>
            </form>
            <p class="muted small">"It is the value of "<code>"SANDCASTLE_ACCESS_TOKEN"</code>" on the server."</p>
        </main>
    }
    .into_any()
}

/// Any failure.
#[component]
fn ErrorPage(
    /// What happened.
    error: ApiError,
    /// The HTTP status.
    status: u16,
) -> impl IntoView {
    let title = match status {
        404 => "There is nothing here",
        401 | 403 => "This is not allowed",
        _ => "Something went wrong",
    };
    view! {
        <header class="topbar">
            <Brand />
        </header>
        <main class="center">
            <p class="status-code">{status}</p>
            <h1>{title}</h1>
            <p class="muted">{error.message}</p>
            {error.request_id.map(|id| view! { <p class="muted small">"Request "<code>{id}</code></p> })}
            <a class="button" href="/">"To your projects"</a>
        </main>
    }
    .into_any()
}
