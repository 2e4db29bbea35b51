//! `/runs/bulk`: the question before something is done to all runs that fit.

use leptos::prelude::*;

/// What the page shows.
pub struct SurePage {
    /// Whether the runs are replayed; else they are canceled.
    pub replay: bool,
    /// To how many runs it will be done.
    pub count: usize,
    /// Whether more fit than one action takes.
    pub more: bool,
    /// What the form sends, besides that the answer is yes.
    pub fields: Vec<(String, String)>,
    /// The address of the list.
    pub list: String,
}

#[component]
pub(super) fn Sure(page: SurePage) -> impl IntoView {
    let SurePage { replay, count, more, fields, list } = page;
    let runs = if count == 1 { "1 run".to_owned() } else { format!("{count} runs") };
    let what = match (replay, count) {
        (true, 1) => "It has ended, and is submitted once more with the payload it had.",
        (true, _) => "They have ended, and each is submitted once more with the payload it had.",
        (false, 1) => "It has not ended yet, and is stopped. What it has done by then stays.",
        (false, _) => "They have not ended yet, and all of them are stopped. What they have done by then stays.",
    };
    let (class, action) =
        if replay { ("button primary", format!("Replay {runs}")) } else { ("button danger", format!("Cancel {runs}")) };
    let fields: Vec<_> =
        fields.into_iter().map(|(name, value)| view! { <input type="hidden" name=name value=value /> }).collect();
    view! {
        <section class="panel">
            <h2>{format!("{runs} of the list")}</h2>
            <p>{what}</p>
            {more.then(|| view! { <p>"There are more; these are the newest, and one action takes no more."</p> })}
            <form class="row" method="post" action="/runs/bulk">
                {fields}
                <button class=class>{action}</button>
                <a class="button" href=list>"Leave them as they are"</a>
            </form>
        </section>
    }
    .into_any()
}
