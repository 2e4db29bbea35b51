//! What a trigger says besides the payload, and how payloads are wrapped.

use super::PAYLOAD_LIMIT;
use super::error::Refusal;
use crate::domain::parse_rfc3339;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// The most attempts a run may have.
const ATTEMPTS_MAX: u32 = 250;
/// The longest idempotency key.
const KEY_MAX: usize = 2048;
/// How long an idempotency key finds its run unless said otherwise.
const KEY_TTL: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Tags a run may have, and characters a tag may have.
pub(super) const TAGS_MAX: (usize, usize) = (10, 128);

/// Body of a trigger, and of an item of a batch.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TriggerBody {
    /// JSON as text, or as it is.
    pub payload: Value,
    /// The rest.
    pub options: Options,
}

/// Options this server acts on. Those that only mean something to Trigger.dev's own workers and machines (`machine`,
/// `region`, `lockToVersion`, `concurrencyKey`) are taken and have no effect.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Options {
    /// How the payload is wrapped.
    pub payload_type: Option<String>,
    queue: Option<Queue>,
    /// A second trigger with it finds the first run.
    pub idempotency_key: Option<String>,
    #[serde(rename = "idempotencyKeyTTL")]
    idempotency_key_ttl: Option<String>,
    delay: Option<Value>,
    ttl: Option<Value>,
    tags: Option<Value>,
    metadata: Option<Value>,
    /// How often it is tried.
    pub max_attempts: Option<u32>,
    max_duration: Option<u64>,
    /// Seconds it goes ahead of its time.
    pub priority: Option<f64>,
    debounce: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
struct Queue {
    name: String,
}

impl Options {
    /// Refuses what would be pretended.
    pub fn check(&self) -> Result<(), Refusal> {
        if self.debounce.as_ref().is_some_and(|debounce| !debounce.is_null()) {
            return Err(Refusal::invalid("The option \"debounce\" is not supported here."));
        }
        if self.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_MAX) {
            return Err(Refusal::invalid(format!("An idempotency key has 1 to {KEY_MAX} characters.")));
        }
        if self.max_attempts.is_some_and(|most| most == 0 || most > ATTEMPTS_MAX) {
            return Err(Refusal::invalid(format!("maxAttempts is between 1 and {ATTEMPTS_MAX}.")));
        }
        Ok(())
    }

    /// The queue's name.
    pub fn queue(&self) -> Option<String> {
        self.queue.as_ref().map(|queue| queue.name.clone()).filter(|name| !name.is_empty())
    }

    /// How long its idempotency key counts.
    pub fn key_ttl(&self) -> Result<Option<Duration>, Refusal> {
        if self.idempotency_key.is_none() {
            return Ok(None);
        }
        let Some(text) = &self.idempotency_key_ttl else { return Ok(Some(KEY_TTL)) };
        let length = seconds(text).ok_or_else(|| not_a_duration("idempotencyKeyTTL", text))?;
        Ok(Some(Duration::from_secs(length)))
    }

    /// How long the first attempt waits.
    pub fn delay(&self, now: u64) -> Result<Option<Duration>, Refusal> {
        self.delay.as_ref().map(|delay| delay_of(delay, now)).transpose().map(Option::flatten)
    }

    /// Within which time it must have started, counted from when it may; 0 is for ever.
    pub fn ttl(&self) -> Result<Option<Duration>, Refusal> {
        let length = match &self.ttl {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::Number(length)) => length.as_u64(),
            Some(Value::String(text)) => Some(seconds(text).ok_or_else(|| not_a_duration("ttl", text))?),
            Some(_) => None,
        };
        let length = length.ok_or_else(|| Refusal::invalid("ttl is a duration, such as 10m, or seconds."))?;
        Ok(Some(length).filter(|length| *length > 0).map(Duration::from_secs))
    }

    /// Its tags.
    pub fn tags(&self) -> Result<Vec<String>, Refusal> {
        self.tags.as_ref().map(tags_of).transpose().map(Option::unwrap_or_default)
    }

    /// What is kept with it.
    pub fn metadata(&self) -> Result<Option<Value>, Refusal> {
        match &self.metadata {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => unwrap(text, "application/json").map(Some),
            Some(other) => Ok(Some(other.clone())),
        }
    }

    /// How long one attempt may take.
    pub fn max_duration(&self) -> Option<Duration> {
        self.max_duration.map(Duration::from_secs)
    }
}

impl TriggerBody {
    /// The payload itself.
    pub fn payload(&self) -> Result<Value, Refusal> {
        payload_of(&self.payload, self.options.payload_type.as_deref())
    }
}

/// A payload without its wrapping. superjson puts the plain value into `json`; what it says beside it about dates and
/// sets means nothing to the tasks here.
pub(super) fn payload_of(payload: &Value, kind: Option<&str>) -> Result<Value, Refusal> {
    let bytes = match payload {
        Value::String(text) => text.len(),
        other => other.to_string().len(),
    };
    if bytes > PAYLOAD_LIMIT {
        let message = format!("The payload is {bytes} bytes long; at most {PAYLOAD_LIMIT} bytes are allowed.");
        return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
    }
    match payload {
        Value::String(text) => unwrap(text, kind.unwrap_or("application/json")),
        other => Ok(other.clone()),
    }
}

fn unwrap(text: &str, kind: &str) -> Result<Value, Refusal> {
    let parse = || {
        serde_json::from_str::<Value>(text)
            .map_err(|error| Refusal::invalid(format!("The payload is not JSON: {error}")))
    };
    match kind {
        "text/plain" => Ok(Value::String(text.to_owned())),
        "application/super+json" => Ok(match parse()? {
            Value::Object(mut fields) if fields.contains_key("json") => fields.remove("json").unwrap_or_default(),
            other => other,
        }),
        "application/json" => parse(),
        other => Err(Refusal::invalid(format!("A payload of the type {other} is not understood; send JSON."))),
    }
}

/// A delay as a duration (`30s`, `1h30m`, `2d`) or as the moment it ends.
pub(super) fn delay_of(delay: &Value, now: u64) -> Result<Option<Duration>, Refusal> {
    match delay {
        Value::Null => Ok(None),
        Value::String(text) => match (seconds(text), parse_rfc3339(text)) {
            (Some(length), _) => Ok(Some(Duration::from_secs(length))),
            (None, Some(at)) => Ok(Some(Duration::from_millis(at.saturating_sub(now)))),
            (None, None) => Err(not_a_duration("delay", text)),
        },
        _ => Err(Refusal::invalid("delay is a duration, such as 10m, or a time.")),
    }
}

/// One tag or several.
pub(super) fn tags_of(tags: &Value) -> Result<Vec<String>, Refusal> {
    let tags: Vec<String> = match tags {
        Value::Null => Vec::new(),
        Value::String(tag) => vec![tag.clone()],
        Value::Array(tags) => tags.iter().filter_map(|tag| tag.as_str().map(str::to_owned)).collect(),
        _ => return Err(Refusal::invalid("tags are strings.")),
    };
    let (most, longest) = TAGS_MAX;
    if tags.len() > most || tags.iter().any(|tag| tag.is_empty() || tag.chars().count() > longest) {
        return Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("A run has at most {most} tags of 1 to {longest} characters."),
        ));
    }
    Ok(tags)
}

/// `90s`, `10m`, `1h30m`, `2d`, `1w` in seconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let (mut total, mut number) = (0u64, String::new());
    for letter in text.trim().chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let unit = match letter {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        number.clear();
    }
    (number.is_empty() && !text.trim().is_empty()).then_some(total)
}

fn not_a_duration(option: &str, text: &str) -> Refusal {
    Refusal::invalid(format!("{option}: \"{text}\" is not a duration, such as 30s, 1h30m or 2d."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn durations_are_read_with_every_unit() {
        let read = ["30s", "10m", "1h30m", "2d", "1w"].map(|text| seconds(text).unwrap());
        assert_eq!(read, [30, 600, 5_400, 172_800, 604_800]);
        for bad in ["", "5", "s", "1x", "-1s", "1.5h", "99999999999999999999s"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_time_to_live_is_a_duration_or_seconds_and_zero_is_none() {
        let ttl = |ttl: Value| Options { ttl: Some(ttl), ..Options::default() }.ttl();
        for (given, length) in [(json!("10m"), Some(600)), (json!(90), Some(90)), (json!(0), None), (json!("0s"), None)]
        {
            assert_eq!(ttl(given).unwrap(), length.map(Duration::from_secs));
        }
        for bad in [json!(-1), json!(1.5), json!("soon"), json!([1])] {
            assert!(ttl(bad).unwrap_err().message().starts_with("ttl"));
        }
    }

    #[test]
    fn payloads_come_out_of_every_wrapping() {
        let value = json!({"a": 1});
        assert_eq!(payload_of(&json!(r#"{"json":{"a":1},"meta":{}}"#), Some("application/super+json")).unwrap(), value);
        assert_eq!(payload_of(&json!(r#"{"a":1}"#), Some("application/json")).unwrap(), value);
        assert_eq!(payload_of(&json!(r#"{"a":1}"#), None).unwrap(), value);
        assert_eq!(payload_of(&value, None).unwrap(), value);
        assert_eq!(payload_of(&json!("hi"), Some("text/plain")).unwrap(), json!("hi"));
        assert!(payload_of(&json!("{"), None).unwrap_err().message().contains("not JSON"));
        assert!(payload_of(&json!("x"), Some("application/store")).is_err());
    }

    #[test]
    fn a_delay_is_a_length_or_a_moment() {
        assert_eq!(delay_of(&json!("1m"), 0).unwrap(), Some(Duration::from_secs(60)));
        assert_eq!(delay_of(&json!("1970-01-01T00:00:10.500Z"), 500).unwrap(), Some(Duration::from_secs(10)));
        assert!(delay_of(&json!("tomorrow"), 0).is_err());
    }
}
