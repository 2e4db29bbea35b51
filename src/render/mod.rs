//! Text as HTML, on the server: markdown of answers and source code of files.
//!
//! Owns sanitizing: whatever leaves here is safe to put into a page. It must not know leptos or where text comes from.

mod highlight;
mod markdown;

pub use highlight::{Highlighted, highlight, language_of};
pub use markdown::{markdown_to_html, readable, settled};
