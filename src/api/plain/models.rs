//! Models: endpoints with their keys, what each model is known to do, favourites.

use super::{Plain, answer, done, escape, fields};
use crate::api::AppState;
use crate::api::error::{Failure, Query};
use crate::domain::ApiError;
use crate::llm::{Aptitude, ModelInfo, ModelSource};
use crate::store::ModelNote;
use axum::Form;
use axum::extract::State;
use axum::extract::rejection::FormRejection;
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Models shown at once; a search narrows them.
const SHOWN: usize = 100;

/// The query of the page.
#[derive(Debug, Default, Deserialize)]
pub struct ModelsQuery {
    /// Words that must be in the id.
    #[serde(default)]
    q: String,
}

/// `GET /settings/models`
pub async fn models(
    State(app): State<AppState>,
    query: Result<Query<ModelsQuery>, Failure>,
    headers: HeaderMap,
) -> Response {
    let page = async {
        let Query(ModelsQuery { q }) = query?;
        let endpoints = app.services.store.secrets().endpoints().await?;
        let notes = app.services.store.secrets().model_notes().await?;
        let (models, problem) = app.services.catalog.list().await;
        let mut body = String::from("<section><h2>Endpoints</h2>");
        if let Some(problem) = problem {
            let _ = write!(body, "<p class=\"failure\">{}</p>", escape(&problem.to_string()));
        }
        for endpoint in &endpoints {
            let key = if endpoint.key.is_some() { "key set" } else { "no key" };
            let _ = write!(
                body,
                "<form class=\"plain-form\" method=\"post\" action=\"/settings/models\"><input type=\"hidden\" name=\"set\" \
                 value=\"remove\"><input type=\"hidden\" name=\"name\" value=\"{}\"><span>{} <code>{}</code> · {key}</span><button \
                 class=\"button small\">Remove</button></form>",
                escape(&endpoint.prefix),
                escape(&endpoint.name),
                escape(&endpoint.base_url)
            );
        }
        body.push_str(ADD);
        list(&models, &notes, &q, &mut body);
        Ok(Plain { title: "Models", back: ("/settings".to_owned(), "Settings"), body })
    };
    let page: Result<Plain<'_>, Failure> = page.await;
    answer(&app, &headers, page)
}

const ADD: &str = "<form class=\"plain-form\" method=\"post\" action=\"/settings/models\"><input type=\"hidden\" name=\"set\" \
    value=\"endpoint\"><label>Name<input class=\"input\" name=\"name\" required placeholder=\"OpenRouter\"></label><label>Address \
    <input class=\"input\" name=\"url\" required list=\"known\" placeholder=\"https://openrouter.ai/api/v1\"></label><datalist \
    id=\"known\"><option value=\"https://openrouter.ai/api/v1\"><option value=\"https://api.openai.com/v1\"><option \
    value=\"https://api.anthropic.com/v1\"><option value=\"https://generativelanguage.googleapis.com/v1beta/openai\"><option \
    value=\"https://ai-gateway.vercel.sh/v1\"><option value=\"http://127.0.0.1:11434/v1\"></datalist><label>Key; leave it empty to \
    keep the one that is set<input class=\"input\" type=\"password\" name=\"key\" autocomplete=\"new-password\"></label><button \
    class=\"button\">Add or change</button></form><p class=\"muted\">Keys are encrypted on disk and never shown again. Servers on \
    this machine (Ollama, LM Studio, llama.cpp, vLLM) are found by themselves.</p></section>";

fn list(models: &[ModelInfo], notes: &BTreeMap<String, ModelNote>, q: &str, out: &mut String) {
    let _ = write!(
        out,
        "<section><h2>Models</h2><form class=\"plain-form\" method=\"get\" action=\"/settings/models\"><label>Search<input \
         class=\"input\" type=\"search\" name=\"q\" value=\"{}\"></label><button class=\"button\">Search</button></form>",
        escape(q)
    );
    let wanted: Vec<String> = q.split_whitespace().map(str::to_lowercase).collect();
    let fits = |m: &&ModelInfo| wanted.iter().all(|word| m.model.id.to_lowercase().contains(word));
    let mut found: Vec<&ModelInfo> = models.iter().filter(fits).collect();
    let favourite = |m: &ModelInfo| notes.get(&m.model.id).is_some_and(|n| n.favourite);
    found.sort_by_key(|m| !favourite(m));
    for model in found.iter().take(SHOWN) {
        row(model, notes.get(&model.model.id), out);
    }
    if found.len() > SHOWN {
        let _ = write!(out, "<p class=\"muted\">{} more; search for a part of the name.</p>", found.len() - SHOWN);
    }
    out.push_str("</section>");
}

fn row(model: &ModelInfo, note: Option<&ModelNote>, out: &mut String) {
    let source = match &model.source {
        ModelSource::Provider => "configured provider".to_owned(),
        ModelSource::Endpoint { name } | ModelSource::Local { name } => name.clone(),
        ModelSource::Demo => "demo".to_owned(),
    };
    let mut facts = vec![source];
    facts.extend(model.context.map(|tokens| format!("{}k tokens", tokens / 1000)));
    facts.extend(model.price.map(|(input, output)| format!("${input:.2} in, ${output:.2} out per million")));
    facts.extend(model.images.filter(|images| *images).map(|_| "reads images".to_owned()));
    let aptitude =
        note.and_then(|n| n.aptitude.as_deref()).and_then(|text| serde_json::from_str::<Aptitude>(text).ok());
    let badge = aptitude.map_or_else(|| "not tried yet".to_owned(), |a| a.badge().to_owned());
    let favourite = note.is_some_and(|n| n.favourite);
    let id = escape(&model.model.id);
    let hidden = format!("<input type=\"hidden\" name=\"name\" value=\"{id}\">");
    let form = "<form method=\"post\" action=\"/settings/models\">";
    let _ = write!(
        out,
        "<div class=\"model-row\"><div><code>{id}</code><small>{} · {}</small></div>{form}<input type=\"hidden\" name=\"set\" \
         value=\"favourite\">{hidden}<button class=\"button small\" aria-pressed=\"{favourite}\">{}</button></form>{form}<input \
         type=\"hidden\" name=\"set\" value=\"probe\">{hidden}<button class=\"button small\">Try it</button></form></div>",
        escape(&facts.join(" · ")),
        escape(&badge),
        if favourite { "★ Favourite" } else { "☆ Favourite" }
    );
}

/// The forms.
#[derive(Deserialize)]
pub struct Change {
    set: String,
    name: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    key: String,
}

/// `POST /settings/models`
pub async fn change(
    State(app): State<AppState>,
    headers: HeaderMap,
    form: Result<Form<Change>, FormRejection>,
) -> Response {
    let result = async {
        let Change { set, name, url, key } = fields(form)?;
        match set.as_str() {
            "endpoint" => app.services.save_endpoint(&name, &url, Some(&key)).await?,
            "remove" => app.services.remove_endpoint(&name).await?,
            "favourite" => app.services.toggle_favourite(&name).await?,
            "probe" => app.services.probe_model(&name).await.map(drop)?,
            _ => return Err(ApiError::invalid("There is no such setting.").into()),
        }
        app.models.refresh();
        Ok("/settings/models".to_owned())
    };
    let result: Result<String, Failure> = result.await;
    done(&app, &headers, result)
}
