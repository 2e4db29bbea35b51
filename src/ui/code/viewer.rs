//! A file, read-only, with line numbers; or a draft, growing.

use crate::domain::Change;
use crate::ui::browser;
use crate::ui::kit::{Empty, Icon, bytes, effect, live, memo, on};
use crate::ui::page::{FileBody, FileView};
use crate::ui::workbench::Workbench;
use leptos::html;
use leptos::prelude::*;

/// A file of the workspace.
#[component]
pub fn Viewer(
    /// The file.
    file: FileView,
) -> impl IntoView {
    let FileView { path, size, language, body } = file;
    let lines = match &body {
        FileBody::Text { lines, .. } => lines.len(),
        FileBody::Binary | FileBody::Missing => 0,
    };
    let facts = match body {
        FileBody::Text { .. } => {
            let language = if language.is_empty() { language } else { format!("{language} · ") };
            format!("{language}{lines} lines · {}", bytes(size))
        }
        FileBody::Binary => bytes(size),
        FileBody::Missing => String::new(),
    };
    let view = match body {
        FileBody::Text { lines, .. } if lines.is_empty() => {
            view! { <Empty icon="file" title="This file is empty" text="It is in the workspace, with nothing in it." /> }
                .into_any()
        }
        FileBody::Text { lines, truncated } => {
            let count = lines.len();
            // Highlighted and escaped on the server (`render::highlight`).
            let html = lines.join("\n");
            view! {
                <div class="source">
                    <pre class="gutter" aria-hidden="true">{numbers(count)}</pre>
                    <pre class="lines"><code inner_html=html></code></pre>
                </div>
                {truncated.then(|| view! { <p class="cut">"The file goes on. Download the project to read all of it."</p> })}
            }
            .into_any()
        }
        FileBody::Binary => {
            view! { <Empty icon="file" title="Not a text file" text="Download the project to use it." /> }.into_any()
        }
        FileBody::Missing => {
            view! { <Empty icon="file" title="This file is gone" text="It was deleted or moved." /> }.into_any()
        }
    };
    let copied = path.clone();
    view! {
        <div class="file-head">
            <span class="file-path">{path}</span>
            <span class="file-facts">{facts}</span>
            <button class="icon-button" type="button" aria-label="Copy path" title="Copy path" on:click=on(move |_| browser::copy(&copied))>
                <Icon name="copy" />
            </button>
        </div>
        <div class="file-body">{view}</div>
    }
    .into_any()
}

/// A file the model is writing.
#[component]
pub fn Draft(
    /// Its path.
    path: String,
) -> impl IntoView {
    let store = Workbench::here().store;
    let wanted = path.clone();
    let text = memo(move || {
        store.read(Change::Drafts, |s| {
            s.drafts.iter().find(|d| d.path == wanted).map(|d| d.text.clone()).unwrap_or_default()
        })
    });
    let count = memo(move || text.with(|text| text.split('\n').count()));
    let body = NodeRef::<html::Div>::new();
    // The end is kept in sight unless the person scrolled up.
    let follow = RwSignal::new(true);
    effect(move || {
        text.track();
        if follow.get_untracked()
            && let Some(body) = body.get()
        {
            body.set_scroll_top(body.scroll_height());
        }
    });
    let on_scroll = move |_| {
        if let Some(body) = body.get_untracked() {
            follow.set(body.scroll_height() - body.scroll_top() - body.client_height() < 60);
        }
    };
    view! {
        <div class="file-head">
            <span class="file-path">{path}</span>
            <span class="file-facts shimmer">"being written"</span>
        </div>
        <div class="file-body" node_ref=body on:scroll=on(on_scroll)>
            <div class="source draft">
                <pre class="gutter" aria-hidden="true">{live::text(move || numbers(count.get()))}</pre>
                <pre class="lines"><code>{live::text(move || text.get())}</code></pre>
            </div>
        </div>
    }
    .into_any()
}

fn numbers(count: usize) -> String {
    (1..=count).map(|n| n.to_string()).collect::<Vec<_>>().join("\n")
}
