//! A small reader of `.env` files: `NAME=value`, `export`, comments, single and double quotes.
//!
//! Pure text in, pairs out. It does not expand variables: a `$` in a key stays a `$`.

use std::collections::BTreeMap;

/// Reads the text of a `.env` file. The error names the line and never quotes a value.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut pairs = BTreeMap::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    while !rest.is_empty() {
        let number = text.get(..text.len() - rest.len()).unwrap_or_default().matches('\n').count() + 1;
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let entry = line.trim();
        if entry.is_empty() || entry.starts_with('#') {
            rest = after;
            continue;
        }
        let (name, value) = rest
            .split_once('=')
            .filter(|(name, _)| !name.contains('\n'))
            .ok_or_else(|| format!("line {number}: expected NAME=value"))?;
        let name = name.trim();
        let name = name.strip_prefix("export ").unwrap_or(name).trim();
        if !is_name(name) {
            return Err(format!("line {number}: what stands before \"=\" is not a variable name"));
        }
        let value = value.trim_start_matches([' ', '\t']);
        let (value, tail) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => quoted(value.get(1..).unwrap_or_default(), quote)
                .ok_or_else(|| format!("line {number}: the value of {name} has no closing quote"))?,
            _ => (unquoted(value).to_owned(), value),
        };
        pairs.insert(name.to_owned(), value);
        rest = tail.split_once('\n').map_or("", |(_, after)| after);
    }
    Ok(pairs)
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The value up to the closing quote and what follows it. Only double quotes know escapes.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == quote {
            return Some((value, text.get(at + 1..)?));
        }
        if c == '\\' && quote == '"' {
            match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('"' | '\\' | '$') => value.push(c),
                c => value.extend(['\\', c]),
            }
        } else {
            value.push(c);
        }
    }
    None
}

/// The rest of the line without a comment; `#` begins one only after white space, because keys may contain it.
fn unquoted(text: &str) -> &str {
    let line = text.split('\n').next().unwrap_or_default();
    let comment = line.match_indices('#').find(|(at, _)| line[..*at].ends_with([' ', '\t']) || *at == 0);
    comment.map_or(line, |(at, _)| &line[..at]).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> String {
        parse(text).unwrap().remove("A").unwrap()
    }

    #[test]
    fn plain_quoted_exported_and_commented_values_are_read() {
        assert_eq!(value("A=1"), "1");
        assert_eq!(value("# c\r\n\r\n export A = x y \r\nB=2"), "x y");
        assert_eq!(value("A=sk-a#b # the key"), "sk-a#b");
        assert_eq!(value("A='a \"b\" # $c\\n'"), "a \"b\" # $c\\n");
        assert_eq!(value("A=\"one\\ntwo \\\"q\\\"\" # c\nB=1"), "one\ntwo \"q\"");
        assert_eq!(value("A=\"one\ntwo\"\nB=1"), "one\ntwo");
        assert_eq!(value("A="), "");
        assert_eq!(value("A=# nothing"), "");
        assert_eq!(value("A=1\nA=2"), "2");
    }

    #[test]
    fn an_error_names_the_line_but_not_the_value() {
        assert_eq!(parse("A=1\n\nsecret").unwrap_err(), "line 3: expected NAME=value");
        assert_eq!(parse("A=\"open").unwrap_err(), "line 1: the value of A has no closing quote");
        assert!(parse("A=1\n2B=secret").unwrap_err().starts_with("line 2: "));
    }
}
