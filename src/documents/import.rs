//! `/import`: beginning from a git repository, a zip archive or a folder.

use super::parts::{Field, Hidden, Section};
use leptos::attr::custom::custom_attribute;
use leptos::prelude::*;

/// What the page shows.
#[derive(Default)]
pub struct ImportPage {
    /// The address of a repository that could not be imported.
    pub git: String,
    /// Marks this look at the page, so that what is sent twice is imported once.
    pub once: String,
}

#[component]
pub(super) fn Import(page: ImportPage) -> impl IntoView {
    let ImportPage { git, once } = page;
    let [for_git, for_zip, for_folder] = [once.clone(), once.clone(), once];
    view! {
        <Section name="Git repository">
            <p>"It is cloned inside the project's sandbox, the latest commit only. Give an address that needs no sign-in."</p>
            <Upload once=for_git>
                <Field label="Address">
                    <input class="input" name="git" type="url" required placeholder="https://github.com/owner/name" spellcheck="false" value=git />
                </Field>
            </Upload>
        </Section>
        <Section name="Zip archive">
            <p>"Up to 64 MiB and 5,000 files; unpacked up to 256 MiB."</p>
            <Upload once=for_zip>
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
            <Upload once=for_folder>
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
fn Upload(once: String, children: Children) -> impl IntoView {
    view! {
        <form class="fields" method="post" action="/import" enctype="multipart/form-data">
            <Hidden fields=vec![("once", once)] />
            {children()}
            <button class="button primary">"Import"</button>
        </form>
    }
    .into_any()
}
