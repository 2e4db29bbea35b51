//! Integration tests: the server's parts through their public interfaces, each in a data folder of its own.

mod host_provider;
mod preview;
mod service;
mod store;
//! Tests that drive the real thing from outside: sandboxes, servers, processes.

mod sandbox_local;
mod tasks;
mod workflow;
