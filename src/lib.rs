//! Sandcastle: describe an app, watch an agent build it in an isolated sandbox, use it beside the chat.
//!
//! The only place where a module is gated by feature. `ssr` is the server, `hydrate` the browser; modules without a
//! gate compile for both. The order below is the order to read them in; `ARCHITECTURE.md` is the map.

#[cfg(feature = "ssr")]
pub mod agent;
#[cfg(feature = "ssr")]
pub mod api;
#[cfg(feature = "ssr")]
pub mod boot;
#[cfg(feature = "ssr")]
pub mod cli;
#[cfg(feature = "ssr")]
pub mod config;
#[cfg(feature = "ssr")]
pub mod dashboard;
#[cfg(feature = "ssr")]
pub mod documents;
pub mod domain;
#[cfg(feature = "ssr")]
pub mod llm;
#[cfg(feature = "ssr")]
pub mod otlp;
#[cfg(feature = "ssr")]
pub mod render;
#[cfg(all(feature = "ssr", feature = "restate"))]
pub mod restate;
#[cfg(all(feature = "ssr", not(feature = "restate")))]
#[path = "restate/absent.rs"]
pub mod restate;
#[cfg(feature = "ssr")]
pub mod sandbox;
pub mod server_fns;
#[cfg(feature = "ssr")]
pub mod services;
#[cfg(feature = "ssr")]
pub mod store;
#[cfg(feature = "ssr")]
pub mod telemetry;
#[cfg(feature = "ssr")]
pub mod tools;
pub mod ui;
#[cfg(feature = "ssr")]
pub mod workflow;

/// Entry of the browser build: called once by the page's script.
#[cfg(feature = "hydrate")]
#[wasm_bindgen::prelude::wasm_bindgen]
pub fn hydrate() {
    ui::browser::hydrate();
}
