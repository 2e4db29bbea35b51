//! Files: the tree of the workspace and the file looked at, also while the model is still writing it.

mod tree;
mod viewer;

use crate::domain::{ApiError, Change, FileNode, Part};
use crate::server_fns::{list_files, open_file};
use crate::ui::kit::{Empty, Icon, live, memo, on};
use crate::ui::page::{FileView, Pane};
use crate::ui::store::Store;
use crate::ui::workbench::{Split, Splitter, Workbench};
use leptos::ev::MouseEvent;
use leptos::prelude::*;
use leptos::task::spawn_local;
use tree::Tree;
use viewer::{Draft, Viewer};

/// The file looked at.
#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Nothing,
    Loading,
    File(Box<FileView>),
    Failed(ApiError),
}

/// The Code pane.
#[component]
pub fn Code(
    /// The tree at first.
    files: Vec<FileNode>,
    /// The file open at first.
    open_file: Option<FileView>,
) -> impl IntoView {
    let bench = Workbench::here();
    let store = bench.store;
    let files = RwSignal::new(files);
    let again = RwSignal::new(0_u32);
    let retry = move |_| again.update(|n| *n += 1);
    let unlisted = RwSignal::new(None::<String>);
    keep_tree_fresh(bench, files, unlisted, again);

    // Without a choice, what the model writes is followed, and what it wrote last stays open.
    let followed = memo(move || {
        let drafted = store.read(Change::Drafts, |s| s.drafts.last().map(|d| d.path.clone()));
        drafted.or_else(|| (bench.pane.get() == Pane::Code).then(|| last_written(store, files)).flatten())
    });
    let path = memo(move || bench.file.get().or_else(|| followed.get()));
    let drafted = memo(move || {
        let path = path.get()?;
        store.read(Change::Drafts, |s| s.drafts.iter().any(|d| d.path == path)).then_some(path)
    });
    let shown = RwSignal::new(open_file.map_or(Shown::Nothing, |file| Shown::File(Box::new(file))));
    keep_file_fresh(bench, path, drafted, shown, again);

    let view = move || match (drafted.get(), shown.get()) {
        (Some(path), _) => view! { <Draft path /> }.into_any(),
        (None, Shown::File(file)) => view! { <Viewer file=*file /> }.into_any(),
        (None, Shown::Loading) => view! { <div class="skeleton" aria-label="Loading"></div> }.into_any(),
        (None, Shown::Failed(error)) => view! {
            <Empty icon="alert" title="The file could not be read" text=error.message>
                <Retry retry=Callback::new(retry) />
            </Empty>
        }
        .into_any(),
        (None, Shown::Nothing) => {
            view! { <Empty icon="file" title="No file open" text="Choose one in the list to read it here." /> }
                .into_any()
        }
    };
    let none = move || files.with(Vec::is_empty) && followed.get().is_none();
    view! {
        <div class="code" data-empty=live::text(move || none().to_string())>
            <div class="code-none">
                {live::view(move || match unlisted.get() {
                    None => {
                        view! { <Empty icon="folder" title="No files yet" text="They appear here while the agent writes them." /> }
                            .into_any()
                    }
                    Some(text) => {
                        view! {
                            <Empty icon="alert" title="The files could not be listed" text>
                                <Retry retry=Callback::new(retry) />
                            </Empty>
                        }
                        .into_any()
                    }
                })}
            </div>
            <Tree files path />
            <Splitter split=Split::Tree />
            <div class="code-file">{live::view(view)}</div>
        </div>
    }
    .into_any()
}

/// The file the agent wrote last, if it is there.
fn last_written(store: Store, files: RwSignal<Vec<FileNode>>) -> Option<String> {
    let written = |part: &Part| match part {
        Part::Tool(call) => call.files.iter().rev().find(|(_, done)| *done).map(|(path, _)| path.clone()),
        Part::Text { .. } | Part::Reasoning { .. } => None,
    };
    let path = store.read(Change::Files, |state| {
        state.messages.iter().rev().flat_map(|message| message.parts.iter().rev()).find_map(written)
    })?;
    fn lists(nodes: &[FileNode], path: &str) -> bool {
        nodes.iter().any(|node| node.path == path || lists(&node.children, path))
    }
    files.with(|nodes| lists(nodes, &path)).then_some(path)
}

#[component]
fn Retry(retry: Callback<MouseEvent>) -> impl IntoView {
    view! {
        <button class="button small" type="button" on:click=on(move |event: MouseEvent| retry.run(event))>
            <Icon name="reload" />
            "Retry"
        </button>
    }
    .into_any()
}

/// Takes a number for a question; the answer counts if nothing was asked since.
fn ask(last: StoredValue<u32>) -> impl Fn() -> bool {
    let mine = last.get_value().wrapping_add(1);
    last.set_value(mine);
    move || last.get_value() == mine
}

/// Reads the tree again after changes, at most twice a second.
fn keep_tree_fresh(
    bench: Workbench,
    files: RwSignal<Vec<FileNode>>,
    unlisted: RwSignal<Option<String>>,
    again: RwSignal<u32>,
) {
    let store = bench.store;
    let pending = StoredValue::new(false);
    let last = StoredValue::new(0_u32);
    Effect::new(move |before: Option<(u64, u32)>| {
        let now = (store.read(Change::Files, |state| state.files_rev), again.get());
        let changed = match before {
            Some(before) => before != now,
            // The page comes without a tree if it could not be read then.
            None => now.0 > 0 && files.with_untracked(Vec::is_empty),
        };
        if changed && !pending.get_value() {
            pending.set_value(true);
            let refresh = move || {
                pending.set_value(false);
                let newest = ask(last);
                spawn_local(async move {
                    let answer = list_files(store.id()).await;
                    if !newest() {
                        return;
                    }
                    // An old tree stays; only in place of one the failure is shown.
                    unlisted.set(answer.as_ref().err().map(|error| error.message.clone()));
                    if let Ok(tree) = answer {
                        files.set(tree);
                    }
                });
            };
            set_timeout(refresh, std::time::Duration::from_millis(400));
        }
        now
    });
}

/// Reads the open file when another is chosen and when files changed.
fn keep_file_fresh(
    bench: Workbench,
    path: Memo<Option<String>>,
    drafted: Memo<Option<String>>,
    shown: RwSignal<Shown>,
    again: RwSignal<u32>,
) {
    let store = bench.store;
    let last = StoredValue::new(0_u32);
    Effect::new(move |before: Option<()>| {
        store.read(Change::Files, |_| ());
        again.track();
        let (Some(wanted), None) = (path.get(), drafted.get()) else { return };
        let is_shown = |shown: &Shown, path: &str| matches!(shown, Shown::File(file) if file.path == path);
        let have = shown.with_untracked(|shown| is_shown(shown, &wanted));
        // The page came with this file.
        if before.is_none() && have {
            return;
        }
        if !have {
            shown.set(Shown::Loading);
        }
        let newest = ask(last);
        spawn_local(async move {
            let answer = open_file(store.id(), wanted.clone()).await;
            if !newest() {
                return;
            }
            match answer {
                Ok(file) => shown.set(Shown::File(Box::new(file))),
                // What is shown is a moment old, which is better than nothing.
                Err(error) if shown.with_untracked(|shown| is_shown(shown, &wanted)) => bench.failure.set(Some(error)),
                Err(error) => shown.set(Shown::Failed(error)),
            }
        });
    });
}
