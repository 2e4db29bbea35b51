//! The platform's own answers on a preview's origin: waiting, stopped, unknown, and their JSON for programs.

use super::story::{State, Story};
use super::{ProxyBody, Target};
use crate::domain::SandboxId;
use crate::domain::html::escape;
use crate::sandbox::SandboxError;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use serde_json::json;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page that waits for the app and turns into it. Inside a frame nobody can see its status but the browser's
/// console, which would call it an error.
pub(super) fn waiting(story: &Story, target: &Target, framed: bool) -> Response<ProxyBody> {
    let live = match serde_json::to_string(&json!({ "state": story.state, "ports": story.ports })) {
        Ok(live) => escape(&live),
        Err(_) => String::new(),
    };
    let hidden = |hide: bool| if hide { " hidden" } else { "" };
    let body = format!(
        r#"<main data-live="{live}"><div class="mark" aria-hidden="true"></div>
<h1 id="title" role="status">{title}</h1><p id="detail">{detail}</p>
<button id="start" type="button"{start}>Start it again</button>
<p id="ports" hidden></p><pre id="output" tabindex="0" aria-label="Last output"{output_hidden}>{output}</pre>
<p class="port">localhost:{port}</p></main><script>{SCRIPT}</script>"#,
        title = escape(&story.title),
        detail = escape(&story.detail),
        start = hidden(story.state != State::Down),
        output = escape(&story.output),
        output_hidden = hidden(story.output.is_empty()),
        port = target.port,
    );
    html(if framed { StatusCode::OK } else { StatusCode::BAD_GATEWAY }, &story.title, &body)
}

/// The answer to the waiting page's question.
pub(super) fn poll(story: &Story) -> Response<ProxyBody> {
    json_answer(StatusCode::OK, &json!(story))
}

/// There is no such sandbox. Programs get what e2b's proxy says.
pub(super) fn unknown(sandbox: Option<&SandboxId>, wants_html: bool) -> Response<ProxyBody> {
    if !wants_html {
        let message = "The sandbox was not found";
        let id = sandbox.map(SandboxId::as_str).unwrap_or_default();
        let body = json!({ "sandboxId": id, "message": message, "code": 502 });
        return json_answer(StatusCode::BAD_GATEWAY, &body);
    }
    let body = "<main><h1>There is no such preview</h1><p>The project was deleted, or the address has a mistake. \
                Open the project again to find its preview.</p></main>";
    html(StatusCode::NOT_FOUND, "There is no such preview", body)
}

/// The sandbox is there but the app is not, for programs.
pub(super) fn unavailable(target: &Target, error: &SandboxError) -> Response<ProxyBody> {
    let id = target.sandbox.as_str();
    let body = match error {
        SandboxError::PortClosed(port) => json!({
            "sandboxId": id,
            "message": "The sandbox is running but port is not open",
            "port": port,
            "code": 502,
        }),
        _ => json!({ "sandboxId": id, "message": "The sandbox was not found", "code": 502 }),
    };
    json_answer(StatusCode::BAD_GATEWAY, &body)
}

/// The app took the connection and gave no proper answer.
pub(super) fn broken(target: &Target, error: &dyn std::fmt::Display, wants_html: bool) -> Response<ProxyBody> {
    tracing::debug!(sandbox = %target.sandbox, port = target.port, %error, "an app broke the connection");
    if !wants_html {
        let message = format!("the app on port {} closed the connection without an answer", target.port);
        let body = json!({ "sandboxId": target.sandbox, "message": message, "port": target.port, "code": 502 });
        return json_answer(StatusCode::BAD_GATEWAY, &body);
    }
    let body = format!(
        "<main><h1>The app gave no answer</h1><p>It closed the connection on port {} without an HTTP answer. Its \
         output in the Logs tab may say why.</p><p><a href=\"\">Try again</a></p></main>",
        target.port
    );
    html(StatusCode::BAD_GATEWAY, "The app gave no answer", &body)
}

fn html(status: StatusCode, title: &str, body: &str) -> Response<ProxyBody> {
    let page = format!(
        "<!doctype html><html lang=\"en\" data-sandcastle-page><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><style>{STYLE}</style></head>\
         <body>{body}</body></html>",
        title = escape(title),
    );
    let mut response = answer(status, "text/html; charset=utf-8", page);
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                  base-uri 'none'; form-action 'none'";
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    response
}

fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response<ProxyBody> {
    answer(status, "application/json", body.to_string())
}

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<ProxyBody> {
    let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
