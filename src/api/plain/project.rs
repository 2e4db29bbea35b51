//! A project's settings: budget, auto-fix, secrets, network rules.

use super::{Plain, answer, bench, done, escape, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Path};
use crate::domain::{ApiError, EventBody, NetworkPolicy, ProjectId, Usage};
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::fmt::Write as _;

/// `GET /p/{project}/settings`
pub async fn settings(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Path(project) = path?;
        let state = app.services.store.events().state(&project).await?;
        let secrets = app.services.store.secrets().of(&project).await?;
        let spent = state.spent;
        let cost = spent.cost.map_or_else(|| "no price known".to_owned(), crate::ui::money);
        let budget = state.budget.map(|micro| format!("{:.2}", micro as f64 / 1e6)).unwrap_or_default();
        let form = format!("<form class=\"plain-form\" method=\"post\" action=\"/p/{project}/settings\">");
        let mut body = format!(
            "<section><h2>Money</h2><p class=\"muted\">Used so far: {cost}, {} tokens sent ({} from caches), {} \
             received.</p>{form}<input type=\"hidden\" name=\"set\" value=\"budget\"><label>Budget in US dollars; empty for \
             none. The agent stops when it is used up.<input class=\"input\" name=\"value\" inputmode=\"decimal\" \
             value=\"{budget}\"></label><button class=\"button\">Save</button></form></section>",
            spent.input_tokens, spent.cached_tokens, spent.output_tokens
        );
        let (now, other) = if state.auto_fix { ("on", "off") } else { ("off", "on") };
        let _ = write!(
            body,
            "<section><h2>Auto-fix</h2><p class=\"muted\">Errors of the running app are sent to the agent by themselves. It is \
             {now}. <a href=\"/p/{project}/faults\">Errors so far</a></p>{form}<input type=\"hidden\" name=\"set\" \
             value=\"auto_fix\"><input type=\"hidden\" name=\"value\" value=\"{other}\"><button class=\"button\">Switch it \
             {other}</button></form></section>"
        );
        body.push_str(
            "<section><h2>Secrets</h2><p class=\"muted\">Commands in the sandbox find them as environment variables. They are \
             encrypted on disk, never shown again, and never told to a model. Restart the app after a change.</p>",
        );
        for name in secrets.keys() {
            let name = escape(name);
            let _ = write!(
                body,
                "{form}<input type=\"hidden\" name=\"set\" value=\"forget\"><input type=\"hidden\" name=\"name\" \
                 value=\"{name}\"><code>{name}</code><button class=\"button small\">Remove</button></form>"
            );
        }
        let _ = write!(
            body,
            "{form}<input type=\"hidden\" name=\"set\" value=\"secret\"><label>Name<input class=\"input\" name=\"name\" required \
             autocomplete=\"off\" spellcheck=\"false\" placeholder=\"API_TOKEN\"></label><label>Value<input class=\"input\" type=\"password\" name=\"value\" required \
             autocomplete=\"new-password\"></label><button class=\"button\">Add or replace</button></form></section>"
        );
        network(&form, &state.network.policy, &mut body);
        Ok(Plain { title: "Project settings", back: (bench(&project), "Back to the project"), body })
    };
    let page: Result<Plain<'_>, Failure> = page.await;
    answer(&app, &headers, page)
}

/// What the sandbox may reach, with each rule's own button.
fn network(form: &str, policy: &NetworkPolicy, out: &mut String) {
    out.push_str(
        "<section id=\"network\"><h2>Network</h2><p class=\"muted\">Rules about what the sandbox may reach; those that allow win. \
         The mode for everything else is chosen under Logs, Network.</p>",
    );
    let allowed = policy.allow.iter().map(|rule| ("Allowed", rule));
    for (kind, rule) in allowed.chain(policy.deny.iter().map(|rule| ("Denied", rule))) {
        let rule = escape(rule);
        let _ = write!(
            out,
            "{form}<input type=\"hidden\" name=\"set\" value=\"rule_off\"><input type=\"hidden\" name=\"value\" value=\"{rule}\">\
             <span>{kind} <code>{rule}</code></span><button class=\"button small\" aria-label=\"Remove {rule}\">Remove</button></form>"
        );
    }
    let _ = write!(
        out,
        "{form}<input type=\"hidden\" name=\"set\" value=\"rule_on\"><label>A name, address or network, with a port where it is \
         another than 80 and 443<input class=\"input\" name=\"value\" required autocomplete=\"off\" spellcheck=\"false\" \
         placeholder=\"db.example.com:5432\"></label><button class=\"button\">Allow</button></form></section>"
    );
}

/// The forms.
#[derive(Deserialize)]
pub struct Change {
    set: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    value: String,
}

/// `POST /p/{project}/settings`
pub async fn change(
    State(app): State<AppState>,
    path: Result<Path<ProjectId>, Failure>,
    headers: HeaderMap,
    form: Result<Form<Change>, FormRejection>,
) -> Response {
    let result = async {
        let (Path(project), Change { set, name, value }) = (path?, fields(form)?);
        let services = &app.services;
        let events = services.store.events();
        match set.as_str() {
            "budget" => services.set_budget(&project, dollars(&value)?).await?,
            "auto_fix" => {
                events.append(&project, vec![EventBody::AutoFixSet { on: value == "on" }]).await?;
            }
            "secret" => services.set_secret(&project, &name, &value).await?,
            "rule_on" | "rule_off" => {
                let policy = services.sandbox.network(&project).await?.policy;
                let rule = value.trim();
                let policy = if set == "rule_on" { policy.allowing(rule) } else { policy.without(rule) };
                services.sandbox.set_network_policy(&project, policy).await?;
                return Ok(format!("/p/{project}/settings#network"));
            }
            "forget" => services.store.secrets().remove(&project, &name).await?,
            _ => return Err(ApiError::invalid("There is no such setting.").into()),
        }
        Ok(format!("/p/{project}/settings"))
    };
    let result = result.await;
    done(&app, &headers, result)
}

/// An amount as a person types it; empty for none.
fn dollars(text: &str) -> Result<Option<u64>, ApiError> {
    let text = text.trim().trim_start_matches('$').replace(',', ".");
    if text.is_empty() {
        return Ok(None);
    }
    let amount = text.parse::<f64>().ok().and_then(Usage::micro_usd);
    amount.map(Some).ok_or_else(|| ApiError::invalid("The budget must be an amount such as 2.50."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_as_people_type_them() {
        assert_eq!(dollars(" $2,50 ").unwrap(), Some(2_500_000));
        assert_eq!(dollars("").unwrap(), None);
        assert!(dollars("-1").is_err() && dollars("much").is_err() && dollars("inf").is_err());
    }
}
