//! `/import`: beginning from a git repository, a zip archive or a folder.

use super::parts::{Field, Section};
use leptos::attr::custom::custom_attribute;
use leptos::prelude::*;

#[component]
pub(super) fn Import() -> impl IntoView {
    view! {
        <Section name="Git repository">
            <p>"It is cloned inside the project's sandbox, the latest commit only. Give an address that needs no sign-in."</p>
            <Upload>
                <Field label="Address">
                    <input class="input" name="git" type="url" required placeholder="https://github.com/owner/name" spellcheck="false" />
                </Field>
            </Upload>
        </Section>
        <Section name="Zip archive">
            <p>"Up to 64 MiB and 5,000 files; unpacked up to 256 MiB."</p>
            <Upload>
                <Field label="Archive">
                    <input class="input file" name="zip" type="file" accept=".zip,application/zip" required />
                </Field>
            </Upload>
        </Section>
        <Section name="Folder">
            <p>
                "All files in it, up to 64 MiB. "<code>"node_modules"</code>" and "<code>".git"</code>
                " are left out; they count towards the size, so use an archive if the folder has them."
            </p>
            <Upload>
                <Field label="Folder">
                    <input class="input file" name="folder" type="file" multiple required {..custom_attribute("webkitdirectory", "")} />
                </Field>
            </Upload>
        </Section>
    }
    .into_any()
}

/// A form that may carry files.
#[component]
fn Upload(children: Children) -> impl IntoView {
    view! {
        <form class="fields" method="post" action="/import" enctype="multipart/form-data">
            {children()}
            <button class="button primary">"Import"</button>
        </form>
    }
    .into_any()
}
