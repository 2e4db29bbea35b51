//! Source code as lines of HTML with short classes; the colours are in `style/code.css`.

use crate::domain::html::escape_into;
use std::sync::LazyLock;
use syntect::parsing::{ParseState, ScopeStack, SyntaxReference, SyntaxSet};
use syntect::util::LinesWithEndings;

/// Larger files are shown without colours.
const HIGHLIGHT_MAX: usize = 256 * 1024;
/// Longer lines are shown without colours: grammars can take quadratic time on minified code.
const LINE_MAX: usize = 2000;
/// Lines after this are left out.
const LINES_MAX: usize = 20_000;

static SYNTAXES: LazyLock<SyntaxSet> = LazyLock::new(two_face::syntax::extra_newlines);

/// A file's lines as HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Highlighted {
    /// Lines without line feeds; empty for an empty file.
    pub lines: Vec<String>,
    /// Whether lines were left out at the end.
    pub truncated: bool,
}

/// Highlights a file by its name. It takes milliseconds of CPU for large files: call it off the async threads.
pub fn highlight(path: &str, text: &str) -> Highlighted {
    let syntax = (text.len() <= HIGHLIGHT_MAX).then(|| syntax_of(path, text)).flatten();
    let truncated = text.lines().nth(LINES_MAX).is_some();
    let lines = match syntax {
        Some(syntax) => coloured(syntax, text),
        None => text.lines().take(LINES_MAX).map(escaped).collect(),
    };
    Highlighted { lines, truncated }
}

/// Highlights a snippet by the language's name as written after a markdown fence.
pub(super) fn highlight_snippet(language: &str, text: &str) -> Option<String> {
    let syntax = SYNTAXES.find_syntax_by_token(language)?;
    (text.len() <= HIGHLIGHT_MAX).then(|| coloured(syntax, text).join("\n"))
}

/// The language of a file for people, for instance `TypeScript`; empty if unknown.
pub fn language_of(path: &str) -> &'static str {
    match syntax_of(path, "") {
        Some(syntax) if syntax.name == "TypeScriptReact" => "TypeScript",
        Some(syntax) if syntax.name != "Plain Text" => &syntax.name,
        _ => "",
    }
}

fn syntax_of(path: &str, text: &str) -> Option<&'static SyntaxReference> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map_or(name, |(_, extension)| extension);
    // What the grammars do not list but people write.
    let extension = match extension {
        "mjs" | "cjs" => "js",
        "mts" | "cts" => "ts",
        "jsonc" | "webmanifest" => "json",
        other => other,
    };
    SYNTAXES
        .find_syntax_by_extension(name)
        .or_else(|| SYNTAXES.find_syntax_by_extension(extension))
        .or_else(|| SYNTAXES.find_syntax_by_first_line(text.lines().next().unwrap_or_default()))
}

fn coloured(syntax: &SyntaxReference, text: &str) -> Vec<String> {
    let mut state = ParseState::new(syntax);
    let mut scopes = ScopeStack::new();
    let mut lines = Vec::new();
    for line in LinesWithEndings::from(text).take(LINES_MAX) {
        let bare = line.trim_end_matches(['\n', '\r']);
        if line.len() > LINE_MAX {
            lines.push(escaped(bare));
            continue;
        }
        let Ok(operations) = state.parse_line(line, &SYNTAXES) else {
            lines.push(escaped(bare));
            continue;
        };
        let mut html = String::with_capacity(line.len() * 2);
        let mut class = "";
        let mut at = 0;
        let mut put = |html: &mut String, text: &str, now: &'static str| {
            let text = text.trim_end_matches(['\n', '\r']);
            if text.is_empty() {
                return;
            }
            // Neighbours of one colour share a span.
            if now != class {
                if !class.is_empty() {
                    html.push_str("</span>");
                }
                if !now.is_empty() {
                    html.push_str("<span class=\"");
                    html.push_str(now);
                    html.push_str("\">");
                }
                class = now;
            }
            escape_into(html, text);
        };
        for (offset, operation) in operations {
            put(&mut html, line.get(at..offset).unwrap_or_default(), class_of(&scopes));
            at = offset;
            // A grammar that pops too much only loses colours.
            let _ = scopes.apply(&operation);
        }
        put(&mut html, line.get(at..).unwrap_or_default(), class_of(&scopes));
        if !class.is_empty() {
            html.push_str("</span>");
        }
        lines.push(html);
    }
    lines
}

/// Scope prefixes and their classes; the innermost scope that has one decides, and in a scope the first match.
const CLASSES: [(&str, &str); 27] = [
    ("comment", "h-c"),
    ("punctuation.definition.comment", "h-c"),
    ("punctuation.definition.string", "h-s"),
    ("punctuation.definition.tag", "h-p"),
    ("punctuation.section.embedded", "h-p"),
    ("string", "h-s"),
    ("constant.numeric", "h-n"),
    ("constant.language", "h-n"),
    ("constant.character", "h-n"),
    ("constant.other", "h-n"),
    ("variable.language", "h-k"),
    ("keyword.operator", "h-p"),
    ("keyword", "h-k"),
    ("storage.type", "h-k"),
    ("storage", "h-k"),
    ("entity.name.function", "h-f"),
    ("support.function", "h-f"),
    ("variable.function", "h-f"),
    ("entity.name.tag", "h-g"),
    ("entity.other.attribute-name", "h-a"),
    ("entity.name.section", "h-b"),
    ("markup.heading", "h-b"),
    ("entity.name", "h-t"),
    ("support", "h-t"),
    ("markup.inserted", "h-d"),
    ("markup.deleted", "h-i"),
    ("invalid", "h-i"),
];

fn class_of(scopes: &ScopeStack) -> &'static str {
    for scope in scopes.as_slice().iter().rev() {
        let name = scope.build_string();
        let matches =
            |prefix: &str| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if let Some((_, class)) = CLASSES.iter().find(|(prefix, _)| matches(prefix)) {
            return class;
        }
        // Text inside a string's interpolation or a tag's content starts afresh.
        if matches("source") || matches("meta.interpolation") || matches("meta.embedded") {
            return "";
        }
    }
    ""
}

fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    escape_into(&mut html, text);
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_escaped_and_coloured_by_its_name() {
        let lines = highlight("app/page.tsx", "const a = \"<b>\"; // note\nreturn 1").lines;
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("<span class=\"h-k\">const</span>"), "{}", lines[0]);
        assert!(lines[0].contains("&lt;b&gt;") && !lines[0].contains("<b>"));
        assert!(lines[0].contains("h-c"));
    }

    #[test]
    fn unknown_and_huge_files_stay_plain_and_whole() {
        assert_eq!(highlight("x.unknown", "a <b>\n").lines, ["a &lt;b&gt;"]);
        let long = "let x = 1;\n".repeat(30_000);
        let shown = highlight("a.js", &long);
        assert_eq!((shown.lines.len(), shown.truncated), (LINES_MAX, true));
        assert!(highlight("empty.ts", "").lines.is_empty());
    }

    #[test]
    fn languages_are_named() {
        assert_eq!(language_of("src/main.rs"), "Rust");
        assert_eq!(language_of("Dockerfile"), "Dockerfile");
        assert_eq!(language_of("notes.xyz"), "");
    }
}
