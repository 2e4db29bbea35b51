//! An enum on the wire as an object with a tag: `{"type": "text_delta", "text": …}`.
//!
//! serde's own inner tags decode through a buffer that is compiled anew for every type inside, which made a quarter of
//! the browser's download. Here the enums derive outer tags and this file turns the one form into the other by value.

use serde::Serialize;
use serde_json::{Map, Value};

/// An enum as fields and a tag.
pub(super) fn flatten<T: Serialize>(value: &T, tag: &str) -> Result<Map<String, Value>, String> {
    let (name, mut fields) = match serde_json::to_value(value).map_err(|error| error.to_string())? {
        Value::String(name) => (name, Map::new()),
        Value::Object(outer) => match outer.into_iter().next() {
            Some((name, Value::Object(fields))) => (name, fields),
            _ => return Err("a variant needs named fields".to_owned()),
        },
        _ => return Err("not an enum".to_owned()),
    };
    fields.insert(tag.to_owned(), Value::String(name));
    Ok(fields)
}

/// The inverse of [`flatten`]: what the enum's derived `Deserialize` reads.
pub(super) fn nest(mut fields: Map<String, Value>, tag: &str) -> Result<Value, String> {
    let Some(Value::String(name)) = fields.remove(tag) else { return Err(format!("missing field `{tag}`")) };
    if fields.is_empty() {
        return Ok(Value::String(name));
    }
    let mut outer = Map::new();
    outer.insert(name, Value::Object(fields));
    Ok(Value::Object(outer))
}
