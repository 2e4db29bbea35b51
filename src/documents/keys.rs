//! `/settings/keys`: keys of programs, a new one, the end of one.

use super::parts::{Field, Form, PostButton, Section};
use crate::ui::kit::format::day;
use leptos::prelude::*;

const HERE: &str = "/settings/keys";

/// What the page shows.
pub struct KeysPage {
    /// All keys.
    pub keys: Vec<KeyRow>,
    /// The key that was made just now.
    pub made: Option<NewKey>,
    /// The name that was typed for one that could not be made.
    pub typed: String,
}

/// A key, without its secret.
pub struct KeyRow {
    /// Its id.
    pub id: String,
    /// What a person called it.
    pub name: String,
    /// Its last characters.
    pub hint: String,
    /// What it opens: `e2b` or `trigger`.
    pub kind: &'static str,
    /// When it was made (Unix ms).
    pub created_at: u64,
    /// The sandboxes it made, if it can make any.
    pub sandboxes: Option<usize>,
}

/// A new key, in the one page that shows it.
pub struct NewKey {
    /// What a person called it.
    pub name: String,
    /// The environment variable that programs read it from.
    pub variable: &'static str,
    /// The key.
    pub secret: String,
}

#[component]
pub(super) fn Keys(page: KeysPage) -> impl IntoView {
    let KeysPage { keys, made, typed } = page;
    let nothing = keys.is_empty();
    let rows: Vec<_> = keys.into_iter().map(|key| view! { <Row key /> }).collect();
    view! {
        {made.map(|key| view! { <Made key /> })}
        <Section name="Keys">
            <p>
                "An e2b key opens this server to the e2b packages, a trigger key to Trigger.dev's. Each e2b key sees what it made and nothing else; when it is revoked, its sandboxes end and its snapshots and templates are deleted."
            </p>
            {nothing.then(|| view! { <p>"There are none."</p> })}
            <ul class="rows">{rows}</ul>
        </Section>
        <Section name="New key">
            <Form action=HERE hidden=vec![("set", "create".to_owned())]>
                <Field label="Name">
                    <input class="input" name="name" required maxlength="80" placeholder="laptop" value=typed />
                </Field>
                <Field label="Opens">
                    <select class="input" name="kind">
                        <option value="e2b">"the e2b API"</option>
                        <option value="trigger">"the Trigger.dev API"</option>
                    </select>
                </Field>
                <button class="button">"Make a key"</button>
            </Form>
        </Section>
    }
    .into_any()
}

#[component]
fn Made(key: NewKey) -> impl IntoView {
    let NewKey { name, variable, secret } = key;
    view! {
        <section class="panel" role="status">
            <h2>{format!("{name} was made")}</h2>
            <p>"Copy it now: it is shown this once and stored as a digest only."</p>
            <pre class="snippet whole"><code>{format!("{variable}={secret}")}</code></pre>
        </section>
    }
    .into_any()
}

#[component]
fn Row(key: KeyRow) -> impl IntoView {
    let KeyRow { id, name, hint, kind, created_at, sandboxes } = key;
    let uses = match sandboxes {
        None => String::new(),
        Some(1) => " · 1 sandbox".to_owned(),
        Some(count) => format!(" · {count} sandboxes"),
    };
    let facts = format!("{kind} · {}{uses}", day(created_at));
    let label = format!("Revoke {name}");
    let loss = match kind {
        "e2b" => {
            "Programs with this key are refused from now on. Its sandboxes end; its snapshots and templates are \
             deleted. This cannot be undone."
        }
        _ => "Programs with this key are refused from now on. This cannot be undone.",
    };
    view! {
        <li>
            <div>
                <strong>{name}</strong>
                <small><code>{format!("…{hint}")}</code>{format!(" · {facts}")}</small>
            </div>
            <PostButton action=HERE hidden=vec![("set", "revoke".to_owned()), ("name", id)] label confirm=loss>"Revoke"</PostButton>
        </li>
    }
    .into_any()
}
