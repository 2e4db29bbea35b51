//! Text to sanitized HTML, on the server. Pure functions; it must not know where the text comes from.

mod markdown;

pub use markdown::markdown_to_html;
