//! The embedded provider, on this host's kernel. Each promise is tried in a sandbox of its own, as root and without.

mod attacks;
mod basics;
mod files;
mod life;
mod limits;
mod support;
