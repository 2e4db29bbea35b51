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
mod serve;

use anyhow::{Result, bail};
use project::{Mode, Project};

const HELP: &str = "\
cargo xtask COMMAND

  build [--release | --dev]     build browser files, server and sandbox init (default: --release)
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
            build::run(&project, mode(rest)?)?;
        }
        "serve" => return serve::run(&project, rest),
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

fn mode(args: &[String]) -> Result<Mode> {
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["--release"] => Ok(Mode::Release),
        ["--dev"] => Ok(Mode::Dev),
        _ => bail!("'build' takes --release or --dev"),
    }
}
