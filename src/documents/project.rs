//! `/p/{project}/settings`: name, budget, auto-fix, secrets, network rules, and its end.

use super::parts::{Field, Form, PostButton, Section};
use crate::domain::{NetworkPolicy, ProjectId, Usage};
use crate::ui::kit::{Icon, compact, money};
use leptos::prelude::*;

/// What the page shows.
pub struct ProjectSettings {
    /// The project.
    pub project: ProjectId,
    /// Its name.
    pub name: String,
    /// What it has used.
    pub spent: Usage,
    /// The model that answers, if no price is known for it.
    pub unpriced: Option<String>,
    /// What it may cost, in millionths of a US dollar.
    pub budget: Option<u64>,
    /// Whether errors of the app are sent to the agent.
    pub auto_fix: bool,
    /// Names of its secrets.
    pub secrets: Vec<String>,
    /// What its sandbox may reach.
    pub policy: NetworkPolicy,
    /// What was typed into a form that changed nothing.
    pub typed: Typed,
}

/// A form of the page as it was sent. The value of a secret is not given back.
#[derive(Default)]
pub struct Typed {
    /// Which form.
    pub set: String,
    /// Its name, if it has one.
    pub name: String,
    /// Its value.
    pub value: String,
}

impl Typed {
    /// The value typed into this form.
    fn value_of(&self, set: &str) -> Option<String> {
        (self.set == set).then(|| self.value.clone())
    }
}

#[component]
pub(super) fn Project(page: ProjectSettings) -> impl IntoView {
    let ProjectSettings { project, name, spent, unpriced, budget, auto_fix, secrets, policy, typed } = page;
    let here = format!("/p/{project}/settings");
    let faults = format!("/p/{project}/faults");
    view! {
        <Name here=here.clone() name=typed.value_of("name").unwrap_or(name) />
        <Money here=here.clone() spent unpriced budget typed=typed.value_of("budget") />
        <AutoFix here=here.clone() faults on=auto_fix />
        <Secrets here=here.clone() names=secrets typed=if typed.set == "secret" { typed.name.clone() } else { String::new() } />
        <Network here=here.clone() policy typed=typed.value_of("rule_on") />
        <Section name="Delete">
            <p>"The project with its conversation, files, checkpoints and logs."</p>
            <PostButton action=here hidden=vec![("set", "delete".to_owned())] confirm=PROJECT_LOSS>"Delete project"</PostButton>
        </Section>
    }
    .into_any()
}

/// What goes with a project.
const PROJECT_LOSS: &str = "All of it is deleted from this server. This cannot be undone.";

#[component]
fn Name(here: String, name: String) -> impl IntoView {
    view! {
        <Section name="Name">
            <Form action=here hidden=vec![("set", "name".to_owned())]>
                <Field label="In the list of projects and above the chat">
                    <input class="input" name="value" required autocomplete="off" value=name />
                </Field>
                <button class="button">"Save"</button>
            </Form>
        </Section>
    }
    .into_any()
}

#[component]
fn Money(
    here: String,
    spent: Usage,
    unpriced: Option<String>,
    budget: Option<u64>,
    typed: Option<String>,
) -> impl IntoView {
    let Usage { input_tokens, output_tokens, cached_tokens, cost } = spent;
    let cost = cost.map_or_else(|| "no price known".to_owned(), money);
    let used = format!(
        "Used so far: {cost}, {} tokens sent ({} from caches), {} received.",
        compact(input_tokens),
        compact(cached_tokens),
        compact(output_tokens)
    );
    let warning = unpriced.map(|model| {
        let words = match budget {
            Some(_) => {
                format!("No price is known for {model}, so this budget cannot stop it: what it uses counts as nothing.")
            }
            None => {
                format!("No price is known for {model}, so a budget could not stop it: what it uses counts as nothing.")
            }
        };
        view! { <div class="notice"><Icon name="alert" /><span>{words}</span></div> }
    });
    let budget = typed.or_else(|| budget.map(|micro| format!("{:.2}", micro as f64 / 1e6)));
    view! {
        <Section name="Cost and budget">
            <p>{used}</p>
            {warning}
            <Form action=here hidden=vec![("set", "budget".to_owned())]>
                <Field label="Budget in US dollars; empty for none. The agent stops when it is used up.">
                    <input class="input" name="value" inputmode="decimal" value=budget />
                </Field>
                <button class="button">"Save"</button>
            </Form>
        </Section>
    }
    .into_any()
}

#[component]
fn AutoFix(here: String, faults: String, on: bool) -> impl IntoView {
    let (now, other) = if on { ("on", "off") } else { ("off", "on") };
    view! {
        <Section name="Auto-fix">
            <p>
                {format!("Errors of the running app are sent to the agent by themselves. It is {now}. ")}
                <a href=faults>"Errors so far"</a>
            </p>
            <Form action=here hidden=vec![("set", "auto_fix".to_owned()), ("value", other.to_owned())]>
                <button class="button">{format!("Switch it {other}")}</button>
            </Form>
        </Section>
    }
    .into_any()
}

/// What goes with a secret.
const SECRET_LOSS: &str = "Its value is deleted and cannot be shown again; commands that need it will fail.";

#[component]
fn Secrets(here: String, names: Vec<String>, typed: String) -> impl IntoView {
    let rows = names.into_iter().map(|name| {
        let (label, hidden) = (format!("Remove {name}"), vec![("set", "forget".to_owned()), ("name", name.clone())]);
        view! {
            <li>
                <div><code>{name}</code></div>
                <PostButton action=here.clone() hidden label confirm=SECRET_LOSS>"Remove"</PostButton>
            </li>
        }
    });
    let rows: Vec<_> = rows.collect();
    view! {
        <Section name="Secrets">
            <p>
                "Commands in the sandbox find them as environment variables. They are encrypted on disk, never shown again, and never told to a model. Restart the app after a change."
            </p>
            <ul class="rows">{rows}</ul>
            <Form action=here hidden=vec![("set", "secret".to_owned())]>
                <Field label="Name">
                    <input class="input" name="name" required autocomplete="off" spellcheck="false" placeholder="API_TOKEN" value=typed />
                </Field>
                <Field label="Value">
                    <input class="input" type="password" name="value" required autocomplete="new-password" />
                </Field>
                <button class="button">"Add or replace"</button>
            </Form>
        </Section>
    }
    .into_any()
}

/// What the sandbox may reach, with each rule's own button.
#[component]
fn Network(here: String, policy: NetworkPolicy, typed: Option<String>) -> impl IntoView {
    let allowed = policy.allow.into_iter().map(|rule| ("Allowed ", rule));
    let denied = policy.deny.into_iter().map(|rule| ("Denied ", rule));
    let rows = allowed.chain(denied).map(|(kind, rule)| {
        let (label, hidden) = (format!("Remove {rule}"), vec![("set", "rule_off".to_owned()), ("value", rule.clone())]);
        view! {
            <li>
                <div><span>{kind}<code>{rule}</code></span></div>
                <PostButton action=here.clone() hidden label>"Remove"</PostButton>
            </li>
        }
    });
    let rows: Vec<_> = rows.collect();
    view! {
        <Section name="Network" id="network">
            <p>
                "Rules about what the sandbox may reach; those that allow win. The mode for everything else is chosen under Logs, Network."
            </p>
            <ul class="rows">{rows}</ul>
            <Form action=here hidden=vec![("set", "rule_on".to_owned())]>
                <Field label="A name, address or network, with a port unless it is 80 or 443">
                    <input class="input" name="value" required autocomplete="off" spellcheck="false" placeholder="db.example.com:5432" value=typed />
                </Field>
                <button class="button">"Allow"</button>
            </Form>
        </Section>
    }
    .into_any()
}
