//! Reading arguments that are almost JSON. What is repaired has one meaning only; anything else is the model's to correct.

use serde::Deserialize;
use serde_json::{Error, Map, Value};

/// Arguments as a value. A call without arguments is written in many ways.
pub(super) fn parse(text: &str) -> Result<Value, Error> {
    let text = unfenced(text.trim());
    if text.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    match read(text) {
        Ok(Value::Null) => Ok(Value::Object(Map::new())),
        // Encoded twice: a string that holds the object.
        Ok(Value::String(inner)) if inner.trim_start().starts_with('{') => read(unfenced(inner.trim())),
        Ok(value) => Ok(value),
        Err(error) => read(&escaped(text)).map_err(|_| error),
    }
}

/// The first value; a token of the model's template behind it is dropped.
fn read(text: &str) -> Result<Value, Error> {
    let mut stream = serde_json::Deserializer::from_str(text);
    let value = Value::deserialize(&mut stream)?;
    match stream.end() {
        Err(error) if !value.is_object() => Err(error),
        _ => Ok(value),
    }
}

fn unfenced(text: &str) -> &str {
    let Some(inner) = text.strip_prefix("```") else { return text };
    let inner = inner.strip_prefix("json").unwrap_or(inner);
    inner.trim_end().strip_suffix("```").unwrap_or(inner).trim()
}

/// Line breaks and tabs inside strings as JSON wants them.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut inside, mut after_backslash) = (false, false);
    for c in text.chars() {
        match c {
            '\n' if inside => out.push_str("\\n"),
            '\r' if inside => out.push_str("\\r"),
            '\t' if inside => out.push_str("\\t"),
            c => out.push(c),
        }
        if c == '"' && !after_backslash {
            inside = !inside;
        }
        after_backslash = c == '\\' && !after_backslash;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_has_one_meaning_is_repaired() {
        for text in [
            "{\"a\":\"x\\ny\"}",
            "{\"a\":\"x\ny\"}",
            "```json\n{\"a\":\"x\\ny\"}\n```",
            "\"{\\\"a\\\":\\\"x\\\\ny\\\"}\"",
            "{\"a\":\"x\\ny\"}<|end|>",
        ] {
            assert_eq!(parse(text).unwrap(), json!({"a": "x\ny"}), "{text}");
        }
        assert_eq!(parse(" ").unwrap(), json!({}));
        assert_eq!(parse("null").unwrap(), json!({}));
    }

    #[test]
    fn what_is_cut_or_wrong_is_refused() {
        assert!(parse("{\"a\":\"x").unwrap_err().is_eof());
        assert!(parse("{\"a\" 1}").is_err());
        assert!(parse("\"x\" y").is_err());
    }
}
