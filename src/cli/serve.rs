//! `sandcastle serve`: the server in the foreground until Ctrl-C or SIGTERM.

use super::{Failed, interrupted};
use crate::boot::App;
use crate::config::Config;
use std::process::ExitCode;

/// Serves. The first signal ends it in order, a second one at once.
pub(super) async fn serve(config: Config) -> Result<ExitCode, Failed> {
    crate::telemetry::init("info,sqlx=warn,hyper=warn");
    let app = App::start(config).await?;
    super::say(&welcome(&app));
    interrupted().await;
    eprintln!("stopping (again to stop at once)");
    tokio::select! {
        () = app.stop() => Ok(ExitCode::SUCCESS),
        () = interrupted() => Ok(ExitCode::from(130)),
    }
}

fn welcome(app: &App) -> String {
    let config = &app.services().config;
    let mut lines = vec![format!("Sandcastle is ready at {}", app.url())];
    if let Some(url) = &config.server.public_url {
        lines.push(format!("Browsers reach it at {url}, previews below {}.", config.server.preview_domain));
    }
    if !config.model.configured {
        lines.push(
            "No model is configured, so the recorded demo answers. To connect a model, set AI_GATEWAY_API_KEY".into(),
        );
        lines.push(
            "(and AI_GATEWAY_BASE_URL for any other OpenAI-compatible server) here, in .env or in .env.local.".into(),
        );
    }
    if config.server.access_token.is_some() {
        lines.push("Sign in with the access token from SANDCASTLE_ACCESS_TOKEN.".to_owned());
    }
    lines.push(format!("Projects are kept in {}.", config.server.data_dir.display()));
    lines.join("\n")
}
