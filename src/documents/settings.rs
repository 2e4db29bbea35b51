//! `/settings`: facts about this server, and how to change them.

use super::parts::Section;
use crate::ui::kit::Icon;
use leptos::prelude::*;

/// What the page shows: facts, no secrets.
#[derive(Default)]
pub struct SettingsPage {
    /// Version of this server.
    pub version: String,
    /// Host of the model endpoint that was set when the server started, for instance `ai-gateway.vercel.sh`.
    pub model_endpoint: Option<String>,
    /// The model used unless a message names one.
    pub default_model: String,
    /// Whether nothing but the recorded demo can answer.
    pub demo: bool,
    /// Whether a key for the model endpoint is set (it is never shown).
    pub key_set: bool,
    /// What `sandcastle doctor` found.
    pub checks: Vec<Check>,
    /// Domain under which previews live.
    pub preview_domain: String,
}

/// One line of the doctor.
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found and, if not ok, how to fix it.
    pub detail: String,
}

#[component]
pub(super) fn Settings(page: SettingsPage) -> impl IntoView {
    let SettingsPage { version, model_endpoint, default_model, demo, key_set, checks, preview_domain } = page;
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
            <p><a class="button primary" href="/settings/models">"Add a model"</a></p>
            <p>
                "Any OpenAI-compatible endpoint works, also one on this machine. Instead, it can be set in the environment or in "
                <code>".env.local"</code>" before the server starts:"
            </p>
            <pre class="snippet">"AI_GATEWAY_API_KEY=…              # a key, for the gateway or your provider\nAI_GATEWAY_BASE_URL=https://…/v1  # any OpenAI-compatible endpoint\nAI_MODEL=…                        # the model to use by default"</pre>
        }
        .into_any()
    } else {
        let endpoint = model_endpoint.map(|endpoint| {
            view! {
                <dt>"Endpoint"</dt>
                <dd>{endpoint}</dd>
                <dt>"Key"</dt>
                <dd>{if key_set { "set, never shown" } else { "none" }}</dd>
            }
        });
        view! {
            <dl class="facts">
                <dt>"Default model"</dt>
                <dd>{default_model}</dd>
                {endpoint}
            </dl>
        }
        .into_any()
    };
    view! {
        <Section name="Model">
            {model}
            <p><a href="/settings/models">"Endpoints, keys and models"</a></p>
            <p><a href="/settings/keys">"Keys for programs"</a></p>
        </Section>
        <Section name="Sandbox">
            <p>
                {if healthy {
                    "Apps run isolated."
                } else {
                    "Something is missing. Each line says what to do."
                }}
            </p>
            <ul class="checks">{checks}</ul>
        </Section>
        <Section name="Server">
            <dl class="facts">
                <dt>"Version"</dt>
                <dd>{version}</dd>
                <dt>"Previews"</dt>
                <dd><code>{format!("{{port}}-{{sandbox}}.{preview_domain}")}</code></dd>
                <dt>"For programs"</dt>
                <dd><a href="/api/openapi.json">"OpenAPI description"</a></dd>
            </dl>
        </Section>
    }
    .into_any()
}
