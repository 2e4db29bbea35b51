//! Reads `{"files":[{"path":"...","content":"..."}]}` while the model is still writing it.
//!
//! Pure: text in at any boundaries, pieces of file content out. It decodes JSON string escapes, also UTF-16 pairs cut
//! between two chunks, and knows when a string is closed. It is for display only: what is written to the workspace are
//! the complete, strictly parsed arguments.

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FilePiece {
    /// The path, as the model wrote it.
    pub path: String,
    /// What to append. The first piece of a file may be empty: it announces the path.
    pub text: String,
    /// Whether the content is complete with this piece.
    pub closed: bool,
}

/// The reader's state between two chunks.
#[derive(Default)]
pub(super) struct FilesReader {
    stack: Vec<Frame>,
    string: Option<Text>,
    file: File,
    broken: bool,
}

/// A container that is open.
struct Frame {
    object: bool,
    /// The last key of an object.
    key: String,
    /// Whether the next string of an object is a key.
    expects_key: bool,
}

/// A string that is open.
#[derive(Default)]
struct Text {
    value: String,
    escape: Escape,
    /// The first half of a UTF-16 pair.
    high: Option<u16>,
}

#[derive(Default)]
enum Escape {
    #[default]
    None,
    Backslash,
    Unicode(String),
}

/// The file object that is open.
#[derive(Default)]
struct File {
    path: Option<String>,
    /// Content that came before the path.
    early: String,
    /// Whether that content is complete.
    early_closed: bool,
}

impl FilesReader {
    /// Takes more of the arguments and returns what they add. Broken JSON ends the stream of pieces silently: the
    /// complete arguments are judged elsewhere.
    pub fn push(&mut self, chunk: &str) -> Vec<FilePiece> {
        let mut out: Vec<FilePiece> = Vec::new();
        for c in chunk.chars() {
            if self.broken {
                break;
            }
            match self.string.is_some() {
                true => self.in_string(c, &mut out),
                false => self.between(c),
            }
        }
        self.give_content(&mut out, false);
        out
    }

    fn between(&mut self, c: char) {
        match c {
            '"' => self.string = Some(Text::default()),
            '{' | '[' => {
                if c == '{' && self.stack.len() == 2 {
                    self.file = File::default();
                }
                self.stack.push(Frame { object: c == '{', key: String::new(), expects_key: c == '{' });
                self.broken = self.stack.len() > 64;
            }
            '}' | ']' => {
                self.stack.pop();
            }
            ',' => {
                if let Some(frame) = self.stack.last_mut() {
                    frame.expects_key = frame.object;
                }
            }
            _ => {}
        }
    }

    fn in_string(&mut self, c: char, out: &mut Vec<FilePiece>) {
        let Some(text) = &mut self.string else { return };
        match (&mut text.escape, c) {
            (Escape::None, '"') => self.close_string(out),
            (Escape::None, '\\') => text.escape = Escape::Backslash,
            (Escape::None, _) => text.put(c),
            (Escape::Backslash, 'u') => text.escape = Escape::Unicode(String::new()),
            (Escape::Backslash, _) => {
                let plain = match c {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    other => other,
                };
                text.escape = Escape::None;
                text.put(plain);
            }
            (Escape::Unicode(digits), _) => {
                digits.push(c);
                if digits.len() < 4 {
                    return;
                }
                let unit = u16::from_str_radix(digits, 16);
                text.escape = Escape::None;
                match unit {
                    Ok(unit) => text.put_unit(unit),
                    Err(_) => self.broken = true,
                }
            }
        }
    }

    fn close_string(&mut self, out: &mut Vec<FilePiece>) {
        if let Some(text) = &mut self.string {
            text.end_pair();
        }
        self.give_content(out, true);
        let Some(text) = self.string.take() else { return };
        if let Some(frame) = self.stack.last_mut()
            && frame.expects_key
        {
            frame.key = text.value;
            frame.expects_key = false;
        } else if self.is_in_file("path") && self.file.path.is_none() {
            let early = std::mem::take(&mut self.file.early);
            out.push(FilePiece { path: text.value.clone(), text: early, closed: self.file.early_closed });
            self.file.path = Some(text.value);
        }
    }

    /// Hands out what an open content string holds so far.
    fn give_content(&mut self, out: &mut Vec<FilePiece>, closed: bool) {
        if !self.is_in_file("content") {
            return;
        }
        let Some(text) = &mut self.string else { return };
        let value = std::mem::take(&mut text.value);
        match &self.file.path {
            Some(path) if closed || !value.is_empty() => {
                out.push(FilePiece { path: path.clone(), text: value, closed });
            }
            Some(_) => {}
            None => {
                self.file.early.push_str(&value);
                self.file.early_closed = closed;
            }
        }
    }

    /// Whether the open value is `files[i].{key}`.
    fn is_in_file(&self, key: &str) -> bool {
        match self.stack.as_slice() {
            [root, list, file] => {
                root.object
                    && root.key == "files"
                    && !list.object
                    && file.object
                    && file.key == key
                    && !file.expects_key
            }
            _ => false,
        }
    }
}

impl Text {
    fn put(&mut self, c: char) {
        self.end_pair();
        self.value.push(c);
    }

    fn put_unit(&mut self, unit: u16) {
        match (self.high.take(), unit) {
            (Some(high), 0xDC00..=0xDFFF) => {
                self.value.extend(char::decode_utf16([high, unit]).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)));
            }
            (high, 0xD800..=0xDBFF) => {
                self.value.extend(high.map(|_| char::REPLACEMENT_CHARACTER));
                self.high = Some(unit);
            }
            (high, _) => {
                self.value.extend(high.map(|_| char::REPLACEMENT_CHARACTER));
                self.value.push(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
        }
    }

    /// A first half that no second half followed.
    fn end_pair(&mut self) {
        self.value.extend(self.high.take().map(|_| char::REPLACEMENT_CHARACTER));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// Reads the text cut at these byte positions: content by path, and which files were closed, in order.
    fn read(text: &str, cuts: &[usize]) -> (BTreeMap<String, String>, Vec<String>) {
        let mut cuts: Vec<usize> =
            cuts.iter().map(|c| c % (text.len() + 1)).filter(|c| text.is_char_boundary(*c)).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let mut reader = FilesReader::default();
        let (mut files, mut closed) = (BTreeMap::<String, String>::new(), Vec::new());
        for piece in cuts.windows(2).flat_map(|w| reader.push(&text[w[0]..w[1]])) {
            files.entry(piece.path.clone()).or_default().push_str(&piece.text);
            if piece.closed {
                closed.push(piece.path);
            }
        }
        (files, closed)
    }

    #[test]
    fn a_file_is_closed_only_when_its_string_is() {
        let mut reader = FilesReader::default();
        let piece = |path: &str, text: &str, closed| FilePiece { path: path.to_owned(), text: text.to_owned(), closed };
        assert_eq!(
            reader.push(r#"{"files":[{"path":"a.js","content":"one\"#),
            [piece("a.js", "", false), piece("a.js", "one", false)]
        );
        assert_eq!(reader.push("n"), [piece("a.js", "\n", false)]);
        assert_eq!(reader.push(r#"two","x":{"content":"no"}}"#), [piece("a.js", "two", true)]);
    }

    #[test]
    fn content_before_its_path_is_kept_back() {
        let (files, closed) = read(r#"{"files":[{"content":"x","path":"a"},{"content":"","path":"b"}]}"#, &[20, 30]);
        assert_eq!(files, BTreeMap::from([("a".to_owned(), "x".to_owned()), ("b".to_owned(), String::new())]));
        assert_eq!(closed, ["a", "b"]);
    }

    #[test]
    fn half_a_utf16_pair_is_replaced_not_lost() {
        let (files, _) = read(r#"{"files":[{"path":"a","content":"\ud83c!\ud83c"}]}"#, &[]);
        assert_eq!(files["a"], "\u{fffd}!\u{fffd}");
    }

    mod fuzz {
        use super::*;

        proptest! {
            #[test]
            fn any_chunking_gives_the_same_files(
                files in proptest::collection::vec(("[a-z/é\"]{1,12}", ".{0,80}"), 0..5),
                cuts in proptest::collection::vec(0usize..4000, 0..40),
                ascii in any::<bool>(),
                flip in any::<bool>(),
            ) {
                let mut expected = BTreeMap::<String, String>::new();
                let list: Vec<_> = files.iter().enumerate().map(|(i, (path, content))| {
                    let path = format!("{i}{path}");
                    expected.insert(path.clone(), content.clone());
                    let (path, content) = (json!(path), json!(content));
                    if flip {
                        format!("{{\"content\":{content},\"path\":{path}}}")
                    } else {
                        format!("{{\"path\":{path},\"content\":{content}}}")
                    }
                }).collect();
                let mut text = format!("{{ \"files\" : [{}] }}", list.join(" , "));
                if ascii {
                    let escape = |c: char| if c.is_ascii() { c.to_string() } else {
                        c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect()
                    };
                    text = text.chars().map(escape).collect();
                }
                let (got, closed) = read(&text, &cuts);
                prop_assert_eq!(closed.len(), expected.len());
                prop_assert_eq!(got, expected);
            }

            #[test]
            fn nonsense_never_panics(text in ".{0,200}", cuts in proptest::collection::vec(0usize..200, 0..5)) {
                read(&text, &cuts);
            }
        }
    }
}
