//! Everything that happened in a run and in those it started, in the order of time, a page at a time.

use super::super::StoreError;
use super::{RunStore, rows};
use crate::domain::{ApiError, LogLevel, RunId, RunStatus};
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// When (Unix ms).
    pub at: u64,
    /// In which run.
    pub run: RunId,
    /// Its task.
    pub task: String,
    /// What.
    pub what: What,
    /// Behind which the next page begins.
    pub place: Place,
}

/// Where a page ends: a time, a kind and a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(i64, i64, i64);

/// What can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The run was submitted, with this title.
    Submitted(String),
    /// The attempt of this number began.
    AttemptBegan(u32),
    /// The step of this name began.
    StepBegan(String),
    /// A line was logged.
    Logged(LogLevel, String),
    /// The step ended, with its error if it failed.
    StepEnded(String, Option<ApiError>),
    /// The attempt ended: with its error, or cut off by the end of the server.
    AttemptEnded {
        /// Which.
        number: u32,
        /// Why it did not succeed.
        error: Option<ApiError>,
        /// Whether it was cut off.
        crashed: bool,
    },
    /// The run ended, with its error if it failed.
    Ended(RunStatus, Option<ApiError>),
}

/// The kind decides the order within a millisecond.
const PAGE: &str = "
WITH RECURSIVE tree (id, task) AS (
    SELECT id, task FROM runs WHERE id = ?1
    UNION SELECT runs.id, runs.task FROM runs JOIN tree ON runs.parent = tree.id
), happened (at, kind, n, run, number, text, more) AS (
    SELECT created_at, 0, n, runs.id, 0, title, NULL FROM runs JOIN tree USING (id)
    UNION ALL SELECT started_at, 1, n, run, number, NULL, NULL FROM attempts JOIN tree ON run = id
    UNION ALL SELECT started_at, 2, n, run, attempt, name, NULL FROM steps JOIN tree ON run = id
    UNION ALL SELECT at, 3, n, run, attempt, message, level FROM run_logs JOIN tree ON run = id
    UNION ALL SELECT finished_at, 4, n, run, attempt, name, error FROM steps JOIN tree ON run = id
    UNION ALL SELECT finished_at, 5 + crashed, n, run, number, NULL, error FROM attempts JOIN tree ON run = id
    UNION ALL SELECT finished_at, 7, n, runs.id, 0, status, error FROM runs JOIN tree USING (id)
)
SELECT happened.*, task FROM happened JOIN tree ON run = id
WHERE at IS NOT NULL AND (at, kind, n) > (?2, ?3, ?4) ORDER BY at, kind, n LIMIT ?5";

impl RunStore {
    /// The next happenings behind a place, at most so many.
    pub async fn history(&self, id: &RunId, after: Place, limit: u32) -> Result<Vec<Happening>, StoreError> {
        let page = sqlx::query(PAGE).bind(id.as_str()).bind(after.0).bind(after.1).bind(after.2).bind(limit);
        page.fetch_all(&self.db.reader).await?.iter().map(happening).collect()
    }
}

fn happening(row: &SqliteRow) -> Result<Happening, StoreError> {
    let place = Place(row.try_get("at")?, row.try_get("kind")?, row.try_get("n")?);
    let text = || row.try_get::<Option<String>, _>("text").map(Option::unwrap_or_default);
    let number = row.try_get("number")?;
    let error = || rows::json::<ApiError>(row, "more");
    let what = match place.1 {
        0 => What::Submitted(text()?),
        1 => What::AttemptBegan(number),
        2 => What::StepBegan(text()?),
        3 => What::Logged(rows::level(row, "more")?, text()?),
        4 => What::StepEnded(text()?, error()?),
        5 | 6 => What::AttemptEnded { number, error: error()?, crashed: place.1 == 6 },
        _ => {
            let status = text()?;
            let known = RunStatus::parse(&status).ok_or_else(|| StoreError::Corrupt(format!("run status {status}")))?;
            What::Ended(known, error()?)
        }
    };
    Ok(Happening {
        at: place.0.cast_unsigned(),
        run: rows::id(row, "run", RunId::parse)?,
        task: row.try_get("task")?,
        what,
        place,
    })
}
