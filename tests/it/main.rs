//! Tests that drive the real thing from outside: sandboxes, servers, processes.

mod sandbox_local;
