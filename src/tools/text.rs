//! Keeping what the model reads within bounds.

/// Bytes of output a single call may return.
pub(super) const OUTPUT_MAX: usize = 16 * 1024;

/// The last `max` bytes at most, from a line's beginning, with a note about what was cut.
pub(super) fn tail(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut from = text.len() - max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let kept = text.get(from..).unwrap_or_default();
    let kept = kept.split_once('\n').map_or(kept, |(_, rest)| rest);
    format!("[the first {} bytes are left out]\n{kept}", text.len() - kept.len())
}

/// The last `lines` lines.
pub(super) fn last_lines(text: &str, lines: usize) -> &str {
    let trimmed = text.trim_end_matches('\n');
    let from = trimmed.rmatch_indices('\n').nth(lines.saturating_sub(1)).map_or(0, |(at, _)| at + 1);
    trimmed.get(from..).unwrap_or_default()
}

/// Without colour and cursor sequences, which cost tokens and tell a model nothing. Of a line that was overwritten
/// (progress bars) only its last state stays.
pub(super) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                Some('[') => while chars.next().is_some_and(|c| !('\u{40}'..='\u{7e}').contains(&c)) {},
                Some(']') => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}') {},
                _ => {}
            },
            '\r' if chars.peek() != Some(&'\n') => {
                let line = out.rfind('\n').map_or(0, |at| at + 1);
                out.truncate(line);
            }
            '\r' => {}
            c if c.is_control() && c != '\n' && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

/// The last line with something on it, cut to what a card shows.
pub(super) fn gist(text: &str) -> Option<String> {
    let line = text.lines().rev().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().take(120).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_begins_at_a_line_and_names_what_is_left_out() {
        assert_eq!(tail("short", 10), "short");
        assert_eq!(tail("aaaa\nbbbb\ncccc", 7), "[the first 10 bytes are left out]\ncccc");
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
    }

    #[test]
    fn colours_and_overwritten_lines_are_gone() {
        assert_eq!(plain("\u{1b}[32mok\u{1b}[0m\r\n10%\r20%\rdone\n"), "ok\ndone\n");
        assert_eq!(plain("\u{1b}]0;title\u{7}x"), "x");
    }
}
