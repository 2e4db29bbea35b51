//! The file tree as one flat list of visible rows, so that a change redraws only the rows it touches and what was
//! folded stays folded.

use crate::domain::{Change, FileKind, FileNode, TREE_MAX};
use crate::ui::kit::{Icon, bytes, live, memo, on};
use crate::ui::workbench::Workbench;
use leptos::attr::custom::custom_attribute;
use leptos::ev::{FocusEvent, KeyboardEvent, MouseEvent};
use leptos::prelude::*;
use leptos::wasm_bindgen::JsCast;
use leptos::web_sys::{Element, HtmlElement};
use std::collections::BTreeSet;

/// Directories with more entries start folded.
const MANY: usize = 40;

/// A visible line: what it is for as long as it is there. What changes about it is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    path: String,
    name: String,
    depth: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Link,
    Folder { open_at_first: bool },
    // Has entries the server does not list.
    Closed,
    // Not in the workspace yet.
    Draft,
}

/// What rows look things up in.
#[derive(Clone, Copy)]
struct Lookup {
    files: RwSignal<Vec<FileNode>>,
    toggled: RwSignal<BTreeSet<String>>,
    drafts: Memo<Vec<String>>,
    // Path of the open file.
    path: Memo<Option<String>>,
    // Path of the row that Tab leads to.
    stop: Memo<Option<String>>,
    focused: RwSignal<Option<String>>,
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
        let new = |path: &String| !rows.iter().any(|row: &Row| row.path == *path);
        let new = drafts.get().into_iter().filter(new);
        let new = new.map(|path| Row { name: path.clone(), path, depth: 0, kind: Kind::Draft });
        let mut all: Vec<Row> = new.collect();
        all.append(&mut rows);
        all
    });
    let focused = RwSignal::new(None::<String>);
    let stop = memo(move || {
        rows.with(|rows| {
            let has = |path: &String| rows.iter().any(|row| row.path == *path);
            let last = focused.get().filter(has).or_else(|| path.get().filter(has));
            last.or_else(|| rows.first().map(|row| row.path.clone()))
        })
    });
    let lookup = Lookup { files, toggled, drafts, path, stop, focused };
    view! {
        // Without scripts a file's button asks the server for it.
        <form class="tree" method="get">
            <input type="hidden" name="pane" value="code" />
            <div role="tree" aria-label="Files" on:keydown=on(on_key)>
                {live::each(
                    move || rows.get(),
                    |row| format!("{:?} {}", row.kind, row.path),
                    move |row| view! { <TreeRow row lookup /> },
                )}
            </div>
            <p class="tree-cut" hidden=live::flag(move || files.with(|files| count(files)) < TREE_MAX)>
                {format!("Only the first {TREE_MAX} entries are listed. Download the project to see all.")}
            </p>
        </form>
    }
    .into_any()
}

#[component]
fn TreeRow(row: Row, lookup: Lookup) -> impl IntoView {
    let bench = Workbench::here();
    let Lookup { files, toggled, drafts, path, stop, focused } = lookup;
    let Row { path: own, name, depth, kind } = row;
    // Cloned on purpose: one `get` for all weighs less than a `with` for each.
    let is_own = |of: Memo<Option<String>>| {
        let own = own.clone();
        move || of.get().as_ref() == Some(&own)
    };
    let (is_open_file, is_stop) = (is_own(path), is_own(stop));
    let tabindex = live::text(move || if is_stop() { "0" } else { "-1" });
    let here = own.clone();
    let reached = move |_: FocusEvent| focused.set(Some(here.clone()));
    let level = custom_attribute("aria-level", depth + 1);
    let indent = depth.min(8);
    if kind == Kind::Closed {
        return view! {
            <div
                class="tree-row"
                role="treeitem"
                data-kind="closed"
                data-depth=indent.to_string()
                {..level}
                tabindex=tabindex
                title=own
                on:focus=on(reached)
            >
                <Icon name="folder" />
                <span class="tree-name">{name}</span>
                <span class="tree-note">"not listed"</span>
            </div>
        }
        .into_any();
    }
    let drafted = {
        let own = own.clone();
        memo(move || drafts.get().contains(&own))
    };
    let shown = move || match kind {
        Kind::Folder { .. } => ("chevron", "folder"),
        _ if drafted.get() => ("edit", "draft"),
        Kind::Link => ("link", "file"),
        Kind::File | Kind::Closed | Kind::Draft => ("file", "file"),
    };
    let note = {
        let own = own.clone();
        move || match kind {
            _ if drafted.get() => "writing".to_owned(),
            Kind::File => files.with(|files| find(files, &own).map(|node| bytes(node.size)).unwrap_or_default()),
            Kind::Link => "link".to_owned(),
            Kind::Folder { .. } | Kind::Closed | Kind::Draft => String::new(),
        }
    };
    let expanded = {
        let own = own.clone();
        move || match kind {
            Kind::Folder { open_at_first } => {
                Some((open_at_first != toggled.with(|toggled| toggled.contains(&own))).to_string())
            }
            _ => None,
        }
    };
    let folder = matches!(kind, Kind::Folder { .. });
    let (title, value) = (own.clone(), own.clone());
    let choose = move |event: MouseEvent| match kind {
        Kind::Folder { .. } => toggled.update(|set| {
            if !set.remove(&own) {
                set.insert(own.clone());
            }
        }),
        _ => {
            event.prevent_default();
            bench.file.set(Some(own.clone()));
        }
    };
    view! {
        <button
            class="tree-row"
            type=if folder { "button" } else { "submit" }
            name="file"
            value=value
            role="treeitem"
            data-kind=live::text(move || shown().1)
            data-depth=indent.to_string()
            {..level}
            tabindex=tabindex
            aria-expanded=live::maybe(expanded)
            aria-selected=live::text(move || is_open_file().to_string())
            title=title
            on:click=on(choose)
            on:focus=on(reached)
        >
            <Icon name=Signal::derive(move || shown().0) />
            <span class="tree-name">{name}</span>
            <span class="tree-note">{live::text(note)}</span>
        </button>
    }
    .into_any()
}

fn flatten(nodes: &[FileNode], depth: usize, toggled: &BTreeSet<String>, rows: &mut Vec<Row>) {
    for node in nodes {
        let open_at_first = depth < 2 && node.children.len() <= MANY && !node.name.starts_with('.');
        let kind = match node.kind {
            FileKind::Directory if node.truncated && node.children.is_empty() => Kind::Closed,
            FileKind::Directory => Kind::Folder { open_at_first },
            FileKind::File => Kind::File,
            FileKind::Symlink => Kind::Link,
        };
        rows.push(Row { path: node.path.clone(), name: node.name.clone(), depth, kind });
        if matches!(kind, Kind::Folder { .. }) && open_at_first != toggled.contains(&node.path) {
            flatten(&node.children, depth + 1, toggled, rows);
        }
    }
}

/// The entry at a path.
fn find<'a>(nodes: &'a [FileNode], path: &str) -> Option<&'a FileNode> {
    let on_way = |node: &&FileNode| {
        path.strip_prefix(node.path.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let node = nodes.iter().find(on_way)?;
    if node.path.len() == path.len() { Some(node) } else { find(&node.children, path) }
}

fn count(nodes: &[FileNode]) -> usize {
    nodes.iter().map(|node| 1 + count(&node.children)).sum()
}

/// Up, down, Home and End move the focus; right opens a folder or enters it, left closes it or leads to what it is in.
fn on_key(event: KeyboardEvent) {
    let Some(row) = event.target().and_then(|target| target.dyn_into::<HtmlElement>().ok()) else { return };
    let expanded = row.get_attribute("aria-expanded");
    let level = |row: &Element| row.get_attribute("aria-level").and_then(|level| level.parse::<u32>().ok());
    let to = match (event.key().as_str(), expanded.as_deref()) {
        ("ArrowRight", Some("false")) | ("ArrowLeft", Some("true")) => {
            row.click();
            None
        }
        ("ArrowDown", _) | ("ArrowRight", Some("true")) => row.next_element_sibling(),
        ("ArrowUp", _) => row.previous_element_sibling(),
        ("ArrowLeft", _) => {
            let before = std::iter::successors(row.previous_element_sibling(), Element::previous_element_sibling);
            let own = level(&row);
            before.into_iter().find(|before| level(before) < own)
        }
        ("Home", _) => row.parent_element().and_then(|tree| tree.first_element_child()),
        ("End", _) => row.parent_element().and_then(|tree| tree.last_element_child()),
        _ => return,
    };
    if let Some(to) = to.and_then(|to| to.dyn_into::<HtmlElement>().ok()) {
        let _ = to.focus();
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

    #[test]
    fn an_entry_is_found_by_its_whole_path_only() {
        let file = |p: &str, size| (p.to_owned(), FileKind::File, size);
        let tree = build_tree([file("app/page.tsx", 1), file("app.ts", 2), file("app/api/page.tsx", 3)]);
        let size = |path| find(&tree, path).map(|node| node.size);
        assert_eq!((size("app/page.tsx"), size("app.ts"), size("app/api/page.tsx")), (Some(1), Some(2), Some(3)));
        assert_eq!((size("app/page"), size("page.tsx")), (None, None));
        assert_eq!(count(&tree), 5);
    }
}
