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
    /// Models that are being tried, and those that could not be.
    pub trials: Vec<TrialRow>,
    /// Whether the page is loaded again by itself while they are: then it has no form in which something could be lost.
    pub following: bool,
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

/// A trial of a model.
pub struct TrialRow {
    /// The model's id.
    pub id: String,
    /// What it showed so far, or why it could not be tried.
    pub words: String,
    /// Whether it goes on.
    pub running: bool,
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
    let ModelsPage { endpoints, problem, trials, following, search, models, more, typed } = page;
    let trials = (!trials.is_empty()).then(|| view! { <Trials trials following /> });
    let words = search.clone();
    let endpoints = (!following).then(|| view! { <Endpoints endpoints problem search=words typed /> });
    view! {
        {trials}
        {endpoints}
        <Found search models more following />
    }
    .into_any()
}

#[component]
fn Trials(trials: Vec<TrialRow>, following: bool) -> impl IntoView {
    let running = trials.iter().any(|trial| trial.running);
    let rows = trials.into_iter().map(|TrialRow { id, words, running }| {
        let (state, words) = match (running, words.is_empty()) {
            (true, true) => ("working", "waiting for the first answer".to_owned()),
            (true, false) => ("working", words),
            (false, _) => ("failed", format!("could not be tried: {words}")),
        };
        view! {
            <li>
                <div><code>{id}</code><small>{words}</small></div>
                <span class="dot" data-state=state></span>
            </li>
        }
    });
    let rows: Vec<_> = rows.collect();
    let way = match (following, running) {
        (true, _) => {
            Some(view! { <p>"Results show here as they come. "<a href=HERE>"Stop following"</a></p> }.into_any())
        }
        (false, true) => {
            Some(view! { <p><a href=format!("{HERE}?follow=true")>"Follow the results"</a></p> }.into_any())
        }
        (false, false) => None,
    };
    view! {
        <Section name="Being tried">
            <ul class="rows">{rows}</ul>
            {way}
        </Section>
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
                    <input class="input" name="name" required autocomplete="off" placeholder="OpenRouter" value=typed_name />
                </Field>
                <Field label="Address">
                    <input class="input" name="url" required autocomplete="url" list="known" placeholder=KNOWN[0] value=typed_url />
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
fn Found(search: String, models: Vec<ModelRow>, more: usize, following: bool) -> impl IntoView {
    let nothing = models.is_empty();
    let again = search.clone();
    let field = (!following).then(|| {
        view! {
            <form class="fields" action=HERE>
                <Field label="Search">
                    <input class="input" type="search" name="q" value=search />
                </Field>
                <button class="button">"Search"</button>
            </form>
        }
    });
    let rows: Vec<_> = models.into_iter().map(|model| view! { <Row model search=again.clone() /> }).collect();
    view! {
        <Section name="Models">
            {field}
            <p>
                "A short trial finds out how a model takes tools and what it can do. Models nobody is billed for are tried by themselves when they are chosen first: those of servers on this machine, and of endpoints in your own network or without a key. Any other may cost money, so it is tried only when you press “Try it”."
            </p>
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
