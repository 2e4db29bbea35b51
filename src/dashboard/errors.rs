//! Ways of failing: runs whose errors differ only in numbers and ids are one line.

use super::parts::{Mark, When, short};
use super::query::ListQuery;
use crate::ui::kit::compact;
use crate::workflow::RunError;
use leptos::prelude::*;

#[component]
pub(super) fn Errors(errors: Vec<RunError>, now: u64) -> impl IntoView {
    if errors.is_empty() {
        return view! {
            <div class="empty"><Mark name="check" /><h3>"No errors"</h3><p>"None of the runs that are kept has failed."</p></div>
        }
        .into_any();
    }
    let rows = errors.into_iter().map(|error| {
        let same = ListQuery { error: error.fingerprint.clone(), ..ListQuery::default() };
        view! {
            <tr>
                <td>
                    <a class="run-link" href=same.href()>
                        <strong>{error.task.clone()}</strong>
                        <span class="run-error">{short(&error.message, 240)}</span>
                    </a>
                </td>
                <td class="num">{compact(error.count)}</td>
                <td class="num"><When at=error.first_at now /></td>
                <td class="num"><When at=error.last_at now /></td>
                <td class="num"><a href=format!("/runs/{}", error.last_run)>"Last run"</a></td>
            </tr>
        }
    });
    let rows: Vec<_> = rows.collect();
    view! {
        <div class="table-wrap">
            <table class="runs errors">
                <thead>
                    <tr>
                        <th scope="col">"Error"</th>
                        <th scope="col" class="num">"Runs"</th>
                        <th scope="col" class="num">"First"</th>
                        <th scope="col" class="num">"Last"</th>
                        <th scope="col"><span class="visually-hidden">"The last run"</span></th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
    }
    .into_any()
}
