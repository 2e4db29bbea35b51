//! The demo model: recorded agent runs behind a real HTTP server that speaks the chat completions API.
//!
//! It is reached through the same client as any other model, so the first minute without a key exercises the whole
//! line. Stateless: each answer follows from the request's messages alone (see `script`), so a turn that resumes after
//! a crash, a second tab or another project cannot confuse it.

mod runs;
mod script;
mod server;

pub use runs::{SamplePrompt, samples};
pub use server::DemoServer;

/// The id under which the recorded model is offered.
pub const DEMO_MODEL: &str = "sandcastle/demo";
