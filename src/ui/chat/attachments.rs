//! Files of a message: those that wait in the composer, and those that were sent.

use crate::domain::{ApiError, Attached, Attachment, ErrorCode, check_count};
use crate::ui::browser;
use crate::ui::kit::{Icon, bytes, effect, live, memo, on};
use leptos::html;
use leptos::prelude::*;

/// Files that wait to be sent.
#[derive(Clone, Copy)]
pub struct Waiting {
    /// Those that are uploaded.
    pub files: RwSignal<Vec<Attachment>>,
    /// How many are on their way.
    pub uploading: RwSignal<usize>,
    /// Why one was not taken.
    pub failure: RwSignal<Option<ApiError>>,
}

impl Waiting {
    /// None yet.
    pub fn new() -> Self {
        Self { files: RwSignal::new(Vec::new()), uploading: RwSignal::new(0), failure: RwSignal::new(None) }
    }

    /// Takes files that are chosen, pasted or dropped inside this element.
    pub fn watch(self, root: NodeRef<html::Div>) {
        effect(move || {
            let Some(root) = root.get() else { return };
            browser::take_files(
                &root,
                Box::new(move |count| {
                    let all = self.files.with_untracked(Vec::len) + self.uploading.get_untracked() + count;
                    let fits = check_count(all);
                    self.failure.set(fits.clone().err());
                    if fits.is_ok() {
                        self.uploading.update(|n| *n += count);
                    }
                    fits.is_ok()
                }),
                std::rc::Rc::new(move |uploaded| {
                    self.uploading.update(|n| *n = n.saturating_sub(1));
                    match uploaded {
                        // The same file again is the same file.
                        Ok(file) => self.files.update(|files| {
                            files.retain(|have: &Attachment| have.id != file.id);
                            files.push(file);
                        }),
                        Err(error) => self.failure.set(Some(error)),
                    }
                }),
            );
        });
    }

    /// What is sent with a message. While a file is on its way the message waits, and the person is told.
    pub fn take(self) -> Option<Vec<Attached>> {
        if self.uploading.get_untracked() > 0 {
            let message = "A file is still being uploaded; send again in a moment.";
            self.failure.set(Some(ApiError::new(ErrorCode::Conflict, message)));
            return None;
        }
        let name = |file: &Attachment| Attached { id: file.id.clone(), name: file.name.clone() };
        Some(self.files.with_untracked(|files| files.iter().map(name).collect()))
    }
}

/// The files above the composer's buttons, with a word about a model that cannot see them.
#[component]
pub fn WaitingFiles(waiting: Waiting, #[prop(into)] blind: Signal<bool>) -> impl IntoView {
    let Waiting { files, uploading, .. } = waiting;
    let words = memo(move || match uploading.get() {
        0 if blind.get() && files.with(|files| files.iter().any(|file| file.image)) => {
            "This model cannot see images. It gets them as files only."
        }
        0 => "",
        1 => "Uploading a file…",
        _ => "Uploading files…",
    });
    view! {
        <ul class="attached" hidden=live::flag(move || files.with(Vec::is_empty))>
            {live::each(
                move || files.get(),
                |file| file.id.to_string(),
                move |file| {
                    let id = file.id.clone();
                    let remove = format!("Remove {}", file.name);
                    let button = view! {
                        <button
                            class="icon-button"
                            type="button"
                            aria-label=remove
                            on:click=on(move |_| files.update(|files| files.retain(|file| file.id != id)))
                        >
                            <Icon name="close" />
                        </button>
                    };
                    view! { <File file remove=button.into_any() /> }
                },
            )}
        </ul>
        <p class="composer-note" role="status">{live::text(move || words.get())}</p>
    }
    .into_any()
}

/// The files of a message that was sent.
#[component]
pub fn SentFiles(files: Vec<Attachment>) -> impl IntoView {
    let files = files.into_iter().map(|file| view! { <File file remove=().into_any() /> }).collect_view();
    view! { <ul class="attached">{files}</ul> }.into_any()
}

#[component]
fn File(file: Attachment, remove: AnyView) -> impl IntoView {
    let href = format!("/api/attachments/{}", file.id);
    let title = format!("{} ({})", file.name, bytes(file.bytes));
    // An image opens, anything else is saved under its own name.
    let download = (!file.image).then(|| file.name.clone());
    let face = match file.image {
        true => view! { <img src=href.clone() alt=file.name loading="lazy" /> }.into_any(),
        false => view! { <Icon name="file" /><span>{file.name}</span> }.into_any(),
    };
    view! {
        <li data-image=file.image.to_string()>
            <a href=href title=title target="_blank" download=download>
                {face}
            </a>
            {remove}
        </li>
    }
    .into_any()
}
