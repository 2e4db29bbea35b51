//! `/p/{project}/changes/{message}`: what a turn changed, and going back or forking from its end.

use super::parts::PostButton;
use crate::domain::{Checkpoint, MessageId, ProjectId};
use crate::sandbox::{ChangeKind, FileChange, Hunk};
use crate::ui::kit::Icon;
use leptos::prelude::*;

/// Lines of all files that are shown.
const LINES_MAX: usize = 5_000;
/// Files that are unfolded at first, unless there are more.
const OPEN_MAX: usize = 12;

/// What the page shows.
pub struct ChangesPage {
    /// The project.
    pub project: ProjectId,
    /// The message at the end of the turn.
    pub message: MessageId,
    /// Where the turn left the workspace.
    pub checkpoint: Checkpoint,
    /// Whether nothing came after it.
    pub last: bool,
    /// The changed files, by path.
    pub files: Vec<FileChange>,
    /// Where all checkpoints can be cloned from.
    pub clone_url: String,
    /// Marks this look at the page, so that a fork that is asked for twice is made once.
    pub once: String,
}

#[component]
pub(super) fn Changes(page: ChangesPage) -> impl IntoView {
    let ChangesPage { project, message, checkpoint, last, files, clone_url, once } = page;
    let Checkpoint { commit, files: count, added, removed, .. } = checkpoint;
    let commit = commit.get(..10).unwrap_or_default().to_owned();
    let count = if count == 1 { "1 file ".to_owned() } else { format!("{count} files ") };
    let open = files.len() <= OPEN_MAX;
    let (files, more) = fitting(files);
    let files: Vec<_> = files.into_iter().map(|file| view! { <File file open /> }).collect();
    view! {
        <p class="muted">{count}<Counts added removed />" · checkpoint "<code>{commit}</code></p>
        <Ways project message last once />
        {files}
        {more.then(|| view! { <p class="muted">"There is more; clone the repository to see all of it."</p> })}
        <p class="muted">
            "All checkpoints as a git repository: "<code>{format!("git clone {clone_url}")}</code>
        </p>
    }
    .into_any()
}

/// What goes when a project goes back.
pub(super) const BACK_LOSS: &str = "All messages after this point leave the conversation, and the files become \
                                    what they were then. Only the files of now stay in the history.";

/// What can be done from here.
#[component]
fn Ways(project: ProjectId, message: MessageId, last: bool, once: String) -> impl IntoView {
    let hidden = vec![("message", message.to_string())];
    let fork = hidden.iter().cloned().chain([("once", once)]).collect();
    let back = (!last).then(|| {
        view! {
            <li>
                <div>
                    "Later messages are taken back with their changes. The files as they are now stay in the history."
                </div>
                <PostButton action=format!("/p/{project}/back") hidden=hidden.clone() confirm=BACK_LOSS>"Go back to this point"</PostButton>
            </li>
        }
    });
    view! {
        <ul class="panel rows">
            {back}
            <li>
                <div>"A project of its own with these files, this conversation and its own preview."</div>
                <PostButton action=format!("/p/{project}/fork") hidden=fork>"Fork a new project from here"</PostButton>
            </li>
        </ul>
    }
    .into_any()
}

#[component]
fn Counts(added: u32, removed: u32) -> impl IntoView {
    let added = (added > 0).then(|| view! { <ins>{format!("+{added} ")}</ins> });
    let removed = (removed > 0).then(|| view! { <del>{format!("−{removed}")}</del> });
    view! { <span>{added}{removed}</span> }.into_any()
}

#[component]
fn File(file: FileChange, open: bool) -> impl IntoView {
    let FileChange { path, kind, added, removed, hunks } = file;
    let word = match kind {
        ChangeKind::Added => "new",
        ChangeKind::Removed => "removed",
        ChangeKind::Changed => "changed",
    };
    let hidden = hunks.is_empty();
    let hunks: Vec<_> = hunks.into_iter().map(|hunk| view! { <Lines hunk /> }).collect();
    view! {
        <details class="diff" open=open>
            <summary>
                <code>{path}</code>
                <small>{word}</small>
                <Counts added removed />
                <Icon name="chevron" />
            </summary>
            {hidden.then(|| view! { <p class="muted">"Not shown: no text, or nothing but its mode changed."</p> })}
            {hunks}
        </details>
    }
    .into_any()
}

#[component]
fn Lines(hunk: Hunk) -> impl IntoView {
    let Hunk { at: (before, after), lines } = hunk;
    let lines = lines.into_iter().map(|(sign, line)| {
        let text = format!("{sign}{line}");
        match sign {
            '+' => view! { <ins>{text}</ins>"\n" }.into_any(),
            '-' => view! { <del>{text}</del>"\n" }.into_any(),
            _ => view! { <span>{text}</span>"\n" }.into_any(),
        }
    });
    let lines: Vec<_> = lines.collect();
    view! { <pre><span class="at">{format!("@@ {before} → {after} @@")}</span>"\n"{lines}</pre> }.into_any()
}

/// The files as far as their lines fit, and whether there is more.
fn fitting(files: Vec<FileChange>) -> (Vec<FileChange>, bool) {
    let mut left = LINES_MAX;
    let mut shown = Vec::new();
    for mut file in files {
        let lines: usize = file.hunks.iter().map(|hunk| hunk.lines.len()).sum();
        let cut = lines > left;
        if cut && left == 0 {
            return (shown, true);
        }
        for hunk in &mut file.hunks {
            hunk.lines.truncate(left);
            left -= hunk.lines.len();
        }
        file.hunks.retain(|hunk| !hunk.lines.is_empty());
        shown.push(file);
        if cut {
            return (shown, true);
        }
    }
    (shown, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, lines: usize) -> FileChange {
        let lines = vec![('+', "x".to_owned()); lines];
        let hunks = vec![Hunk { at: (0, 1), lines }];
        FileChange { path: path.to_owned(), kind: ChangeKind::Added, added: 0, removed: 0, hunks }
    }

    #[test]
    fn files_are_shown_up_to_the_limit_of_lines_and_what_is_cut_is_said() {
        let shown = |files: Vec<FileChange>| {
            let (files, more) = fitting(files);
            (files.iter().map(|f| f.hunks.iter().map(|h| h.lines.len()).sum()).collect::<Vec<usize>>(), more)
        };
        assert_eq!(shown(vec![file("a", LINES_MAX)]), (vec![LINES_MAX], false));
        assert_eq!(shown(vec![file("a", 10), file("b", LINES_MAX), file("c", 1)]), (vec![10, LINES_MAX - 10], true));
        assert_eq!(shown(vec![file("a", LINES_MAX), file("b", 1)]), (vec![LINES_MAX], true));
    }
}
