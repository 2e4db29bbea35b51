//! `/p/{project}/edit/{message}`: an earlier message, to be edited and sent again.

use super::parts::{Field, Form};
use crate::domain::html::escape_textarea;
use crate::domain::{MessageId, ProjectId};
use leptos::prelude::*;

/// What the page shows.
pub struct EditPage {
    /// The project.
    pub project: ProjectId,
    /// The message.
    pub message: MessageId,
    /// What it says.
    pub text: String,
    /// Whether files came with it.
    pub files: bool,
}

#[component]
pub(super) fn Edit(page: EditPage) -> impl IntoView {
    let EditPage { project, message, text, files } = page;
    view! {
        <section class="panel">
            <p>
                "The conversation and the files go back to the moment before this message; then it is sent as it stands here."
                {files.then_some(" Its files go with it again.")}
            </p>
            <Form action=format!("/p/{project}/edit/{message}")>
                <Field label="Message">
                    <textarea class="input" name="text" rows="8" required>{escape_textarea(&text)}</textarea>
                </Field>
                <button class="button primary">"Go back and send"</button>
            </Form>
        </section>
    }
    .into_any()
}
