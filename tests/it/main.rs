//! Integration tests: the server's parts through their public interfaces, each in a data folder of its own.

mod egress;
mod host_provider;
mod sandbox_local;
mod service;
mod store;
mod agent;
mod fake_model;
mod host_provider;
mod llm;
mod preview;
mod sandbox_local;
mod service;
mod store;
mod tasks;
mod workflow;
