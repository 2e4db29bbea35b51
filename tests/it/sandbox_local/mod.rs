//! The embedded provider, on this host's kernel. Each promise is tried in a sandbox of its own, as root and without.

mod basics;
mod escapes;
mod files;
mod life;
mod limits;
mod support;
