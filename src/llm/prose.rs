//! What a model writes into its text although it belongs elsewhere: reasoning in `<think>`, calls in `<tool_call>`.
//!
//! Servers without a parser for their model's template pass both through as words. A call counts only if it names a
//! tool that was offered; anything else stays text, so that code which mentions these tags is not lost. Pure.

use serde_json::Value;

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const CALL: &str = "<tool_call>";
const CALL_END: &str = "</tool_call>";

/// A piece of what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Words for the person.
    Text(String),
    /// Reasoning.
    Reasoning(String),
    /// A call spelled in text, with its arguments as JSON.
    Call {
        /// Tool name.
        name: String,
        /// JSON object.
        arguments: String,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Nothing but white space so far; only here does `<think>` mean reasoning.
    #[default]
    Start,
    Text,
    Think,
    Call,
}

/// Cuts streamed text into pieces. Whatever could be the beginning of a tag is held back until it is known.
#[derive(Default)]
pub(super) struct Prose {
    tools: Vec<String>,
    place: Place,
    held: String,
}

impl Prose {
    /// For an answer to a request that offers these tools.
    pub(super) fn new(tools: Vec<String>) -> Self {
        Self { tools, ..Self::default() }
    }

    /// Takes more text.
    pub(super) fn push(&mut self, text: &str) -> Vec<Piece> {
        self.held.push_str(text);
        let mut out = Vec::new();
        while self.step(&mut out) {}
        out
    }

    /// What is left when the text has ended. A call whose end is missing still counts if it is complete JSON.
    pub(super) fn finish(&mut self) -> Vec<Piece> {
        let rest = std::mem::take(&mut self.held);
        match self.place {
            Place::Call => vec![self.call(&rest, "")],
            _ if rest.is_empty() => Vec::new(),
            Place::Think => vec![Piece::Reasoning(rest)],
            Place::Start | Place::Text => vec![Piece::Text(rest)],
        }
    }

    /// One move; whether there may be another.
    fn step(&mut self, out: &mut Vec<Piece>) -> bool {
        let tags: &[&str] = match self.place {
            Place::Start if self.tools.is_empty() => &[THINK],
            Place::Start => &[THINK, CALL],
            Place::Text if self.tools.is_empty() => &[],
            Place::Text => &[CALL],
            Place::Think => &[THINK_END],
            Place::Call => &[CALL_END],
        };
        let found = tags.iter().filter_map(|tag| Some((self.held.find(tag)?, *tag)));
        // In front of `<think>` only white space counts as the beginning.
        let found = found.filter(|(at, tag)| *tag != THINK || self.held.get(..*at).is_some_and(is_blank));
        match found.min() {
            Some((at, tag)) => {
                let rest = self.held.split_off(at + tag.len());
                let mut before = std::mem::replace(&mut self.held, rest);
                before.truncate(at);
                self.enter(tag, before, out);
                true
            }
            None => {
                // The whole of a call is needed before anything of it can be said.
                if self.place != Place::Call {
                    let keep = tags.iter().map(|tag| overlap(&self.held, tag)).max().unwrap_or(0);
                    let ready: String = self.held.drain(..self.held.len() - keep).collect();
                    self.say(ready, out);
                }
                false
            }
        }
    }

    fn enter(&mut self, tag: &str, before: String, out: &mut Vec<Piece>) {
        if tag == CALL_END {
            let call = self.call(&before, CALL_END);
            out.push(call);
            self.place = Place::Text;
            return;
        }
        self.say(before, out);
        self.place = match tag {
            THINK => Place::Think,
            CALL => Place::Call,
            _ => Place::Start,
        };
    }

    fn say(&mut self, text: String, out: &mut Vec<Piece>) {
        if text.is_empty() {
            return;
        }
        if self.place == Place::Think {
            out.push(Piece::Reasoning(text));
            return;
        }
        if !is_blank(&text) {
            self.place = Place::Text;
        }
        out.push(Piece::Text(text));
    }

    fn call(&self, body: &str, end: &str) -> Piece {
        let known = |name: &str| self.tools.iter().any(|tool| tool == name);
        match read_call(body) {
            Some((name, arguments)) if known(&name) => Piece::Call { name, arguments },
            _ => Piece::Text(format!("{CALL}{body}{end}")),
        }
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// How many bytes at the end of `text` may be the beginning of `tag`.
fn overlap(text: &str, tag: &str) -> usize {
    (1..tag.len()).rev().find(|n| tag.get(..*n).is_some_and(|start| text.ends_with(start))).unwrap_or(0)
}

/// `{"name": …, "arguments": …}`, also in a code fence, with `parameters`, or with the arguments as a string.
fn read_call(body: &str) -> Option<(String, String)> {
    let body = body.trim();
    let body = body.strip_prefix("```json").or_else(|| body.strip_prefix("```")).unwrap_or(body);
    let body = body.trim_end().strip_suffix("```").unwrap_or(body);
    let json: Value = serde_json::from_str(body.trim()).ok()?;
    let json = json.get("function").filter(|f| f.is_object()).unwrap_or(&json);
    let name = json.get("name")?.as_str()?.to_owned();
    let arguments = match json.get("arguments").or_else(|| json.get("parameters")) {
        Some(Value::String(text)) => text.clone(),
        Some(object @ Value::Object(_)) => object.to_string(),
        _ => "{}".to_owned(),
    };
    Some((name, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pieces(chunks: &[&str]) -> (String, String, Vec<(String, String)>) {
        let mut prose = Prose::new(vec!["f".to_owned()]);
        let mut all: Vec<Piece> = chunks.iter().flat_map(|c| prose.push(c)).collect();
        all.extend(prose.finish());
        let (mut text, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
        for piece in all {
            match piece {
                Piece::Text(more) => text.push_str(&more),
                Piece::Reasoning(more) => reasoning.push_str(&more),
                Piece::Call { name, arguments } => calls.push((name, arguments)),
            }
        }
        (text, reasoning, calls)
    }

    fn call(arguments: &str) -> Vec<(String, String)> {
        vec![("f".to_owned(), arguments.to_owned())]
    }

    #[test]
    fn thinking_is_taken_out_at_the_beginning_and_left_alone_elsewhere() {
        assert_eq!(pieces(&["\n<thi", "nk>hm</think>hi"]), ("\nhi".to_owned(), "hm".to_owned(), Vec::new()));
        assert_eq!(pieces(&["say <think>x</think>"]).0, "say <think>x</think>");
        assert_eq!(pieces(&["<think>never ends"]).1, "never ends");
    }

    #[test]
    fn a_call_in_the_text_is_a_call() {
        let got = pieces(&["Now.<tool_", "call>{\"name\":\"f\",\"arguments\":{\"a\":1}}</tool_call> ok"]);
        assert_eq!(got, ("Now. ok".to_owned(), String::new(), call("{\"a\":1}")));
        assert_eq!(
            pieces(&["<tool_call>```json\n{\"name\":\"f\",\"arguments\":\"{}\"}\n```</tool_call>"]).2,
            call("{}")
        );
        assert_eq!(pieces(&["<tool_call>{\"name\":\"f\",\"parameters\":{}}"]).2, call("{}"));
        assert_eq!(pieces(&["<think>x</think><tool_call>{\"name\":\"f\"}</tool_call>"]).2, call("{}"));
    }

    #[test]
    fn what_is_no_call_stays_text() {
        for text in ["<tool_call>{\"name\":\"unknown\"}</tool_call>", "<tool_call> is a tag", "a <tool", "</tool_call>"]
        {
            assert_eq!(pieces(&[text]), (text.to_owned(), String::new(), Vec::new()));
        }
    }

    mod fuzz {
        use super::*;

        proptest! {
            #[test]
            fn any_chunking_gives_the_same_pieces(cuts in proptest::collection::vec(0usize..90, 0..10)) {
                let text = "<think>é?</think>a < b <tool_call>{\"name\":\"f\",\"arguments\":{\"é\":1}}</tool_call>ü <tool_";
                let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| text.floor_char_boundary(cut)).collect();
                cuts.push(0);
                cuts.push(text.len());
                cuts.sort_unstable();
                let chunks: Vec<&str> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
                prop_assert_eq!(pieces(&chunks), pieces(&[text]));
            }
        }
    }
}
