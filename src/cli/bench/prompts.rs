//! Prompt files: our own TOML, and the JSON lines of WebGen-Bench.

use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// The prompts that ship with the program.
const OWN: &str = include_str!("prompts.toml");

/// A prompt and what must be true of its app.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Prompt {
    /// A short name.
    pub name: String,
    /// What the agent is asked.
    pub text: String,
    /// The checks.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Cases a judge would have to look at.
    #[serde(default)]
    pub unjudged: usize,
}

/// Something that must be true. Exactly one of `file`, `page` and `command` is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    /// This file is there.
    pub file: Option<String>,
    /// The app answers this path.
    pub page: Option<String>,
    /// This command line exits with 0.
    pub command: Option<String>,
    /// File, page or output contains this text, in whatever case.
    pub contains: Option<String>,
    /// The page's status; below 400 if not set.
    pub status: Option<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptFile {
    prompt: Vec<Prompt>,
}

/// Reads a file, or the built-in prompts.
pub(super) fn load(path: Option<&Path>) -> Result<Vec<Prompt>, String> {
    let Some(path) = path else { return toml(OWN) };
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let prompts = if path.extension().is_some_and(|e| e == "jsonl") { json_lines(&text) } else { toml(&text) };
    prompts.map_err(|error| format!("{}: {error}", path.display()))
}

fn toml(text: &str) -> Result<Vec<Prompt>, String> {
    let file: PromptFile = toml::from_str(text).map_err(|error| error.to_string())?;
    for prompt in &file.prompt {
        for check in &prompt.checks {
            let set = [check.file.is_some(), check.page.is_some(), check.command.is_some()];
            if set.into_iter().filter(|set| *set).count() != 1 {
                return Err(format!("a check of {} needs exactly one of file, page and command", prompt.name));
            }
        }
    }
    Ok(file.prompt)
}

/// WebGen-Bench: `id`, `instruction`, and cases for a judge. What can be checked here is that the app answers.
fn json_lines(text: &str) -> Result<Vec<Prompt>, String> {
    let mut prompts = Vec::new();
    for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let value: Value = serde_json::from_str(line).map_err(|error| format!("line {}: {error}", at + 1))?;
        let word = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let text = word("instruction").ok_or_else(|| format!("line {}: no \"instruction\"", at + 1))?;
        let name = word("id").unwrap_or_else(|| format!("line {}", at + 1));
        let unjudged = value.get("ui_instruct").and_then(Value::as_array).map_or(0, Vec::len);
        let answers = Check { page: Some("/".to_owned()), ..Check::default() };
        prompts.push(Prompt { name, text, checks: vec![answers], unjudged });
    }
    Ok(prompts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_prompts_are_whole() {
        let own = load(None).unwrap();
        assert!(own.len() >= 6 && own.iter().all(|p| !p.checks.is_empty() && !p.text.trim().is_empty()));
    }

    #[test]
    fn foreign_prompts_are_read_and_mistakes_named() {
        let line = r#"{"id":"000001","instruction":"Build a shop","ui_instruct":[{"task":"x","expected_result":"y"}]}"#;
        let got = json_lines(line).unwrap();
        assert_eq!((got[0].name.as_str(), got[0].unjudged, got[0].checks.len()), ("000001", 1, 1));
        assert!(json_lines("{}").unwrap_err().contains("line 1"));
        let two = "[[prompt]]\nname='a'\ntext='b'\n[[prompt.checks]]\nfile='x'\npage='/'\n";
        assert!(toml(two).unwrap_err().contains("exactly one"));
    }
}
