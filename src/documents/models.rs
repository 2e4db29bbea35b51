//! `/settings/models`: endpoints with their keys, what each model is known to do, favourites.

use super::parts::{Field, Form, PostButton, Problem, Section};
use crate::llm::{ModelInfo, ModelSource};
use leptos::prelude::*;

const HERE: &str = "/settings/models";
/// Endpoints that many people use.
const KNOWN: [&str; 6] = [
    "https://openrouter.ai/api/v1",
    "https://api.openai.com/v1",
    "https://api.anthropic.com/v1",
    "https://generativelanguage.googleapis.com/v1beta/openai",
    "https://ai-gateway.vercel.sh/v1",
    "http://127.0.0.1:11434/v1",
];

/// What the page shows.
pub struct ModelsPage {
    /// Endpoints that were added.
    pub endpoints: Vec<EndpointRow>,
    /// Why models are missing from the list.
    pub problem: Option<String>,
    /// Words that are searched for.
    pub search: String,
    /// The models found, as far as they are shown.
    pub models: Vec<ModelRow>,
    /// Models found that are not shown.
    pub more: usize,
    /// Name and address that were typed for an endpoint that could not be added. Its key is not given back.
    pub typed: (String, String),
}

/// An endpoint, without its key.
pub struct EndpointRow {
    /// What the ids of its models begin with.
    pub prefix: String,
    /// Its name for people.
    pub name: String,
    /// Where it is.
    pub base_url: String,
    /// Whether it has a key.
    pub key_set: bool,
}

/// A model and what is known of it.
pub struct ModelRow {
    /// The model.
    pub info: ModelInfo,
    /// Whether a person marked it.
    pub favourite: bool,
    /// What it is good for, if it was tried.
    pub badge: Option<&'static str>,
}

#[component]
pub(super) fn Models(page: ModelsPage) -> impl IntoView {
    let ModelsPage { endpoints, problem, search, models, more, typed } = page;
    view! {
        <Endpoints endpoints problem search=search.clone() typed />
        <Found search models more />
    }
    .into_any()
}

#[component]
fn Endpoints(
    endpoints: Vec<EndpointRow>,
    problem: Option<String>,
    search: String,
    typed: (String, String),
) -> impl IntoView {
    let (typed_name, typed_url) = typed;
    let rows = endpoints.into_iter().map(|endpoint| {
        let EndpointRow { prefix, name, base_url, key_set } = endpoint;
        let label = format!("Remove {name}");
        let hidden = vec![("set", "remove".to_owned()), ("name", prefix), ("q", search.clone())];
        let key = if key_set { "Its key is deleted, and its models" } else { "Its models" };
        let loss = format!("{key} can no longer be chosen. Projects that use one of them need another.");
        view! {
            <li>
                <div>
                    <strong>{name}</strong>
                    <small><code>{base_url}</code>{if key_set { " · key set" } else { " · no key" }}</small>
                </div>
                <PostButton action=HERE hidden label confirm=loss>"Remove"</PostButton>
            </li>
        }
    });
    let rows: Vec<_> = rows.collect();
    let known: Vec<_> = KNOWN.into_iter().map(|url| view! { <option value=url></option> }).collect();
    view! {
        <Section name="Endpoints">
            {problem.map(|problem| view! { <Problem problem /> })}
            <ul class="rows">{rows}</ul>
            <Form action=HERE hidden=vec![("set", "endpoint".to_owned())]>
                <Field label="Name">
                    <input class="input" name="name" required placeholder="OpenRouter" value=typed_name />
                </Field>
                <Field label="Address">
                    <input class="input" name="url" required list="known" placeholder=KNOWN[0] value=typed_url />
                </Field>
                <datalist id="known">{known}</datalist>
                <Field label="Key">
                    <input class="input" type="password" name="key" autocomplete="new-password" />
                </Field>
                <button class="button">"Add or change"</button>
            </Form>
            <p>
                "An empty key keeps the one that is set. Keys are encrypted on disk and never shown again. Servers on this machine (Ollama, LM Studio, llama.cpp, vLLM) are found by themselves."
            </p>
        </Section>
    }
    .into_any()
}

#[component]
fn Found(search: String, models: Vec<ModelRow>, more: usize) -> impl IntoView {
    let nothing = models.is_empty();
    let rows: Vec<_> = models.into_iter().map(|model| view! { <Row model search=search.clone() /> }).collect();
    view! {
        <Section name="Models">
            <form class="fields" action=HERE>
                <Field label="Search">
                    <input class="input" type="search" name="q" value=search />
                </Field>
                <button class="button">"Search"</button>
            </form>
            {nothing.then(|| view! { <p>"No model was found."</p> })}
            <ul class="rows">{rows}</ul>
            {(more > 0).then(|| view! { <p>{format!("{more} more; search for a part of the name.")}</p> })}
        </Section>
    }
    .into_any()
}

#[component]
fn Row(model: ModelRow, search: String) -> impl IntoView {
    let ModelRow { info, favourite, badge } = model;
    let facts = facts(&info, badge);
    let id = info.model.id;
    let fields = |set: &str| vec![("set", set.to_owned()), ("name", id.clone()), ("q", search.clone())];
    let (mark, probe) = (fields("favourite"), fields("probe"));
    let (mark_label, probe_label) = (format!("Favourite: {id}"), format!("Try it: {id}"));
    view! {
        <li>
            <div>
                <code>{id}</code>
                <small>{facts}</small>
            </div>
            <PostButton action=HERE hidden=mark label=mark_label pressed=favourite>
                {if favourite { "★ Favourite" } else { "☆ Favourite" }}
            </PostButton>
            <PostButton action=HERE hidden=probe label=probe_label>"Try it"</PostButton>
        </li>
    }
    .into_any()
}

/// The page's address with this search.
pub fn address(search: &str) -> String {
    if search.is_empty() {
        return HERE.to_owned();
    }
    let search: String = form_urlencoded::byte_serialize(search.as_bytes()).collect();
    format!("{HERE}?q={search}")
}

/// What is known of a model, in one line.
fn facts(info: &ModelInfo, badge: Option<&str>) -> String {
    let source = match &info.source {
        ModelSource::Provider => "configured provider".to_owned(),
        ModelSource::Endpoint { name } | ModelSource::Local { name } => name.clone(),
        ModelSource::Demo => "demo".to_owned(),
    };
    let mut facts = vec![source];
    facts.extend(info.context.map(|tokens| format!("{}k tokens", tokens / 1000)));
    facts.extend(info.price.map(|(input, output)| format!("${input:.2} in, ${output:.2} out per million")));
    facts.extend((info.images == Some(true)).then(|| "reads images".to_owned()));
    facts.push(badge.unwrap_or("not tried yet").to_owned());
    facts.join(" · ")
}
