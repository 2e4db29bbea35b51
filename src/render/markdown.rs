//! Markdown as sanitized HTML: what models write is not trusted.

use super::highlight::highlight_snippet;
use crate::domain::html::escape;
use ammonia::Builder;
use pulldown_cmark::{CodeBlockKind, CowStr, Event, Options, Parser, Tag, TagEnd, html};
use std::sync::LazyLock;

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
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut events = Vec::new();
    // Language and text of the code block being read.
    let mut code: Option<(String, String)> = None;
    for event in Parser::new_ext(markdown, options) {
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
    fn multi_byte_text_is_cut_between_characters() {
        let html = markdown_to_html(&"é".repeat(MARKDOWN_MAX));
        assert!(html.len() <= MARKDOWN_MAX + 16);
    }
}
