//! How the browser reads JSON: by value, in small functions that all types share.
//!
//! The form is defined by the types' `#[serde(...)]` attributes; `#[derive(FromJson)]` reads them too. The server reads
//! with serde. A test holds that both read alike. It must not know any type of the domain.

pub use sandcastle_derive::FromJson;

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// A value that is not what it should be: the name of the type or field that was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} could not be read")]
pub struct Unread(pub &'static str);

/// Reads itself from JSON.
pub trait FromJson: Sized {
    /// Reads a value.
    fn from_json(value: Value) -> Result<Self, Unread>;

    /// What a missing field means.
    fn absent() -> Option<Self> {
        None
    }
}

/// Reads a whole text.
pub fn read<T: FromJson>(text: &[u8]) -> Result<T, Unread> {
    T::from_json(parse(text)?)
}

fn parse(text: &[u8]) -> Result<Value, Unread> {
    serde_json::from_slice(text).map_err(|_| Unread("JSON"))
}

/// The fields of an object.
pub fn fields(value: Value) -> Result<Map<String, Value>, Unread> {
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(Unread("an object")),
    }
}

/// An enum's tag and what it holds: `"tag"` or `{"tag": …}`.
pub fn variant(value: Value) -> Result<(String, Value), Unread> {
    match value {
        Value::String(tag) => Ok((tag, Value::Null)),
        Value::Object(outer) => outer.into_iter().next().ok_or(Unread("an enum")),
        _ => Err(Unread("an enum")),
    }
}

/// Takes a field out.
pub fn field<T: FromJson>(fields: &mut Map<String, Value>, name: &'static str) -> Result<T, Unread> {
    match fields.remove(name) {
        Some(value) => T::from_json(value),
        None => T::absent().ok_or(Unread(name)),
    }
}

/// Takes a field out that may be missing.
pub fn field_or_default<T: FromJson + Default>(
    fields: &mut Map<String, Value>,
    name: &'static str,
) -> Result<T, Unread> {
    fields.remove(name).map_or_else(|| Ok(T::default()), T::from_json)
}

impl FromJson for Value {
    fn from_json(value: Value) -> Result<Self, Unread> {
        Ok(value)
    }
}

impl FromJson for () {
    fn from_json(_: Value) -> Result<Self, Unread> {
        Ok(())
    }
}

impl FromJson for bool {
    fn from_json(value: Value) -> Result<Self, Unread> {
        value.as_bool().ok_or(Unread("a boolean"))
    }
}

impl FromJson for f64 {
    fn from_json(value: Value) -> Result<Self, Unread> {
        value.as_f64().ok_or(Unread("a number"))
    }
}

impl FromJson for String {
    fn from_json(value: Value) -> Result<Self, Unread> {
        match value {
            Value::String(text) => Ok(text),
            _ => Err(Unread("a text")),
        }
    }
}

macro_rules! integers {
    ($($integer:ty),*) => { $(
        impl FromJson for $integer {
            fn from_json(value: Value) -> Result<Self, Unread> {
                value.as_i64().and_then(|n| n.try_into().ok()).ok_or(Unread("an integer"))
            }
        }
    )* };
}

integers!(u8, u16, u32, usize, i32, i64);

impl FromJson for u64 {
    fn from_json(value: Value) -> Result<Self, Unread> {
        value.as_u64().ok_or(Unread("an integer"))
    }
}

impl<T: FromJson> FromJson for Option<T> {
    fn from_json(value: Value) -> Result<Self, Unread> {
        if value.is_null() { Ok(None) } else { T::from_json(value).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl<T: FromJson> FromJson for Vec<T> {
    fn from_json(value: Value) -> Result<Self, Unread> {
        match value {
            Value::Array(items) => items.into_iter().map(T::from_json).collect(),
            _ => Err(Unread("a list")),
        }
    }
}

impl<T: FromJson> FromJson for Box<T> {
    fn from_json(value: Value) -> Result<Self, Unread> {
        T::from_json(value).map(Self::new)
    }
}

impl<T: FromJson> FromJson for BTreeMap<String, T> {
    fn from_json(value: Value) -> Result<Self, Unread> {
        fields(value)?.into_iter().map(|(name, value)| Ok((name, T::from_json(value)?))).collect()
    }
}

impl<A: FromJson, B: FromJson> FromJson for (A, B) {
    fn from_json(value: Value) -> Result<Self, Unread> {
        match <[Value; 2]>::try_from(Vec::<Value>::from_json(value)?) {
            Ok([a, b]) => Ok((A::from_json(a)?, B::from_json(b)?)),
            Err(_) => Err(Unread("a pair")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, PartialEq, Serialize, Deserialize, FromJson)]
    struct Whole {
        a: u16,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        b: Option<String>,
        #[serde(default)]
        c: Vec<Choice>,
        #[serde(rename = "type")]
        kind: Choice,
        pair: (String, bool),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize, FromJson)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        NoValue,
        OneValue(Box<u64>),
        Fields { big_one: i64 },
    }

    #[test]
    fn what_serde_writes_is_read_as_serde_reads_it() {
        let whole = |b, c| Whole { a: 7, b, c, kind: Choice::NoValue, pair: ("x".into(), true) };
        for value in [
            whole(None, Vec::new()),
            whole(Some("b".into()), vec![Choice::OneValue(Box::new(u64::MAX)), Choice::Fields { big_one: -3 }]),
        ] {
            let text = serde_json::to_vec(&value).unwrap();
            assert_eq!(read::<Whole>(&text), Ok(serde_json::from_slice::<Whole>(&text).unwrap()));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in [
            r#"{"kind":"no_value"}"#,
            r#"{"a":70000,"type":"no_value","pair":["x",true]}"#,
            r#"{"a":1,"type":"other","pair":["x",true]}"#,
            r#"{"a":1,"type":"no_value","pair":["x"]}"#,
            "[]",
            "{",
        ] {
            assert!(read::<Whole>(text.as_bytes()).is_err(), "{text}");
            assert!(serde_json::from_str::<Whole>(text).is_err(), "{text}");
        }
    }
}
