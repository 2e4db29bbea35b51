//! Terminal lines as HTML with classes: the content security policy forbids style attributes, and classes follow the
//! theme.

use crate::domain::html::escape_into;
use crate::domain::{AnsiColor, AnsiStyle, spans};

/// One line of output as escaped HTML. `style` is the style it starts in and is left as the line ends.
pub fn line_html(line: &str, style: &mut AnsiStyle) -> String {
    let mut html = String::with_capacity(line.len() + 16);
    for span in spans(line, style) {
        let classes = classes(span.style);
        if classes.is_empty() {
            escape_into(&mut html, &span.text);
        } else {
            html.push_str("<span class=\"");
            html.push_str(&classes);
            html.push_str("\">");
            escape_into(&mut html, &span.text);
            html.push_str("</span>");
        }
    }
    html
}

fn classes(style: AnsiStyle) -> String {
    let mut classes = String::new();
    let mut add = |class: &str| {
        if !classes.is_empty() {
            classes.push(' ');
        }
        classes.push_str(class);
    };
    if let Some(colour) = style.fg {
        add(&format!("f{}", named(colour)));
    }
    if let Some(colour) = style.bg {
        add(&format!("g{}", named(colour)));
    }
    for (on, class) in [(style.bold, "b"), (style.dim, "d"), (style.italic, "it"), (style.underline, "u")] {
        if on {
            add(class);
        }
    }
    classes
}

/// The nearest of the 16 named colours, so that every program's palette stays readable in both themes.
fn named(colour: AnsiColor) -> u8 {
    let (r, g, b) = match colour {
        AnsiColor::Named(n) => return n.min(15),
        AnsiColor::Rgb(r, g, b) => (r, g, b),
    };
    let most = r.max(g).max(b);
    let least = r.min(g).min(b);
    if most - least < 32 {
        return match most {
            0..64 => 0,
            64..160 => 8,
            160..224 => 7,
            _ => 15,
        };
    }
    let middle = (u16::from(most) + u16::from(least)) / 2;
    let bit = |channel: u8, bit: u8| if u16::from(channel) > middle { bit } else { 0 };
    let hue = bit(r, 1) | bit(g, 2) | bit(b, 4);
    if most > 200 { hue + 8 } else { hue }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_escaped_and_colours_become_classes() {
        let mut style = AnsiStyle::default();
        assert_eq!(line_html("<b> & \u{1b}[1;31mno", &mut style), "&lt;b&gt; &amp; <span class=\"f1 b\">no</span>");
        assert_eq!(line_html("still", &mut style), "<span class=\"f1 b\">still</span>");
        assert_eq!(line_html("\u{1b}[0;38;2;20;220;30mgreen", &mut style), "<span class=\"f10\">green</span>");
    }
}
