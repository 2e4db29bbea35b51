//! Text in HTML. The only place that escapes it; it must not know what is written around.

/// Appends text as an element's content.
pub fn escape_into(html: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            c => html.push(c),
        }
    }
}

/// Text as an element's content or a quoted attribute's value.
pub fn escape(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    escape_into(&mut html, text);
    html.replace('"', "&quot;").replace('\'', "&#39;")
}

/// Text as what a `<textarea>` holds. leptos writes that as it is, and browsers drop a line feed at its beginning.
pub fn escape_textarea(text: &str) -> String {
    format!("\n{}", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_ends_what_it_stands_in() {
        assert_eq!(escape("<a b=\"c\" d='e'>&amp;"), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;amp;");
        assert_eq!(escape_textarea("\n</textarea>"), "\n\n&lt;/textarea&gt;");
    }
}
