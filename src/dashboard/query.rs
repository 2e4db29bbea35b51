//! The address of a list of runs: what it asks for, and the addresses of its neighbours.

use crate::domain::{ApiError, ProjectId, RunId, RunStatus};
use crate::workflow::RunFilter;
use serde::{Deserialize, Serialize};

/// Periods that can be chosen: the word in the address, the words for people, milliseconds.
pub const PERIODS: [(&str, &str, u64); 5] = [
    ("15m", "Last 15 minutes", 15 * 60_000),
    ("1h", "Last hour", 3_600_000),
    ("24h", "Last 24 hours", 86_400_000),
    ("7d", "Last 7 days", 7 * 86_400_000),
    ("30d", "Last 30 days", 30 * 86_400_000),
];

/// Groups of statuses that can be chosen, besides each status.
const GROUPS: [(&str, &[RunStatus]); 2] = [
    ("active", &[RunStatus::Delayed, RunStatus::Queued, RunStatus::Dequeued, RunStatus::Executing, RunStatus::Waiting]),
    (
        "failures",
        &[RunStatus::Failed, RunStatus::Crashed, RunStatus::SystemFailure, RunStatus::Expired, RunStatus::TimedOut],
    ),
];

/// The query of `/runs`. Empty fields are as good as missing ones: forms send them.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ListQuery {
    /// A status, `active` or `failures`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub status: String,
    /// A task.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub task: String,
    /// A project.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub project: String,
    /// One of [`PERIODS`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub period: String,
    /// Part of an id, title or task.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The fingerprint of an error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// A tag.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tag: String,
    /// A batch.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub batch: String,
    /// `errors` for the list of errors.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub view: String,
    /// Older than this run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub before: String,
    /// Newer than this run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub after: String,
}

impl ListQuery {
    /// The same question to the store. `now` in Unix ms.
    pub fn filter(&self, now: u64) -> Result<RunFilter, ApiError> {
        let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        Ok(RunFilter {
            project: some(&self.project).map(ProjectId::parse).transpose().map_err(invalid)?,
            statuses: statuses(&self.status)?,
            tasks: some(&self.task).into_iter().collect(),
            text: some(&self.text),
            tags: some(&self.tag).into_iter().collect(),
            batch: some(&self.batch),
            fingerprint: some(&self.error),
            from: period(&self.period)?.map(|length| now.saturating_sub(length)),
            before: some(&self.before).map(RunId::parse).transpose().map_err(invalid)?,
            after: some(&self.after).map(RunId::parse).transpose().map_err(invalid)?,
            ..RunFilter::default()
        })
    }

    /// The same list from its beginning.
    pub fn first_page(&self) -> Self {
        Self { before: String::new(), after: String::new(), ..self.clone() }
    }

    /// Whether anything is left out.
    pub fn narrows(&self) -> bool {
        !Self { view: String::new(), ..self.first_page() }.encoded().is_empty()
    }

    /// The address of this list.
    pub fn href(&self) -> String {
        self.under("/runs")
    }

    /// An address that carries this list along, so that a run knows its neighbours in it.
    pub fn under(&self, path: &str) -> String {
        match self.encoded() {
            query if query.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// Its fields that are not empty, for hidden inputs.
    pub fn fields(&self) -> Vec<(String, String)> {
        let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(self) else { return Vec::new() };
        let text = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        fields.into_iter().map(|(name, value)| (name, text(value))).collect()
    }

    fn encoded(&self) -> String {
        let fields = self.fields();
        fields.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect::<Vec<_>>().join("&")
    }
}

fn statuses(word: &str) -> Result<Vec<RunStatus>, ApiError> {
    let word = word.trim();
    if word.is_empty() {
        return Ok(Vec::new());
    }
    if let Some((_, group)) = GROUPS.iter().find(|(name, _)| *name == word) {
        return Ok(group.to_vec());
    }
    match RunStatus::parse(word) {
        Some(status) => Ok(vec![status]),
        None => Err(ApiError::invalid(format!("there is no status \"{word}\""))),
    }
}

fn period(word: &str) -> Result<Option<u64>, ApiError> {
    if word.is_empty() {
        return Ok(None);
    }
    match PERIODS.iter().find(|(name, ..)| *name == word) {
        Some((.., length)) => Ok(Some(*length)),
        None => Err(ApiError::invalid(format!("there is no period \"{word}\"; choose 15m, 1h, 24h, 7d or 30d"))),
    }
}

fn invalid(error: impl std::fmt::Display) -> ApiError {
    ApiError::invalid(error.to_string())
}

fn encode(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_carries_what_was_asked_and_nothing_empty() {
        let query = ListQuery { text: "npm install & more".into(), status: "failures".into(), ..ListQuery::default() };
        assert_eq!(query.href(), "/runs?status=failures&text=npm%20install%20%26%20more");
        assert_eq!(query.filter(0).unwrap().statuses.len(), 5);
        assert!(query.narrows() && !ListQuery { before: "run_1".into(), ..ListQuery::default() }.narrows());
    }

    #[test]
    fn what_is_not_understood_is_said() {
        let wrong = ListQuery { status: "LOST".into(), ..ListQuery::default() };
        assert_eq!(wrong.filter(0).unwrap_err().message, "there is no status \"LOST\"");
        let wrong = ListQuery { period: "1y".into(), ..ListQuery::default() };
        assert!(wrong.filter(0).unwrap_err().message.contains("15m"));
    }
}
