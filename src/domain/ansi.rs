//! Terminal output as styled spans: SGR colours are kept, every other control sequence is dropped.

use serde::{Deserialize, Serialize};

/// A terminal colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnsiColor {
    /// One of the 16 named colours; the style sheet decides how it looks.
    Named(u8),
    /// A colour as red, green, blue (256-colour codes are converted).
    Rgb(u8, u8, u8),
}

/// How a span looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnsiStyle {
    /// Text colour.
    pub fg: Option<AnsiColor>,
    /// Background colour.
    pub bg: Option<AnsiColor>,
    /// Bold.
    pub bold: bool,
    /// Faint.
    pub dim: bool,
    /// Italic.
    pub italic: bool,
    /// Underlined.
    pub underline: bool,
}

/// A run of text in one style.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The text, without control characters other than tab.
    pub text: String,
    /// Its style.
    pub style: AnsiStyle,
}

/// Splits one line (without its line feed) into spans, starting in `style`, which is left as the line ends.
/// A carriage return that is not at the end restarts the line, as a progress bar does.
pub fn spans(line: &str, style: &mut AnsiStyle) -> Vec<Span> {
    let mut out: Vec<Span> = Vec::new();
    let mut text = String::new();
    let line = line.trim_end_matches('\r');
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.peek() {
                Some('[') => {
                    chars.next();
                    let mut parameters = String::new();
                    let mut end = None;
                    for c in chars.by_ref() {
                        if ('\u{40}'..='\u{7e}').contains(&c) {
                            end = Some(c);
                            break;
                        }
                        parameters.push(c);
                    }
                    if end == Some('m') {
                        flush(&mut out, &mut text, *style);
                        sgr(&parameters, style);
                    }
                }
                Some(']') => skip_osc(&mut chars),
                Some(_) => {
                    chars.next();
                }
                None => {}
            },
            '\r' => {
                out.clear();
                text.clear();
            }
            '\u{8}' => {
                text.pop();
            }
            '\t' => text.push('\t'),
            c if c.is_control() => {}
            c => text.push(c),
        }
    }
    flush(&mut out, &mut text, *style);
    out
}

fn skip_osc(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while let Some(c) = chars.next() {
        if c == '\u{7}' {
            return;
        }
        if c == '\u{1b}' {
            chars.next_if_eq(&'\\');
            return;
        }
    }
}

fn flush(out: &mut Vec<Span>, text: &mut String, style: AnsiStyle) {
    if !text.is_empty() {
        out.push(Span { text: std::mem::take(text), style });
    }
}

fn sgr(parameters: &str, style: &mut AnsiStyle) {
    let mut codes = parameters.split([';', ':']).map(|p| p.parse::<u16>().unwrap_or(0));
    while let Some(code) = codes.next() {
        match code {
            0 => *style = AnsiStyle::default(),
            1 => style.bold = true,
            2 => style.dim = true,
            3 => style.italic = true,
            4 => style.underline = true,
            22 => {
                style.bold = false;
                style.dim = false;
            }
            23 => style.italic = false,
            24 => style.underline = false,
            30..=37 => style.fg = Some(AnsiColor::Named((code - 30) as u8)),
            39 => style.fg = None,
            40..=47 => style.bg = Some(AnsiColor::Named((code - 40) as u8)),
            49 => style.bg = None,
            90..=97 => style.fg = Some(AnsiColor::Named((code - 90 + 8) as u8)),
            100..=107 => style.bg = Some(AnsiColor::Named((code - 100 + 8) as u8)),
            38 => style.fg = extended(&mut codes).or(style.fg),
            48 => style.bg = extended(&mut codes).or(style.bg),
            _ => {}
        }
    }
}

fn extended(codes: &mut impl Iterator<Item = u16>) -> Option<AnsiColor> {
    let byte = |n: Option<u16>| n.map(|n| n.min(255) as u8);
    match codes.next()? {
        5 => {
            let n = byte(codes.next())?;
            Some(match n {
                0..=15 => AnsiColor::Named(n),
                16..=231 => {
                    let step = |v: u8| if v == 0 { 0 } else { 55 + v * 40 };
                    let n = n - 16;
                    AnsiColor::Rgb(step(n / 36), step(n / 6 % 6), step(n % 6))
                }
                232..=255 => {
                    let grey = 8 + (n - 232) * 10;
                    AnsiColor::Rgb(grey, grey, grey)
                }
            })
        }
        2 => Some(AnsiColor::Rgb(byte(codes.next())?, byte(codes.next())?, byte(codes.next())?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(line: &str) -> String {
        spans(line, &mut AnsiStyle::default()).into_iter().map(|s| s.text).collect()
    }

    #[test]
    fn colours_become_spans_and_carry_over_lines() {
        let mut style = AnsiStyle::default();
        let first = spans("\u{1b}[1;32mready\u{1b}[22m in", &mut style);
        assert_eq!(first[0].text, "ready");
        assert!(first[0].style.bold && !first[1].style.bold);
        assert_eq!(first[1].style.fg, Some(AnsiColor::Named(2)));
        assert_eq!(spans("3 s", &mut style)[0].style.fg, Some(AnsiColor::Named(2)));
        spans("\u{1b}[m", &mut style);
        assert_eq!(style, AnsiStyle::default());
    }

    #[test]
    fn other_sequences_are_dropped_and_carriage_returns_overwrite() {
        assert_eq!(plain("\u{1b}[2K\u{1b}[1Gdone\u{1b}]0;title\u{7}!"), "done!");
        assert_eq!(plain("10 %\r50 %\r100 %\r"), "100 %");
        assert_eq!(plain("\u{1b}[38;5;208mx\u{1b}[48;2;1;2;3my"), "xy");
        assert_eq!(plain("cut \u{1b}["), "cut ");
        assert_eq!(plain("\u{1b}"), "");
    }
}
