//! `build`: one call makes everything the server needs to run, and does again only what changed.
//!
//! Three cargos work side by side (server, browser, init) because each alone leaves a core idle at its end: the
//! browser's link-time optimisation and the server's front end are single threads. They have folders of their own, so
//! they do not wait for each other's locks.

mod browser;
mod init;
mod names;
mod site;
mod snip;
mod stamp;
mod tools;

use std::thread;
use std::time::Instant;

use anyhow::{Result, anyhow};

pub use init::build as init;
pub use tools::install_in as install_npm;

use crate::process::{cargo, run as run_process};
use crate::project::{Mode, NAME, Project};

/// Which engines the server has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Engines {
    /// The one inside it.
    Embedded,
    /// The one over a Restate server too, which takes a minute more to compile.
    AlsoRestate,
}

/// Builds everything for `mode`.
pub fn run(project: &Project, mode: Mode) -> Result<()> {
    run_with(project, mode, Engines::Embedded)
}

/// The same with these engines.
pub fn run_with(project: &Project, mode: Mode, engines: Engines) -> Result<()> {
    let started = Instant::now();
    thread::scope(|scope| {
        let server = scope.spawn(|| build_server(project, mode, engines));
        let init = scope.spawn(|| init::build(project, mode));
        let browser = scope.spawn(|| {
            let tools = scope.spawn(|| tools::install(project));
            let wasm = browser::compile(project, mode)?;
            join(tools)?;
            let pieces = browser::bind(project, mode, &wasm)?;
            site::assemble(project, mode, &pieces)
        });
        // The browser's errors come first: they are the ones not seen on the terminal already.
        let results = [join(browser), join(init), join(server)];
        results.into_iter().collect::<Result<()>>()
    })?;
    println!("Built in {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn build_server(project: &Project, mode: Mode, engines: Engines) -> Result<()> {
    let features = if engines == Engines::AlsoRestate { "restate" } else { "ssr" };
    let mut cargo = cargo(&project.root);
    cargo.args(["build", "--package", NAME, "--bin", NAME, "--no-default-features", "--features", features]);
    if mode == Mode::Release {
        cargo.arg("--release");
    }
    run_process(&mut cargo)
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    handle.join().unwrap_or_else(|_| Err(anyhow!("a build step panicked")))
}
