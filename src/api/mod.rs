//! The HTTP front: REST, the event stream, pages, static files and the guard in front of them.
//!
//! Owns what crosses HTTP: routes, statuses, headers, bodies. It must not decide anything about projects or sandboxes:
//! each handler checks its input and makes one call on the services.

pub mod error;
pub mod guard;
mod observe;

/// The largest body accepted, in bytes.
pub const BODY_LIMIT: usize = 2 << 20;
