//! Files: the tree of the workspace and the file looked at, also while the model is still writing it.

mod tree;
mod viewer;

use crate::domain::{ApiError, Change, FileNode};
use crate::server_fns::{list_files, open_file};
use crate::ui::kit::{Empty, live, memo};
use crate::ui::page::FileView;
use crate::ui::workbench::{Split, Splitter, Workbench};
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
    keep_tree_fresh(bench, files);

    // Without a choice, what the model writes is followed.
    let followed = memo(move || store.read(Change::Drafts, |s| s.drafts.last().map(|d| d.path.clone())));
    let path = memo(move || bench.file.get().or_else(|| followed.get()));
    let drafted = memo(move || {
        let path = path.get()?;
        store.read(Change::Drafts, |s| s.drafts.iter().any(|d| d.path == path)).then_some(path)
    });
    let shown = RwSignal::new(open_file.map_or(Shown::Nothing, |file| Shown::File(Box::new(file))));
    keep_file_fresh(bench, path, drafted, shown);

    let view = move || match (drafted.get(), shown.get()) {
        (Some(path), _) => view! { <Draft path /> }.into_any(),
        (None, Shown::File(file)) => view! { <Viewer file=*file /> }.into_any(),
        (None, Shown::Loading) => view! { <div class="skeleton" aria-label="Loading"></div> }.into_any(),
        (None, Shown::Failed(error)) => {
            view! { <Empty icon="alert" title="The file could not be read" text=error.message /> }.into_any()
        }
        (None, Shown::Nothing) => {
            view! { <Empty icon="file" title="No file open" text="Choose one in the list to read it here." /> }
                .into_any()
        }
    };
    let none = move || files.with(Vec::is_empty) && followed.get().is_none();
    view! {
        <div class="code" data-empty=live::text(move || none().to_string())>
            <div class="code-none">
                <Empty icon="folder" title="No files yet" text="They appear here while the agent writes them." />
            </div>
            <Tree files path />
            <Splitter split=Split::Tree />
            <div class="code-file">{live::view(view)}</div>
        </div>
    }
    .into_any()
}

/// Reads the tree again after changes, at most twice a second.
fn keep_tree_fresh(bench: Workbench, files: RwSignal<Vec<FileNode>>) {
    let store = bench.store;
    let pending = StoredValue::new(false);
    Effect::new(move |first: Option<u64>| {
        let rev = store.read(Change::Files, |state| state.files_rev);
        if first.is_some_and(|before| before != rev) && !pending.get_value() {
            pending.set_value(true);
            let refresh = move || {
                pending.set_value(false);
                spawn_local(async move {
                    // The old tree stays if the server cannot be asked; the pill says that it is away.
                    if let Ok(tree) = list_files(store.id()).await {
                        files.set(tree);
                    }
                });
            };
            set_timeout(refresh, std::time::Duration::from_millis(400));
        }
        rev
    });
}

/// Reads the open file when another is chosen and when files changed.
fn keep_file_fresh(
    bench: Workbench,
    path: Memo<Option<String>>,
    drafted: Memo<Option<String>>,
    shown: RwSignal<Shown>,
) {
    let store = bench.store;
    Effect::new(move |before: Option<(Option<String>, u64)>| {
        let rev = store.read(Change::Files, |state| state.files_rev);
        let path = path.get();
        let now = (path.clone(), rev);
        let (Some(wanted), None) = (path, drafted.get()) else { return now };
        let have = shown.with_untracked(|s| matches!(s, Shown::File(file) if file.path == wanted));
        // The page came with this file.
        if before.is_none() && have {
            return now;
        }
        if !have {
            shown.set(Shown::Loading);
        }
        spawn_local(async move {
            let answer = open_file(store.id(), wanted.clone()).await;
            // Another file may have been chosen meanwhile.
            let current = bench.file.get_untracked();
            if current.is_none_or(|current| current == wanted) {
                shown.set(answer.map_or_else(Shown::Failed, |file| Shown::File(Box::new(file))));
            }
        });
        now
    });
}
