//! The document around a page: head, hydration script and the page's data. Server only in effect: the browser never
//! renders a document. It must not know HTTP; the caller sends the string and the matching CSP header.

use super::app::App;
use super::page::{Layout, PageData, Theme};
use crate::domain::html::escape;
use leptos::prelude::*;
use std::fmt::Write as _;

/// Addresses of the built browser files, known when the server starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets {
    /// The style sheet, for instance `/pkg/sandcastle.1a2b.css`.
    pub css: String,
    /// The module made by wasm-bindgen; it exports the default initializer and `hydrate`.
    pub js: String,
    /// The WebAssembly.
    pub wasm: String,
}

/// Says so when the WebAssembly has stopped: after a trap no button does anything any more.
const STOPPED: &str = concat!(
    r#"const stop=e=>(e.error||e.reason)instanceof WebAssembly.RuntimeError&&!document.querySelector(".stopped")&&"#,
    r#"document.body.insertAdjacentHTML("afterbegin",'<p class="stopped" role="alert">This page has stopped working. "#,
    r#"<a href="">Reload it</a> to go on.</p>');addEventListener("error",stop);addEventListener("unhandledrejection",stop);"#,
);

/// What the document needs besides its page.
#[derive(Clone, Debug)]
pub struct ShellOptions<'a> {
    /// The nonce that this response's CSP header carries.
    pub nonce: &'a str,
    /// Addresses of the built browser files.
    pub assets: &'a Assets,
    /// The theme from its cookie.
    pub theme: Theme,
    /// A script that reloads the page when the build changed (development only).
    pub reload_script: Option<&'a str>,
}

/// Renders a live page's whole document, in one piece: pages hold their data, so nothing is awaited.
pub fn shell(page: PageData, options: &ShellOptions<'_>) -> String {
    let layout = match &page {
        PageData::Project(project) => project.layout,
        _ => Layout::default(),
    };
    let title = page.title();
    let data = script_json(&page);
    let body = drawn(|| view! { <App page/> }.into_any());

    let ShellOptions { nonce, assets: Assets { js, wasm, .. }, .. } = options;
    let Layout { chat, tree, .. } = layout;
    let mut html = String::with_capacity(body.len() + data.len() + 2048);
    open(&mut html, &title, options);
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        r##"<link rel="modulepreload" href="{js}"><link rel="preload" href="{wasm}" as="fetch" type="application/wasm" crossorigin><style nonce="{nonce}">:root{{--chat:{chat}px;--tree:{tree}px}}</style><script type="module" nonce="{nonce}">window.__RESOLVED_RESOURCES=[];window.__SERIALIZED_ERRORS=[];window.__INCOMPLETE_CHUNKS=[];{STOPPED}const m=await import("{js}");await m.default({{module_or_path:"{wasm}"}});m.hydrate();</script></head><body>{body}<script type="application/json" id="page-data">{data}</script></body></html>"##,
    );
    html
}

/// Renders a page that runs no code in the browser.
pub fn document(title: &str, body: impl FnOnce() -> AnyView, options: &ShellOptions<'_>) -> String {
    let body = drawn(body);
    let mut html = String::with_capacity(body.len() + 1024);
    open(&mut html, title, options);
    html.push_str("</head><body>");
    html.push_str(&body);
    html.push_str("</body></html>");
    html
}

fn drawn(view: impl FnOnce() -> AnyView) -> String {
    let owner = Owner::new();
    owner.with(|| view().to_html())
}

/// The head, up to what only live pages have.
fn open(html: &mut String, title: &str, options: &ShellOptions<'_>) {
    let ShellOptions { nonce, assets: Assets { css, .. }, theme, reload_script } = options;
    let (theme, title) = (theme.slug(), escape(title));
    // Writing to a String cannot fail.
    let _ = write!(
        html,
        r##"<!DOCTYPE html><html lang="en" data-theme="{theme}"><head><meta charset="utf-8"><title>{title}</title><meta name="viewport" content="width=device-width, initial-scale=1, interactive-widget=resizes-content"><meta name="color-scheme" content="light dark"><link rel="icon" href="/favicon.svg" type="image/svg+xml"><link rel="stylesheet" href="{css}">"##,
    );
    if let Some(script) = reload_script {
        let _ = write!(html, r#"<script nonce="{nonce}">{script}</script>"#);
    }
}

/// JSON that cannot end the script element it stands in, nor open a comment in it.
fn script_json(page: &PageData) -> String {
    // The page's types have string keys only and cannot fail to serialize; an empty document would show as a missing page.
    serde_json::to_string(page).unwrap_or_default().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ui::page::{ProjectList, Sample};

    #[test]
    fn page_data_cannot_break_out_of_its_script() {
        let prompt = "</script><script>alert(1)".to_owned();
        let sample = Sample { title: String::new(), stack: String::new(), prompt };
        let page = PageData::Home {
            projects: ProjectList::default(),
            models: Vec::new(),
            effort: String::new(),
            samples: vec![sample],
            demo: false,
        };
        let assets = Assets { css: "/a.css".into(), js: "/a.js".into(), wasm: "/a.wasm".into() };
        let options = ShellOptions { nonce: "n0", assets: &assets, theme: Theme::Dark, reload_script: None };
        let html = shell(page.clone(), &options);
        let (_, data) = html.split_once(r#"id="page-data">"#).unwrap();
        let (data, _) = data.split_once("</script>").unwrap();
        assert_eq!(serde_json::from_str::<PageData>(data).unwrap(), page);
    }
}
