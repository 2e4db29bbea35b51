//! What a model can do, found out by asking it: a short battery of requests with known answers.
//!
//! It chooses nothing by itself. The client's dialect learns on the way which protocol the server takes; the result is a
//! badge that says what to expect.

use super::{Answer, Finish, ModelClient, ModelError, ModelEvent, ModelRequest, ToolSpec};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// One request may take so long: a local model may have to be loaded first.
const PATIENCE: Duration = Duration::from_secs(120);

/// The result of the battery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aptitude {
    /// It called a tool with the right arguments.
    pub calls: bool,
    /// It called two tools in one answer.
    pub parallel: bool,
    /// It wrote arguments with lists and line breaks as valid JSON.
    pub json: bool,
    /// It quoted a text exactly, as edits need.
    pub exact: bool,
    /// It found a word in a long conversation.
    pub long: bool,
    /// Its server takes no tools: they are spelled in the text.
    pub spoken: bool,
}

impl Aptitude {
    /// What it is good for.
    pub fn badge(&self) -> &'static str {
        match (self.calls, self.json, self.exact) {
            (false, ..) => "chat only: it did not call a tool",
            (true, false, _) => "very small apps only: long arguments come out broken",
            (true, true, false) => "small apps: writes files, edits may fail",
            (true, true, true) if !self.long => "apps and edits, in short conversations",
            (true, true, true) => "apps and edits",
        }
    }

    /// What the first `asked` answers showed, in one line.
    pub fn so_far(&self, asked: usize) -> String {
        let shown = [self.calls, self.parallel, self.json, self.exact, self.long];
        let word = |(name, shown): (&str, bool)| format!("{name} {}", if shown { "✓" } else { "✗" });
        QUESTIONS.into_iter().zip(shown).take(asked).map(word).collect::<Vec<_>>().join(", ")
    }
}

/// What is asked, in this order.
const QUESTIONS: [&str; 5] = ["calls a tool", "two at once", "long arguments", "exact quotes", "long conversations"];

/// Asks the model; `tell` hears what was found after each answer, and how many there were. An error means that it could
/// not be asked at all.
pub async fn probe(
    client: &dyn ModelClient,
    model: &str,
    cancel: &CancellationToken,
    tell: &mut (dyn FnMut(&Aptitude, usize) + Send),
) -> Result<Aptitude, ModelError> {
    let ask = |prompt: String| ask(client, model, prompt, cancel);
    let mut got = Aptitude::default();
    let one = ask("Call the tool `note` with title \"sea\" and lines [\"one\"]. Say nothing else.".to_owned()).await?;
    got.calls = argument(&one, "title").is_some_and(|t| t == "sea");
    tell(&got, 1);
    if !got.calls {
        return Ok(got);
    }
    let two =
        ask("Call the tool `note` twice in this one answer: with title \"a\", then with title \"b\".".to_owned()).await;
    got.parallel = two.is_ok_and(|answer| answer.calls.len() == 2);
    tell(&got, 2);
    let lines =
        "Call `note` with title \"list\" and these four lines: He said \"no\" | a\\\\b | {\"k\": [1, 2]} | 100 %";
    if let Ok(answer) = ask(lines.to_owned()).await {
        got.json = argument(&answer, "lines").and_then(|l| l.as_array().map(Vec::len)) == Some(4);
    }
    tell(&got, 3);
    let line = "    const total = items.reduce((sum, item) => sum + item.price * 0.5, 0);";
    let exact = format!(
        "In this file:\n```js\nfunction sum(items) {{\n{line}\n  return total;\n}}\n```\nCall `note` with title \"copy\" and lines holding the second line of the file exactly, with its spaces."
    );
    if let Ok(answer) = ask(exact).await {
        got.exact = argument(&answer, "lines").is_some_and(|l| l == json!([line]));
    }
    tell(&got, 4);
    let filler = "The tide comes in and the tide goes out, and nobody counts the waves. ".repeat(300);
    let long = format!("{filler}The password is heron. {filler}\nCall `note` with the password as title.");
    if let Ok(answer) = ask(long).await {
        got.long = argument(&answer, "title").is_some_and(|t| t == "heron");
    }
    tell(&got, 5);
    Ok(got)
}

async fn ask(
    client: &dyn ModelClient,
    model: &str,
    prompt: String,
    cancel: &CancellationToken,
) -> Result<Answer, ModelError> {
    let parameters = json!({
        "type": "object",
        "properties": {"title": {"type": "string"}, "lines": {"type": "array", "items": {"type": "string"}}},
        "required": ["title"],
    });
    let request = ModelRequest {
        model: model.to_owned(),
        messages: vec![
            json!({"role": "system", "content": "You do exactly what is asked, with the tool you have."}),
            json!({"role": "user", "content": prompt}),
        ],
        tools: vec![ToolSpec { name: "note", description: "Keeps a note", parameters }],
        effort: None,
    };
    let answer = async {
        let mut events = client.stream(request, cancel).await?;
        while let Some(event) = events.next().await {
            if let ModelEvent::Done(answer) = event? {
                return Ok(answer);
            }
        }
        Ok(Answer { finish: Finish::Stop, ..Answer::default() })
    };
    tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(ModelError::Stalled { after: PATIENCE }))
}

/// An argument of the answer's first call.
fn argument(answer: &Answer, name: &str) -> Option<Value> {
    let call = answer.calls.first()?;
    serde_json::from_str::<Value>(&call.arguments).ok()?.get(name).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_badge_follows_from_what_worked() {
        let all = Aptitude { calls: true, parallel: true, json: true, exact: true, long: true, spoken: false };
        assert_eq!(all.badge(), "apps and edits");
        assert!(Aptitude { exact: false, ..all }.badge().contains("edits may fail"));
        assert!(Aptitude::default().badge().contains("chat only"));
        assert_eq!(Aptitude { calls: true, ..Aptitude::default() }.so_far(2), "calls a tool ✓, two at once ✗");
    }
}
