//! How one can see that a step of a plan works, as models write it. A check that cannot be read costs only itself.

use crate::domain::{CheckKind, StepCheck};
use serde_json::{Map, Value, json};

/// What is looked at, by the field that names it.
const KINDS: [(&str, CheckKind); 3] =
    [("page", CheckKind::Page), ("file", CheckKind::File), ("command", CheckKind::Command)];
/// How it is written.
const HOW: &str = "give one of \"page\", \"file\" or \"command\", for instance {\"page\": \"/api/tasks\", \
                   \"contains\": \"Buy milk\"}";

/// What the model is told of it.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "description": "How to see that the step works, where that is cheap. One of page, file, command. It is run \
                        before you finish, and the person sees the result. It stays with the step",
        "properties": {
            "page": {"type": "string", "description": "Path of the app that must answer, such as /api/tasks"},
            "file": {"type": "string", "description": "File that must exist"},
            "command": {"type": "string", "description": "Command that must exit with 0 within 60 s, such as npm test"},
            "contains": {"type": "string", "description": "Text that must be in it"},
        },
    })
}

/// The check in a step. The error says how to write it.
pub(super) fn read(step: &Value) -> Result<Option<StepCheck>, String> {
    let fields = match step.get("check") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(format!("it must be an object: {HOW}")),
    };
    let mut given = Vec::new();
    for (name, kind) in KINDS {
        given.extend(text(fields, name)?.map(|target| (kind, target)));
    }
    let contains = text(fields, "contains")?;
    match (given.pop(), given.is_empty(), contains) {
        (None, _, None) => Ok(None),
        (Some((kind, target)), true, contains) => {
            StepCheck { kind, target, contains }.cleaned().map(Some).map_err(|error| error.to_string())
        }
        (None, _, Some(_)) => Err(format!("it does not say where to look: {HOW}")),
        (Some(_), false, _) => Err(format!("it looks at several things: {HOW}")),
    }
}

/// A field that has something in it. Some models fill in all there are.
fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.trim().is_empty())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(format!("\"{name}\" must be a text")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(check: &Value) -> Result<Option<StepCheck>, String> {
        read(&json!({"step": "x", "check": check}))
    }

    #[test]
    fn a_check_is_read_as_models_write_it() {
        let read = |value: Value| {
            let check = check(&value).unwrap().unwrap();
            (check.kind, check.target, check.contains)
        };
        let page = json!({"page": "/api/tasks", "file": "", "command": null, "contains": "Buy milk"});
        assert_eq!(read(page), (CheckKind::Page, "/api/tasks".to_owned(), Some("Buy milk".to_owned())));
        let file = json!({"file": "/home/user/a.txt", "contains": 7});
        assert_eq!(read(file), (CheckKind::File, "a.txt".to_owned(), Some("7".to_owned())));
        assert_eq!(read(json!({"command": "npm test"})), (CheckKind::Command, "npm test".to_owned(), None));
        for nothing in [json!(null), json!({}), json!({"page": "", "contains": " "})] {
            assert_eq!(check(&nothing), Ok(None), "{nothing}");
        }
    }

    #[test]
    fn a_wrong_check_is_answered_with_how_it_is_written() {
        for (wrong, words) in [
            (json!("GET /api/tasks"), "it must be an object: give one of"),
            (json!(["/"]), "it must be an object"),
            (json!({"contains": "x"}), "where to look"),
            (json!({"page": "/", "command": "ls"}), "several things"),
            (json!({"page": ["/"]}), "\"page\" must be a text"),
            (json!({"page": "/", "contains": ["a", "b"]}), "\"contains\" must be a text"),
            (json!({"page": "//evil.example.com"}), "\"page\" must be a path of the app"),
        ] {
            let error = check(&wrong).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
