//! Integration tests: the server's parts through their public interfaces, each in a data folder of its own.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking, in its helpers too")]

mod agent;
mod agent_bench;
mod attachments;
mod bench_command;
mod config;
mod dashboard;
mod demo;
mod e2b;
mod egress;
mod fake_model;
mod full_disk;
mod history;
mod host_provider;
mod inside;
mod keys;
mod killed;
mod layering;
mod llm;
mod misbehaving;
mod models;
mod otlp;
mod plan;
mod preview;
mod real_model;
mod remote;
mod repair;
mod rest_api;
mod sandbox_local;
mod security;
mod service;
mod settings;
mod shutdown;
mod sse;
mod ssr_pages;
mod store;
mod support;
mod tasks;
mod telemetry;
mod trigger_api;
mod trigger_sdk;
mod workflow;
