//! Exact search and replace in a text, with errors that tell a model what to do differently.

use super::SandboxError;

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Edit {
    /// The text to find, exactly and exactly once.
    pub search: String,
    /// What takes its place.
    pub replace: String,
}

/// Applies the edits in order, each to the result of the one before. All or nothing.
pub(super) fn apply(path: &str, text: &str, edits: &[Edit]) -> Result<String, SandboxError> {
    if edits.is_empty() {
        return Err(SandboxError::Invalid("no edits are given".to_owned()));
    }
    let mut text = text.to_owned();
    for (index, edit) in edits.iter().enumerate() {
        let number = index + 1;
        if edit.search.is_empty() {
            return Err(refused(path, number, "the search text is empty; to write a whole file, write the file"));
        }
        let mut places = text.match_indices(edit.search.as_str());
        match (places.next(), places.count()) {
            (None, _) => return Err(refused(path, number, &not_found(&text, &edit.search))),
            (Some((at, found)), 0) => text.replace_range(at..at + found.len(), &edit.replace),
            (Some(_), more) => return Err(refused(path, number, &ambiguous(&text, &edit.search, more + 1))),
        }
    }
    Ok(text)
}

fn refused(path: &str, number: usize, why: &str) -> SandboxError {
    SandboxError::Invalid(format!("edit {number} of {path} was not applied, and so none was: {why}"))
}

fn ambiguous(text: &str, search: &str, count: usize) -> String {
    let lines: Vec<String> =
        text.match_indices(search).take(5).map(|(at, _)| line_number(text, at).to_string()).collect();
    format!(
        "the search text occurs {count} times (lines {}); add lines around it until it occurs once",
        lines.join(", ")
    )
}

fn line_number(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
}

fn not_found(text: &str, search: &str) -> String {
    let wanted = search.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let closest = text
        .lines()
        .enumerate()
        .map(|(index, line)| (similarity(wanted, line.trim()), index + 1, line))
        .max_by_key(|(score, index, _)| (*score, std::cmp::Reverse(*index)))
        .filter(|(score, ..)| *score >= 40);
    let hint = match closest {
        Some((100, number, line)) => {
            format!("line {number} begins like it but what follows or the white space differs: {:?}", cut(line))
        }
        Some((_, number, line)) => format!("the closest line is {number}: {:?}", cut(line)),
        None => "no line is like it".to_owned(),
    };
    format!("the search text does not occur in the file; {hint}. Read the file and copy the text exactly")
}

fn cut(line: &str) -> String {
    line.chars().take(200).collect()
}

/// How alike two lines are, 0 to 100: shared pairs of characters (Dice), which needs no alignment.
fn similarity(a: &str, b: &str) -> u32 {
    if a == b {
        return if a.is_empty() { 0 } else { 100 };
    }
    let pairs = |line: &str| -> Vec<(char, char)> {
        let chars: Vec<char> = line.chars().take(400).collect();
        chars.windows(2).map(|w| (w[0], w[1])).collect()
    };
    let (have, mut rest) = (pairs(a), pairs(b));
    let total = have.len() + rest.len();
    if total == 0 {
        return 0;
    }
    let mut shared = 0;
    for pair in have {
        if let Some(at) = rest.iter().position(|other| *other == pair) {
            rest.swap_remove(at);
            shared += 2;
        }
    }
    // 100 means equal; anything else stays below.
    u32::try_from(shared * 100 / total).unwrap_or(0).min(99)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(search: &str, replace: &str) -> Edit {
        Edit { search: search.to_owned(), replace: replace.to_owned() }
    }

    fn message(text: &str, edits: &[Edit]) -> String {
        apply("a.txt", text, edits).unwrap_err().to_string()
    }

    #[test]
    fn edits_apply_in_order() {
        let done = apply("a.txt", "one two", &[edit("one", "1"), edit("1 two", "3")]).unwrap();
        assert_eq!(done, "3");
    }

    #[test]
    fn a_search_that_is_not_there_names_the_closest_line() {
        let text = "fn main() {\n    let total = sum(items);\n}\n";
        let error = message(text, &[edit("let total = sum(item);", "x")]);
        assert!(error.contains("the closest line is 2: \"    let total = sum(items);\""), "{error}");
        let error = message(text, &[edit("let total = sum(items);\nreturn", "x")]);
        assert!(error.contains("line 2 begins like it"), "{error}");
        let error = message(text, &[edit("zzz", "x")]);
        assert!(error.contains("no line is like it"), "{error}");
    }

    #[test]
    fn a_search_that_occurs_more_than_once_names_the_lines() {
        let error = message("a\nb\na\n", &[edit("b", "c"), edit("a", "x")]);
        assert!(error.contains("edit 2 of a.txt") && error.contains("2 times (lines 1, 3)"), "{error}");
        assert!(message("a", &[edit("", "x")]).contains("empty"));
    }
}
