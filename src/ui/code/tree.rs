//! The file tree as one flat list of visible rows, so that a change redraws only the rows it touches and what was
//! folded stays folded.

use crate::domain::{Change, FileKind, FileNode};
use crate::ui::kit::{Icon, bytes, live, memo, on};
use crate::ui::workbench::Workbench;
use leptos::attr::custom::custom_attribute;
use leptos::ev::KeyboardEvent;
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::web_sys::{Element, HtmlElement};
use std::collections::BTreeSet;

/// Directories with more entries start folded.
const MANY: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Row {
    path: String,
    name: String,
    depth: usize,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    File { size: u64 },
    Link,
    Folder { open: bool },
    // Has entries the server does not list.
    Closed,
    Draft,
}

/// The tree.
#[component]
pub fn Tree(
    /// The workspace.
    files: RwSignal<Vec<FileNode>>,
    /// Path of the open file.
    path: Memo<Option<String>>,
) -> impl IntoView {
    let bench = Workbench::here();
    let toggled = RwSignal::new(BTreeSet::<String>::new());
    let drafts = memo(move || {
        bench.store.read(Change::Drafts, |s| s.drafts.iter().map(|d| d.path.clone()).collect::<Vec<String>>())
    });
    let rows = memo(move || {
        let mut rows = Vec::new();
        files.with(|files| toggled.with(|toggled| flatten(files, 0, toggled, &mut rows)));
        let mut writing: Vec<Row> = Vec::new();
        for path in drafts.get() {
            match rows.iter_mut().find(|row| row.path == path) {
                Some(row) => row.kind = Kind::Draft,
                None => writing.push(Row { name: path.clone(), path, depth: 0, kind: Kind::Draft }),
            }
        }
        writing.append(&mut rows);
        writing
    });
    let toggle = move |path: String| {
        toggled.update(|set| {
            if !set.remove(&path) {
                set.insert(path);
            }
        });
    };
    let choose = Callback::new(move |row: Row| match row.kind {
        Kind::Folder { .. } => toggle(row.path),
        Kind::Closed => {}
        Kind::File { .. } | Kind::Link | Kind::Draft => bench.file.set(Some(row.path)),
    });
    view! {
        <div class="tree" role="tree" aria-label="Files" on:keydown=on(on_key)>
            {live::each(move || rows.get(), |row| format!("{row:?}"), move |row| view! { <TreeRow row path choose /> })}
        </div>
    }
    .into_any()
}

#[component]
fn TreeRow(row: Row, path: Memo<Option<String>>, choose: Callback<Row>) -> impl IntoView {
    let (icon, kind, note) = match row.kind {
        Kind::File { size } => ("file", "file", bytes(size)),
        Kind::Link => ("link", "file", "link".to_owned()),
        Kind::Folder { .. } => ("chevron", "folder", String::new()),
        Kind::Closed => ("folder", "closed", "not listed".to_owned()),
        Kind::Draft => ("edit", "draft", "writing".to_owned()),
    };
    let expanded = match row.kind {
        Kind::Folder { open } => Some(open.to_string()),
        _ => None,
    };
    let own = row.path.clone();
    let selected = move || path.with(|path| path.as_deref() == Some(own.as_str())).to_string();
    view! {
        <button
            class="tree-row"
            type="button"
            role="treeitem"
            data-kind=kind
            data-depth=row.depth.min(8).to_string()
            {..custom_attribute("aria-level", row.depth + 1)}
            aria-expanded=expanded
            aria-selected=live::text(selected)
            title=row.path.clone()
            on:click=on(move |_| choose.run(row.clone()))
        >
            <Icon name=icon />
            <span class="tree-name">{row.name.clone()}</span>
            <span class="tree-note">{note}</span>
        </button>
    }
    .into_any()
}

fn flatten(nodes: &[FileNode], depth: usize, toggled: &BTreeSet<String>, rows: &mut Vec<Row>) {
    for node in nodes {
        let open_at_first = depth < 2 && node.children.len() <= MANY && !node.name.starts_with('.');
        let open = open_at_first != toggled.contains(&node.path);
        let kind = match node.kind {
            FileKind::Directory if node.truncated && node.children.is_empty() => Kind::Closed,
            FileKind::Directory => Kind::Folder { open },
            FileKind::File => Kind::File { size: node.size },
            FileKind::Symlink => Kind::Link,
        };
        let descend = kind == Kind::Folder { open: true };
        rows.push(Row { path: node.path.clone(), name: node.name.clone(), depth, kind });
        if descend {
            flatten(&node.children, depth + 1, toggled, rows);
        }
    }
}

/// Up and down move the focus; right opens and left closes a folder.
fn on_key(event: KeyboardEvent) {
    let Some(row) = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok()) else { return };
    let expanded = row.get_attribute("aria-expanded");
    let focus = |to: Option<Element>| {
        if let Some(to) = to.and_then(|to| to.dyn_into::<HtmlElement>().ok()) {
            let _ = to.focus();
        }
    };
    match event.key().as_str() {
        "ArrowDown" => focus(row.next_element_sibling()),
        "ArrowUp" => focus(row.previous_element_sibling()),
        "ArrowRight" if expanded.as_deref() == Some("false") => row.click(),
        "ArrowLeft" if expanded.as_deref() == Some("true") => row.click(),
        _ => return,
    }
    event.prevent_default();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::build_tree;

    fn names(toggled: &[&str]) -> Vec<String> {
        let file = |p: &str| (p.to_owned(), FileKind::File, 1);
        let tree = build_tree([file("app/api/hello/route.ts"), file("app/page.tsx"), file(".git/HEAD"), file("a.txt")]);
        let mut rows = Vec::new();
        flatten(&tree, 0, &toggled.iter().map(|p| (*p).to_owned()).collect(), &mut rows);
        rows.into_iter().map(|row| row.path).collect()
    }

    #[test]
    fn deep_and_hidden_folders_start_folded_and_a_toggle_is_kept() {
        assert_eq!(names(&[]), [".git", "app", "app/api", "app/api/hello", "app/page.tsx", "a.txt"]);
        assert_eq!(names(&["app"]), [".git", "app", "a.txt"]);
        assert!(names(&["app/api/hello"]).contains(&"app/api/hello/route.ts".to_owned()));
    }
}
