//! `lint` and `test`: every check in one go, one summary at the end, an exit status that tells the truth.
//!
//! A failed step does not hide the later ones, except where they cannot mean anything without it.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};

use crate::process::{cargo, run, run_tests};
use crate::project::{INIT, Mode, NAME, Project, WASM_TARGET};
use crate::{build, end2end, prerequisites, restate};

/// Formatting and lints of all crates, for the server and for the browser.
pub fn lint(project: &Project) -> Result<ExitCode> {
    prerequisites::require(project)?;
    let mut report = Report::default();
    lint_steps(project, &mut report);
    Ok(report.close())
}

/// Lints, unit and integration tests, the release build, and the end-to-end tests over it.
pub fn test(project: &Project) -> Result<ExitCode> {
    prerequisites::require(project)?;
    let mut report = Report::default();
    lint_steps(project, &mut report);
    // The integration tests start real sandboxes, so the init must be where a debug server finds it.
    report.step("sandbox init", || build::init(project, Mode::Dev));
    let restate = restate::install(project);
    report.step("unit and integration tests", || {
        let mut cargo = cargo(&project.root);
        if let Ok(server) = &restate {
            cargo.env("SANDCASTLE_RESTATE_SERVER", server);
        }
        run_tests(cargo.args(["test", "--no-fail-fast", "--package", NAME, "--features", "restate"]))
    });
    if let Err(error) = restate {
        report.skip("the engine's promises under Restate", format!("{error:#}"));
    }
    report.step("tests of init and xtask", || {
        run_tests(cargo(&project.root).args(["test", "--package", INIT]))?;
        run_tests(cargo(&project.root).args(["test", "--profile", "xtask", "--package", "xtask"]))
    });
    let built = report.step("release build", || build::run(project, Mode::Release));
    if built {
        report.step("end-to-end tests", || end2end::run(project));
    } else {
        report.skip("end-to-end tests", "there is no release build".to_owned());
    }
    Ok(report.close())
}

/// The tests with made-up input, for far longer than `test` runs them. Those are in modules named `fuzz`.
pub fn fuzz(project: &Project) -> Result<ExitCode> {
    const CASES: &str = "200000";
    prerequisites::require(project)?;
    let mut report = Report::default();
    report.step("made-up input", || {
        let mut cargo = cargo(&project.root);
        cargo.args(["test", "--package", NAME, "--features", "restate", "--lib", "--", "fuzz::"]);
        run(cargo.env("PROPTEST_CASES", std::env::var("PROPTEST_CASES").as_deref().unwrap_or(CASES)))
    });
    Ok(report.close())
}

fn lint_steps(project: &Project, report: &mut Report) {
    const DENY: [&str; 3] = ["--", "-D", "warnings"];
    report.step("formatting", || run(cargo(&project.root).args(["fmt", "--all", "--check"])));
    report.step("lints, server", || {
        run(cargo(&project.root)
            .args(["clippy", "--package", NAME, "--all-targets", "--features", "restate"])
            .args(DENY))
    });
    report.step("lints, browser", || {
        let mut cargo = cargo(&project.root);
        cargo.args(["clippy", "--package", NAME, "--lib", "--target", WASM_TARGET, "--features", "hydrate"]);
        run(cargo.arg("--target-dir").arg(project.front_target()).args(DENY))
    });
    report.step("lints, init, derive and xtask", || {
        run(cargo(&project.root).args(["clippy", "--package", "sandcastle-derive", "--all-targets"]).args(DENY))?;
        run(cargo(&project.root).args(["clippy", "--package", INIT, "--all-targets"]).args(DENY))?;
        let xtask = ["clippy", "--profile", "xtask", "--package", "xtask", "--all-targets"];
        run(cargo(&project.root).args(xtask).args(DENY))
    });
}

/// What the steps came to.
#[derive(Default)]
struct Report(Vec<Line>);

struct Line {
    name: &'static str,
    took: Duration,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failed(Error),
    Skipped(String),
}

impl Report {
    /// Runs one step and returns whether it passed.
    fn step(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> bool {
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = step().map_or_else(Outcome::Failed, |()| Outcome::Passed);
        let passed = matches!(outcome, Outcome::Passed);
        self.0.push(Line { name, took: started.elapsed(), outcome });
        passed
    }

    fn skip(&mut self, name: &'static str, reason: String) {
        self.0.push(Line { name, took: Duration::ZERO, outcome: Outcome::Skipped(reason) });
    }

    fn close(self) -> ExitCode {
        println!("\n== summary");
        for Line { name, took, outcome } in &self.0 {
            let seconds = took.as_secs_f64();
            match outcome {
                Outcome::Passed => println!("  passed   {seconds:7.1} s  {name}"),
                Outcome::Failed(error) => println!("  FAILED   {seconds:7.1} s  {name}: {error:#}"),
                Outcome::Skipped(reason) => println!("  SKIPPED             {name}: {reason}"),
            }
        }
        let good = self.0.iter().all(|line| matches!(line.outcome, Outcome::Passed));
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
