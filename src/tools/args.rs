//! Reading arguments as models write them: numbers and flags in quotes are accepted, and each error names its field.

use super::ToolError;
use crate::domain::{CommandId, clean_path};
use serde_json::Value;

/// A field that must be there and be text.
pub(super) fn text<'a>(args: &'a Value, field: &str) -> Result<&'a str, ToolError> {
    match args.get(field) {
        Some(Value::String(text)) => Ok(text),
        Some(other) => Err(wrong(field, "a string", other)),
        None => Err(missing(args, field)),
    }
}

/// As [`text`], but not blank.
pub(super) fn words<'a>(args: &'a Value, field: &str) -> Result<&'a str, ToolError> {
    let text = text(args, field)?;
    if text.trim().is_empty() { Err(ToolError::Model(format!("\"{field}\" is empty"))) } else { Ok(text) }
}

/// A whole number, if given.
pub(super) fn number(args: &Value, field: &str, min: u64, max: u64) -> Result<Option<u64>, ToolError> {
    let value = match args.get(field) {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let number = match value {
        Value::String(text) => text.trim().parse().ok(),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the range is checked below; models write 60.0"
        )]
        other => other.as_u64().or_else(|| other.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64)),
    };
    match number.filter(|n| (min..=max).contains(n)) {
        Some(number) => Ok(Some(number)),
        None => Err(wrong(field, &format!("a whole number from {min} to {max}"), value)),
    }
}

/// A flag; missing is `false`.
pub(super) fn flag(args: &Value, field: &str) -> Result<bool, ToolError> {
    match args.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(other) => Err(wrong(field, "true or false", other)),
    }
}

/// A workspace path that must be there.
pub(super) fn path(args: &Value, field: &str) -> Result<String, ToolError> {
    clean_path(words(args, field)?).map_err(|e| ToolError::Model(format!("\"{field}\": {e}")))
}

/// A folder; missing, empty, `.` and `/home/user` are the workspace's root, the empty string.
pub(super) fn folder(args: &Value, field: &str) -> Result<String, ToolError> {
    match args.get(field) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) if is_root(text) => Ok(String::new()),
        Some(_) => path(args, field),
    }
}

fn is_root(text: &str) -> bool {
    let text = text.trim().trim_end_matches('/');
    matches!(text, "" | "." | "~" | "/home/user")
}

/// The id of a command, as `run_command` returned it.
pub(super) fn command(args: &Value) -> Result<CommandId, ToolError> {
    CommandId::parse(words(args, "command_id")?.trim()).map_err(|_| {
        ToolError::Model(
            "\"command_id\" is not the id of a command; use the cmd_... that run_command returned".to_owned(),
        )
    })
}

/// A list with at least one entry.
pub(super) fn list<'a>(args: &'a Value, field: &str) -> Result<&'a [Value], ToolError> {
    match args.get(field) {
        Some(Value::Array(items)) if items.is_empty() => Err(ToolError::Model(format!("\"{field}\" is empty"))),
        Some(Value::Array(items)) => Ok(items),
        Some(other) => Err(wrong(field, "an array", other)),
        None => Err(missing(args, field)),
    }
}

fn missing(args: &Value, field: &str) -> ToolError {
    let given = args.as_object().map(|map| map.keys().map(String::as_str).collect::<Vec<_>>().join(", "));
    let given = given.filter(|names| !names.is_empty()).map(|names| format!("; the call has only: {names}"));
    ToolError::Model(format!("the field \"{field}\" is missing{}", given.unwrap_or_default()))
}

fn wrong(field: &str, wanted: &str, got: &Value) -> ToolError {
    let got: String = got.to_string().chars().take(60).collect();
    ToolError::Model(format!("\"{field}\" must be {wanted}, not {got}"))
}
