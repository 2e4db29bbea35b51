//! Logging to stderr. Lines never carry prompts, bodies, query strings or secrets.

use tracing_subscriber::EnvFilter;

/// Installs the subscriber once. `SANDCASTLE_LOG` (else `RUST_LOG`) filters; `SANDCASTLE_LOG_FORMAT=json` for machines.
pub fn init(default: &str) {
    let filter = std::env::var("SANDCASTLE_LOG").or_else(|_| std::env::var("RUST_LOG")).unwrap_or_default();
    let filter = if filter.trim().is_empty() { default.to_owned() } else { filter };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(std::io::stderr)
        .with_target(false);
    let json = std::env::var("SANDCASTLE_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A subscriber that is already there (tests) stays.
    let _already_set = if json { subscriber.json().try_init() } else { subscriber.try_init() };
}
