//! Finding runs among very many: pages by key, counts and errors that are kept as runs change.
//!
//! A filter becomes one small indexed search for each status, of which each gives at most a page; the page is the
//! newest of them. So no filter sorts or counts all runs.

use super::super::StoreError;
use super::{RunStore, SUMMARY, rows};
use crate::domain::{ProjectId, RunId, RunStatus, RunSummary};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row as _, Sqlite};
use std::collections::BTreeSet;

/// The most runs one list returns.
const LIST_MAX: u32 = 200;
/// Searches in one statement: SQLite takes 500.
const SEARCHES_MAX: usize = 500;
/// Tags in a filter: each is a variable of each search, and SQLite takes some 32,000.
const TAGS_MAX: usize = 50;
/// The longest text searched for.
const TEXT_MAX: usize = 200;

/// Which runs to list, newest first. Everything given must fit.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// Of this project.
    pub project: Option<ProjectId>,
    /// With one of these statuses; any if empty.
    pub statuses: Vec<RunStatus>,
    /// Of the delayed ones only those that wait for another attempt (true), or only those that wait for their first.
    pub backoff: Option<bool>,
    /// Of one of these tasks; any if empty.
    pub tasks: Vec<String>,
    /// With this text in id, title or task.
    pub text: Option<String>,
    /// With one of these tags; any if empty.
    pub tags: Vec<String>,
    /// In this queue.
    pub queue: Option<String>,
    /// Of this batch.
    pub batch: Option<String>,
    /// Failed in this way.
    pub fingerprint: Option<String>,
    /// Submitted with this API key.
    pub owner: Option<String>,
    /// Submitted then or later (Unix ms).
    pub from: Option<u64>,
    /// Submitted then or before (Unix ms).
    pub to: Option<u64>,
    /// Not started by another run.
    pub top_only: bool,
    /// At most so many; 50 if not given, 200 at most.
    pub limit: Option<u32>,
    /// Older than this run.
    pub before: Option<RunId>,
    /// Newer than this run: the page before.
    pub after: Option<RunId>,
}

/// How many runs of a task have a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunCount {
    /// The task.
    pub task: String,
    /// The status.
    pub status: RunStatus,
    /// How many.
    pub count: u64,
}

/// Runs that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunError {
    /// What they have in common.
    pub fingerprint: String,
    /// Their task.
    pub task: String,
    /// The message of the last one.
    pub message: String,
    /// How many.
    pub count: u64,
    /// When the first one failed (Unix ms).
    pub first_at: u64,
    /// When the last one failed (Unix ms).
    pub last_at: u64,
    /// The last one.
    pub last_run: RunId,
}

impl RunStore {
    /// Runs that fit, newest first. A filter with more tasks or tags than can be searched for is [`StoreError::Invalid`].
    pub async fn list(&self, filter: &RunFilter) -> Result<Vec<RunSummary>, StoreError> {
        let limit = filter.limit.unwrap_or(50).clamp(1, LIST_MAX);
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(SUMMARY).push(" FROM runs WHERE n IN (SELECT n FROM (");
        for (at, (task, status)) in searches(filter)?.into_iter().enumerate() {
            if at > 0 {
                query.push(" UNION ALL ");
            }
            search(&mut query, filter, task, status, limit);
        }
        let newest = if filter.after.is_some() { "ASC" } else { "DESC" };
        query.push(") ORDER BY n ").push(newest).push(" LIMIT ").push_bind(limit).push(") ORDER BY n DESC");
        let found = query.build().fetch_all(&self.db.reader).await?;
        found.iter().map(rows::summary).collect()
    }

    /// How many runs there are, by task and status.
    pub async fn counts(&self) -> Result<Vec<RunCount>, StoreError> {
        let rows = sqlx::query("SELECT task, status, n FROM run_counts WHERE n > 0").fetch_all(&self.db.reader).await?;
        rows.iter().map(count).collect()
    }

    /// How many runs of a project there are, by task and status.
    pub async fn counts_of(&self, project: &ProjectId) -> Result<Vec<RunCount>, StoreError> {
        let rows = sqlx::query("SELECT task, status, COUNT(*) AS n FROM runs WHERE project = ? GROUP BY task, status")
            .bind(project.as_str())
            .fetch_all(&self.db.reader)
            .await?;
        rows.iter().map(count).collect()
    }

    /// Ways of failing, the latest first, at most so many.
    pub async fn errors(&self, limit: u32) -> Result<Vec<RunError>, StoreError> {
        let rows = sqlx::query("SELECT * FROM run_errors ORDER BY last_at DESC LIMIT ?")
            .bind(limit)
            .fetch_all(&self.db.reader)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(RunError {
                    fingerprint: row.try_get("fingerprint")?,
                    task: row.try_get("task")?,
                    message: row.try_get("message")?,
                    count: row.try_get::<i64, _>("n")?.cast_unsigned(),
                    first_at: row.try_get::<i64, _>("first_at")?.cast_unsigned(),
                    last_at: row.try_get::<i64, _>("last_at")?.cast_unsigned(),
                    last_run: rows::id(row, "last_run", RunId::parse)?,
                })
            })
            .collect()
    }
}

/// A task and a status to search for; none is any.
type Search<'a> = (Option<&'a String>, Option<RunStatus>);

/// The searches whose newest runs together are what fits: one for each task and status that is asked for.
fn searches(filter: &RunFilter) -> Result<Vec<Search<'_>>, StoreError> {
    let tasks: BTreeSet<&String> = filter.tasks.iter().collect();
    let asked = |status: &&RunStatus| filter.statuses.contains(status);
    // With a task its index is ordered within each status, so every status is searched on its own.
    let statuses: Vec<Option<RunStatus>> = match (filter.statuses.is_empty(), tasks.is_empty()) {
        (true, true) => vec![None],
        (true, false) => RunStatus::ALL.iter().copied().map(Some).collect(),
        (false, _) => RunStatus::ALL.iter().filter(asked).copied().map(Some).collect(),
    };
    let most = SEARCHES_MAX / statuses.len();
    if tasks.len() > most {
        return Err(StoreError::Invalid(format!(
            "runs of {} tasks cannot be listed at once; with these statuses at most {most} can",
            tasks.len()
        )));
    }
    if filter.tags.len() > TAGS_MAX {
        let message =
            format!("runs with any of {} tags cannot be listed at once; at most {TAGS_MAX}", filter.tags.len());
        return Err(StoreError::Invalid(message));
    }
    let tasks = if tasks.is_empty() { vec![None] } else { tasks.into_iter().map(Some).collect() };
    Ok(tasks.iter().flat_map(|task| statuses.iter().map(|status| (*task, *status))).collect())
}

/// A pattern for texts that hold this one, in whatever case.
fn like(text: &str) -> String {
    let mut pattern = String::from("%");
    for letter in text.chars().take(TEXT_MAX) {
        if matches!(letter, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(letter);
    }
    pattern.push('%');
    pattern
}

fn count(row: &SqliteRow) -> Result<RunCount, StoreError> {
    Ok(RunCount {
        task: row.try_get("task")?,
        status: rows::status(row)?,
        count: row.try_get::<i64, _>("n")?.cast_unsigned(),
    })
}

/// One search, in parentheses as `UNION ALL` wants it: the newest `limit` rows that fit, by their number.
fn search(
    query: &mut QueryBuilder<Sqlite>,
    filter: &RunFilter,
    task: Option<&String>,
    status: Option<RunStatus>,
    limit: u32,
) {
    query.push("SELECT * FROM (SELECT n FROM runs WHERE 1");
    let mut equal = |column: &str, value: Option<&str>| {
        if let Some(value) = value {
            query.push(" AND ").push(column).push(" = ").push_bind(value.to_owned());
        }
    };
    equal("task", task.map(String::as_str));
    equal("status", status.map(RunStatus::as_str));
    equal("project", filter.project.as_ref().map(ProjectId::as_str));
    equal("queue", filter.queue.as_deref());
    equal("batch", filter.batch.as_deref());
    equal("fingerprint", filter.fingerprint.as_deref());
    equal("owner", filter.owner.as_deref());
    if let Some(backoff) = filter.backoff.filter(|_| status == Some(RunStatus::Delayed)) {
        query.push(if backoff { " AND started_at IS NOT NULL" } else { " AND started_at IS NULL" });
    }
    if filter.top_only {
        query.push(" AND parent IS NULL");
    }
    if !filter.tags.is_empty() {
        query.push(" AND n IN (SELECT n FROM run_tags WHERE tag IN (");
        let mut tags = query.separated(", ");
        for tag in &filter.tags {
            tags.push_bind(tag.clone());
        }
        query.push("))");
    }
    if let Some(text) = filter.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        // LIKE looks at each column where it lies; joining them into one text first takes three times as long.
        let pattern = like(text);
        for (column, start) in [("title", " AND ("), ("task", " OR "), ("id", " OR ")] {
            query.push(start).push(column).push(" LIKE ").push_bind(pattern.clone()).push(" ESCAPE '\\'");
        }
        query.push(")");
    }
    // Numbers grow with the time of submission, so a period is a range of them.
    if let Some(from) = filter.from {
        query.push(" AND n >= (SELECT n FROM runs WHERE created_at >= ");
        query.push_bind(from.cast_signed()).push(" ORDER BY created_at, n LIMIT 1)");
    }
    if let Some(to) = filter.to {
        query.push(" AND n <= (SELECT n FROM runs WHERE created_at <= ");
        query.push_bind(to.cast_signed()).push(" ORDER BY created_at DESC, n DESC LIMIT 1)");
    }
    if let Some(before) = &filter.before {
        query.push(" AND n < (SELECT n FROM runs WHERE id = ").push_bind(before.as_str().to_owned()).push(")");
    }
    if let Some(after) = &filter.after {
        query.push(" AND n > (SELECT n FROM runs WHERE id = ").push_bind(after.as_str().to_owned()).push(")");
    }
    let newest = if filter.after.is_some() { "ASC" } else { "DESC" };
    query.push(" ORDER BY n ").push(newest).push(" LIMIT ").push_bind(limit).push(")");
}
