//! Following runs: `runs.subscribeToRun`, by tags, and by batch.

use super::super::AppState;
use super::auth::Reader;
use super::error::Refusal;
use super::runs::readable;
use super::shape::Shape;
use crate::domain::RunId;
use crate::store::RunRecord;
use crate::workflow::RunFilter;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use serde::Deserialize;
use std::time::Duration;

/// How long a poll waits for a change; proxies and clients give up after a minute.
const POLL: Duration = Duration::from_secs(20);
/// Runs in a shape of several.
const ROWS: u32 = 100;

/// The query of a shape.
#[derive(Debug, Default, Deserialize)]
pub struct ShapeQuery {
    /// What the reader has seen; `-1` is nothing.
    offset: Option<String>,
    /// Whether to wait for a change.
    live: Option<String>,
    /// Tags, separated by commas.
    tags: Option<String>,
}

/// Whose rows a shape has.
enum Rows {
    Run(RunId),
    Tags(Vec<String>),
    Batch(String),
}

/// `GET /realtime/v1/runs/{run}`
pub async fn run(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<ShapeQuery>,
    reader: Reader,
) -> Result<Response, Refusal> {
    let run = readable(&app, &reader, &id).await?;
    follow(&app, &reader, Rows::Run(run.summary.id), &query).await
}

/// `GET /realtime/v1/runs?tags=`
pub async fn by_tags(
    State(app): State<AppState>,
    Query(query): Query<ShapeQuery>,
    reader: Reader,
) -> Result<Response, Refusal> {
    let listed = query.tags.as_deref().unwrap_or_default().split(',');
    let tags: Vec<String> = listed.filter(|tag| !tag.is_empty()).map(str::to_owned).collect();
    if tags.is_empty() {
        return Err(Refusal::invalid("Say which tags: ?tags=a,b"));
    }
    if reader.may_read("runs", "*").is_err() {
        for tag in &tags {
            reader.may_read("tags", tag)?;
        }
    }
    follow(&app, &reader, Rows::Tags(tags), &query).await
}

/// `GET /realtime/v1/batches/{batch}`
pub async fn batch(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Query(query): Query<ShapeQuery>,
    reader: Reader,
) -> Result<Response, Refusal> {
    reader.may_read("batch", &id)?;
    app.services.workflow.store().batches().get(&id, &reader.owner).await?;
    follow(&app, &reader, Rows::Batch(id), &query).await
}

async fn follow(app: &AppState, reader: &Reader, rows: Rows, query: &ShapeQuery) -> Result<Response, Refusal> {
    let handle = handle(&rows);
    // Watching begins before the first look, so that no change falls between the two.
    let mut changes = app.services.workflow.store().changes();
    let mut shape = Shape::of(&read(app, reader, &rows).await?);
    let seen = query.offset.as_deref().unwrap_or("-1");
    if seen == "-1" {
        return Ok(shape.answer(&handle, true));
    }
    if query.live.as_deref() != Some("true") {
        let same = shape.offset() == seen;
        return Ok(if same { shape.unchanged(&handle) } else { shape.answer(&handle, false) });
    }
    let changed = async {
        while shape.offset() == seen {
            // A closed channel cannot be: the store outlives the request. Missed changes are as good as one.
            let _told = changes.recv().await;
            shape = Shape::of(&read(app, reader, &rows).await?);
        }
        Ok::<_, Refusal>(())
    };
    let waited = tokio::time::timeout(POLL, app.shutdown.run_until_cancelled(changed)).await;
    match waited {
        Ok(Some(Err(refusal))) => Err(refusal),
        Ok(Some(Ok(()))) => Ok(shape.answer(&handle, false)),
        Ok(None) | Err(_) => Ok(shape.unchanged(&handle)),
    }
}

async fn read(app: &AppState, reader: &Reader, rows: &Rows) -> Result<Vec<RunRecord>, Refusal> {
    let runs = app.services.workflow.store();
    let ids = match rows {
        Rows::Run(id) => vec![id.clone()],
        Rows::Batch(id) => runs.batches().get(id, &reader.owner).await?.runs.into_iter().map(|(_, run)| run).collect(),
        Rows::Tags(tags) => {
            let owner = Some(reader.owner.clone());
            let filter = RunFilter { tags: tags.clone(), owner, limit: Some(ROWS), ..RunFilter::default() };
            runs.list(&filter).await?.into_iter().map(|run| run.id).collect()
        }
    };
    let mut records = Vec::with_capacity(ids.len());
    for id in ids {
        records.push(runs.record(&id).await?);
    }
    Ok(records)
}

/// The name of a shape: the same question has the same one.
fn handle(rows: &Rows) -> String {
    match rows {
        Rows::Run(id) => id.to_string(),
        Rows::Batch(id) => id.clone(),
        Rows::Tags(tags) => {
            let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
            format!("tags-{}", tags.join("-").chars().map(safe).collect::<String>())
        }
    }
}
