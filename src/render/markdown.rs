//! Markdown as sanitized HTML: what models write is not trusted.

use super::highlight::highlight_snippet;
use crate::domain::html::escape;
use ammonia::Builder;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::sync::LazyLock;

/// What every reader of markdown here understands.
const OPTIONS: Options = Options::ENABLE_TABLES.union(Options::ENABLE_STRIKETHROUGH).union(Options::ENABLE_TASKLISTS);

/// Longer texts are cut; an answer never is that long.
const MARKDOWN_MAX: usize = 512 * 1024;

static SANITIZER: LazyLock<Builder<'static>> = LazyLock::new(|| {
    let mut builder = Builder::default();
    builder
        .link_rel(Some("noopener noreferrer nofollow"))
        .set_tag_attribute_value("a", "target", "_blank")
        .allowed_classes([("span", HIGHLIGHT_CLASSES.into())].into())
        // Pictures would be fetched from wherever the model says.
        .rm_tags(["img"]);
    builder
});

const HIGHLIGHT_CLASSES: [&str; 12] =
    ["h-c", "h-k", "h-s", "h-n", "h-f", "h-t", "h-g", "h-a", "h-p", "h-i", "h-d", "h-b"];

/// Renders markdown. Raw HTML in it is shown as text or dropped, links open in a new tab, code is highlighted.
pub fn markdown_to_html(markdown: &str) -> String {
    let cut = markdown.char_indices().map(|(at, _)| at).take_while(|at| *at <= MARKDOWN_MAX).last().unwrap_or(0);
    let markdown = if markdown.len() > MARKDOWN_MAX { &markdown[..cut] } else { markdown };
    let mut events = Vec::new();
    // Language and text of the code block being read.
    let mut code: Option<(String, String)> = None;
    for event in Parser::new_ext(markdown, OPTIONS) {
        match (&mut code, event) {
            (None, Event::Start(Tag::CodeBlock(kind))) => {
                let language = match kind {
                    CodeBlockKind::Fenced(info) => info.split([' ', ',']).next().unwrap_or_default().to_owned(),
                    CodeBlockKind::Indented => String::new(),
                };
                code = Some((language, String::new()));
            }
            (Some((_, text)), Event::Text(more)) => text.push_str(&more),
            (Some((language, text)), Event::End(TagEnd::CodeBlock)) => {
                let body = highlight_snippet(language, text.trim_end_matches('\n')).unwrap_or_else(|| escape(text));
                events.push(Event::Html(CowStr::from(format!("<pre><code>{body}</code></pre>"))));
                code = None;
            }
            // A tag the model wrote as prose is prose.
            (None, Event::Html(raw) | Event::InlineHtml(raw)) => events.push(Event::Text(raw)),
            (_, event) => events.push(event),
        }
    }
    let mut html = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut html, events.into_iter());
    SANITIZER.clean(&html).to_string()
}

/// Length (bytes) of the leading blocks that no later text can change: all but the last. 0 while there is only one.
///
/// The text must end where a block's beginning can be told from its continuation, see [`readable`].
pub fn settled(markdown: &str) -> usize {
    let (mut depth, mut last) = (0_usize, 0);
    for (event, range) in Parser::new_ext(markdown, OPTIONS).into_offset_iter() {
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth -= 1,
            _ => {}
        }
        if depth == usize::from(matches!(event, Event::Start(_))) && !matches!(event, Event::End(_)) {
            last = range.start;
        }
    }
    // Indentation belongs to the block it begins.
    markdown[..last].rfind('\n').map_or(0, |end| end + 1)
}

/// Length (bytes) of `markdown` without a last line of which too little is known to say what it is: `-` may become a
/// list, a rule or the underline of a heading, `1` a number or a list.
pub fn readable(markdown: &str) -> usize {
    /// The longest that begins a list: nine digits and a point.
    const MARKER_MAX: usize = 10;
    let line = markdown.rfind('\n').map_or(0, |end| end + 1);
    let words = markdown[line..].trim_start();
    let long = words.len() > MARKER_MAX || words.contains(char::is_whitespace);
    let telling = words.contains(|c: char| !(c.is_ascii_punctuation() || c.is_ascii_digit() || c.is_whitespace()));
    if long && telling { markdown.len() } else { line }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_model_writes_becomes_active() {
        let markdown = "<script>alert(1)</script>\n\n<b onclick=x>hi</b> [x](javascript:alert(1)) ![p](http://e/p)";
        let html = markdown_to_html(markdown);
        for active in ["<script", "<b ", "<img", "href=\"javascript", "onclick=\""] {
            assert!(!html.contains(active), "{active} in {html}");
        }
        assert!(html.contains("&lt;script&gt;"), "raw HTML is shown as text: {html}");
    }

    #[test]
    fn code_blocks_are_highlighted_and_links_open_elsewhere() {
        let html = markdown_to_html("See [docs](https://example.org).\n\n```ts\nconst a = 1 < 2;\n```\n");
        assert!(html.contains("target=\"_blank\"") && html.contains("noopener"), "{html}");
        assert!(html.contains("<span class=\"h-k\">const</span>"), "{html}");
        assert!(html.contains("&lt;"));
    }

    #[test]
    fn a_block_is_settled_when_the_next_begins() {
        let settled = |text: &str| text[..settled(text)].to_owned();
        assert_eq!(settled("One."), "");
        assert_eq!(settled("One.\n\n"), "");
        assert_eq!(settled("One.\n\nTwo"), "One.\n\n");
        assert_eq!(settled("One.\n- a\n- b"), "One.\n");
        assert_eq!(settled("- a\n\n  still a\n\n- b"), "", "a list may go on after a blank line");
        assert_eq!(settled("- a\n- b\n\nText"), "- a\n- b\n\n");
        assert_eq!(settled("```\n# no\n\nheading"), "", "a fence is open");
        assert_eq!(settled("```\ncode\n```\n\nText"), "```\ncode\n```\n\n");
        assert_eq!(settled("Text\n\n    code"), "Text\n\n", "with its indentation");
        assert_eq!(settled("A\n\n---\n\n**B** c"), "A\n\n---\n\n");
    }

    #[test]
    fn a_line_is_readable_when_its_second_word_begins() {
        let readable = |text: &str| text[..readable(text)].to_owned();
        assert_eq!(readable("One.\n\n1."), "One.\n\n");
        assert_eq!(readable("One.\n\n1. a"), "One.\n\n1. a");
        assert_eq!(readable("One.\n   -"), "One.\n");
        assert_eq!(readable("One.\n--- "), "One.\n", "a rule, or words");
        assert_eq!(readable("一二三四五"), "一二三四五", "not every script has spaces");
    }

    mod fuzz {
        use super::*;

        proptest::proptest! {
            /// Read in two pieces, cut where a block was said to be settled, a text gives the same blocks.
            #[test]
            fn what_is_settled_stays_as_it_is(
                lines in proptest::collection::vec("(#{1,2} |- |1\\. |> |```| {2,4}|\\|a\\|b\\||\\|-\\|-\\||---)?[ab*_]{0,4}( c)?", 1..14),
                at in 0..100_usize,
            ) {
                let text = lines.join("\n");
                let at = text.floor_char_boundary(at.min(text.len()));
                let known = &text[..readable(&text[..at])];
                let cut = settled(known);
                let (first, rest) = text.split_at(cut);
                let whole: Vec<_> = Parser::new_ext(&text, OPTIONS).collect();
                let pieces: Vec<_> = Parser::new_ext(first, OPTIONS).chain(Parser::new_ext(rest, OPTIONS)).collect();
                let blocks = |events: Vec<Event<'_>>| format!("{events:?}");
                proptest::prop_assert_eq!(blocks(whole), blocks(pieces), "cut at {} of {:?}", cut, text);
            }
        }
    }

    #[test]
    fn multi_byte_text_is_cut_between_characters() {
        let html = markdown_to_html(&"é".repeat(MARKDOWN_MAX));
        assert!(html.len() <= MARKDOWN_MAX + 16);
    }
}
