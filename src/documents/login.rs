//! `/login`: asks for the access token.

use super::parts::{Field, Problem};
use crate::ui::kit::Icon;
use leptos::prelude::*;

#[component]
pub(super) fn Login(
    /// Where to go afterwards.
    next: String,
    /// Why the token that was sent did not open it.
    problem: Option<String>,
) -> impl IntoView {
    view! {
        <main class="center">
            <Icon name="mark" />
            <h1>"Sandcastle"</h1>
            <p class="muted">"This server is open to the network and asks for its access token."</p>
            {problem.map(|problem| view! { <Problem problem /> })}
            <form class="login" method="post" action="/login">
                <input type="hidden" name="next" value=next />
                <Field label="Access token">
                    <input class="input" type="password" name="token" required autofocus autocomplete="current-password" />
                </Field>
                <button class="button primary" type="submit">"Sign in"</button>
            </form>
            <p class="muted small">"It is the value of "<code>"SANDCASTLE_ACCESS_TOKEN"</code>" on the server."</p>
        </main>
    }
    .into_any()
}
