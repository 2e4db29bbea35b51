//! The demo model: recorded agent runs behind a real HTTP server that speaks the chat completions API.
//!
//! It is reached through the same client as any other model, so the first minute without a key exercises the whole
//! line. Stateless: each answer follows from the request's messages alone (see `script`), so a turn that resumes after
//! a crash, a second tab or another project cannot confuse it.

mod runs;
mod script;
mod server;

pub use server::DemoServer;

/// The id under which the recorded model is offered.
pub const DEMO_MODEL: &str = "sandcastle/demo";

/// An app the demo can build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What it is, without an article: `sales dashboard`.
    pub title: String,
    /// What it is built with; empty where that says nothing.
    pub stack: String,
    /// The prompt that builds it.
    pub prompt: String,
}

/// Every app the demo can build. Other models build them too, so the home page offers them as samples.
pub fn offers() -> Vec<Offer> {
    let offer = |run: runs::Run| {
        let title = run.title.strip_suffix(&format!(" in {}", run.stack)).unwrap_or(&run.title);
        let title = title.strip_prefix("a ").or_else(|| title.strip_prefix("an ")).unwrap_or(title);
        Offer { title: title.to_owned(), stack: run.stack, prompt: run.prompt }
    };
    // A recording that does not parse stops the demo server at the start, and a test before that.
    runs::load().unwrap_or_default().into_iter().map(|recording| offer(recording.run)).collect()
}
