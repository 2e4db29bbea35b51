//! Markdown as models write it, to HTML that is safe to insert.

use pulldown_cmark::{Event, Options, Parser, html};

/// Renders CommonMark with tables, strike-through and task lists. Raw HTML in the source is shown as text, scripts and
/// foreign attributes cannot come through, and links open in a tab of their own without a referrer.
pub fn markdown_to_html(markdown: &str) -> String {
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let events = Parser::new_ext(markdown, options).map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Event::Text(raw),
        other => other,
    });
    let mut rendered = String::with_capacity(markdown.len() * 3 / 2);
    html::push_html(&mut rendered, events);
    ammonia::Builder::default()
        .add_tag_attributes("code", ["class"])
        .add_tags(["input"])
        .add_tag_attributes("input", ["type", "checked", "disabled"])
        .set_tag_attribute_value("a", "target", "_blank")
        .link_rel(Some("noopener noreferrer"))
        .url_schemes(["http", "https", "mailto"].into())
        .clean(&rendered)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_html_is_shown_not_obeyed() {
        let html = markdown_to_html("hi <script>alert(1)</script> <b onclick=x>b</b>");
        assert!(!html.contains("<script") && !html.contains("<b"), "{html}");
    }

    #[test]
    fn links_open_elsewhere_and_only_to_the_web() {
        let html = markdown_to_html("[a](https://x.y) [b](javascript:alert(1))");
        assert!(html.contains("target=\"_blank\"") && html.contains("noopener"), "{html}");
        assert!(!html.contains("javascript"), "{html}");
    }
}
