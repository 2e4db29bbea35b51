//! The embedded provider, on this host's kernel. Each promise is tried in a sandbox of its own.

mod basics;
mod support;
