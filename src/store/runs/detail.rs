//! A run in full, for people.

use super::super::StoreError;
use super::{Descendant, RunStore, SUMMARY, rows};
use crate::domain::{RunDetail, RunId};
use sqlx::{QueryBuilder, Sqlite};
use std::collections::HashMap;
use std::sync::Arc;

/// Runs below one run that are shown at most.
const DESCENDANTS_MAX: u32 = 300;

impl RunStore {
    /// Everything about a run, for people: long strings are cut.
    pub async fn detail(&self, id: &RunId) -> Result<RunDetail, StoreError> {
        let run = self.record(id).await?;
        let attempts = sqlx::query(
            "SELECT number, started_at, finished_at, error, retry_at, crashed FROM attempts WHERE run = ? ORDER BY n",
        );
        let attempts = attempts.bind(id.as_str()).fetch_all(&self.db.reader).await?;
        let logs = sqlx::query("SELECT at, level, message, attempt FROM run_logs WHERE run = ? ORDER BY n LIMIT 5000");
        let logs = logs.bind(id.as_str()).fetch_all(&self.db.reader).await?;
        let mut children = QueryBuilder::<Sqlite>::new("SELECT ");
        children.push(SUMMARY).push(" FROM runs WHERE parent = ").push_bind(id.as_str()).push(" ORDER BY n");
        let children = children.build().fetch_all(&self.db.reader).await?;
        let steps = sqlx::query(
            "SELECT name, attempt, started_at, finished_at, error FROM steps WHERE run = ? ORDER BY n LIMIT 1000",
        );
        let steps = steps.bind(id.as_str()).fetch_all(&self.db.reader).await?;
        Ok(RunDetail {
            fingerprint: run.fingerprint(),
            summary: run.summary,
            payload: rows::shown(Arc::unwrap_or_clone(run.payload)),
            output: run.output.map(rows::shown),
            error: run.error,
            idempotency_key: run.idempotency_key,
            replay_of: run.replay_of,
            steps: steps.iter().map(rows::step).collect::<Result<_, _>>()?,
            root: run.root,
            queue: run.labels.queue,
            lane: run.lane,
            batch: run.labels.batch,
            tags: run.labels.tags,
            metadata: run.labels.metadata,
            priority: run.priority,
            due_at: run.due_at,
            expires_at: run.expires_at,
            max_duration_ms: run.max_duration_ms,
            crashes: run.crashes,
            attempts: attempts.iter().map(rows::attempt).collect::<Result<_, _>>()?,
            logs: logs.iter().map(rows::log_line).collect::<Result<_, _>>()?,
            children: children.iter().map(rows::summary).collect::<Result<_, _>>()?,
        })
    }

    /// The runs that a run started and the ones they started, in the order they were submitted; at most 300.
    pub async fn descendants(&self, id: &RunId) -> Result<Vec<Descendant>, StoreError> {
        let mut below =
            QueryBuilder::<Sqlite>::new("WITH RECURSIVE below (id) AS (SELECT id FROM runs WHERE parent = ");
        below.push_bind(id.as_str());
        below.push(" UNION SELECT runs.id FROM runs JOIN below ON runs.parent = below.id) SELECT ").push(SUMMARY);
        below.push(" FROM runs WHERE id IN below ORDER BY n LIMIT ").push_bind(DESCENDANTS_MAX);
        let found = below.build().fetch_all(&self.db.reader).await?;
        let mut runs = Vec::with_capacity(found.len());
        let mut places = HashMap::new();
        for row in &found {
            let summary = rows::summary(row)?;
            places.insert(summary.id.clone(), runs.len());
            runs.push(Descendant { summary, attempts: Vec::new(), steps: Vec::new() });
        }
        if runs.is_empty() {
            return Ok(runs);
        }
        let ids: Vec<String> = runs.iter().map(|run| run.summary.id.to_string()).collect();
        for (table, columns) in [
            ("attempts", "run, number, started_at, finished_at, error, retry_at, crashed"),
            ("steps", "run, name, attempt, started_at, finished_at, error"),
        ] {
            let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
            query.push(columns).push(" FROM ").push(table).push(" WHERE run IN (");
            let mut list = query.separated(", ");
            for id in &ids {
                list.push_bind(id.clone());
            }
            query.push(") ORDER BY n");
            for row in query.build().fetch_all(&self.db.reader).await? {
                let run = rows::id(&row, "run", RunId::parse)?;
                let Some(run) = places.get(&run).and_then(|place| runs.get_mut(*place)) else { continue };
                if table == "attempts" {
                    run.attempts.push(rows::attempt(&row)?);
                } else {
                    run.steps.push(rows::step(&row)?);
                }
            }
        }
        Ok(runs)
    }
}
