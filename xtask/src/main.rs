//! `cargo xtask`: builds, serves, tests and measures Sandcastle with nothing installed globally but Rust, Node and a C
//! compiler.
//!
//! Owns the order of build steps and the layout of `target/site`. It must not know what the application does: it talks
//! to the built server as any client would.

mod bench;
mod build;
mod checks;
mod dev;
mod end2end;
mod prerequisites;
mod process;
mod project;
mod restate;
mod serve;

use anyhow::{Result, bail};
use build::Engines;
use project::{Mode, Project};

const HELP: &str = "\
cargo xtask COMMAND

  build [--release | --dev] [--restate]
                                build browser files, server and sandbox init (default: --release); with the Restate
                                engine in the server if asked for
  restate [-- SERVER ARGUMENTS] the same, then run a Restate server (from npm, into .tools) and the server over it
  serve [-- SERVER ARGUMENTS]   build for release, then run the server
  dev [CARGO LEPTOS ARGUMENTS]  cargo leptos watch, installed into .tools on first use
  lint                          formatting and lints of everything
  test                          lint, all tests, release build, end-to-end tests
  fuzz                          the tests with made-up input, for long (PROPTEST_CASES sets how long)
  bench                         measure the release build; table on the terminal and in target/bench.md
  check                         tell which prerequisites are missing and how to install them";

fn main() -> std::process::ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<String>) -> Result<std::process::ExitCode> {
    let project = Project::locate();
    let (command, rest) = args.split_first().map_or(("help", [].as_slice()), |(first, rest)| (first.as_str(), rest));
    match command {
        "build" => {
            prerequisites::require(&project)?;
            let (mode, engines) = build_options(rest)?;
            build::run_with(&project, mode, engines)?;
        }
        "serve" => return serve::run(&project, rest),
        "restate" => return restate::serve(&project, rest),
        "bench" => bench::run(&project)?,
        "dev" => return dev::exec(&project, rest),
        "lint" => return checks::lint(&project),
        "test" => return checks::test(&project),
        "fuzz" => return checks::fuzz(&project),
        "check" => prerequisites::require(&project)?,
        "help" | "--help" | "-h" => println!("{HELP}"),
        other => bail!("there is no command '{other}'\n\n{HELP}"),
    }
    Ok(std::process::ExitCode::SUCCESS)
}

fn build_options(args: &[String]) -> Result<(Mode, Engines)> {
    let (mut mode, mut engines) = (Mode::Release, Engines::Embedded);
    for arg in args {
        match arg.as_str() {
            "--release" => mode = Mode::Release,
            "--dev" => mode = Mode::Dev,
            "--restate" => engines = Engines::AlsoRestate,
            _ => bail!("'build' takes --release or --dev, and --restate"),
        }
    }
    Ok((mode, engines))
}
