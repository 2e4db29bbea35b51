//! Server-sent events from bytes, as tolerant as browsers are: any line ending, comments, fields without a space.
//!
//! Bytes are split at line ends before they are decoded, so a character cut by a chunk boundary stays whole.

/// One event may hold this much; a server that sends more is not a chat completion.
const MAX_EVENT: usize = 16 * 1024 * 1024;

/// Cuts a byte stream into the `data` of its events.
#[derive(Default)]
pub(super) struct SseDecoder {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    after_cr: bool,
}

/// The event grew over the limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl SseDecoder {
    /// Takes a chunk and returns the data of the events it completed.
    pub(super) fn push(&mut self, chunk: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut out = Vec::new();
        for &byte in chunk {
            let was_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if was_cr => {}
                b'\n' | b'\r' => self.end_line(&mut out),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.len() > MAX_EVENT {
                return Err(TooLarge);
            }
        }
        Ok(out)
    }

    /// The last event of a stream that ended without an empty line.
    pub(super) fn finish(&mut self) -> Option<String> {
        let mut out = Vec::new();
        self.end_line(&mut out);
        self.end_line(&mut out);
        out.into_iter().next()
    }

    fn end_line(&mut self, out: &mut Vec<String>) {
        let bytes = std::mem::take(&mut self.line);
        if bytes.is_empty() {
            if std::mem::take(&mut self.has_data) {
                out.push(std::mem::take(&mut self.data));
            }
            return;
        }
        let line = String::from_utf8_lossy(&bytes);
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        // Comments, `event`, `id` and `retry` mean nothing here.
        if field.trim_start_matches('\u{feff}') != "data" {
            return;
        }
        // Some servers forget the empty line between events: a complete JSON object is an event of its own.
        if self.has_data && value.starts_with(['{', '[']) && is_complete(&self.data) {
            out.push(std::mem::take(&mut self.data));
        } else if self.has_data {
            self.data.push('\n');
        }
        self.data.push_str(value);
        self.has_data = true;
    }
}

fn is_complete(data: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(data).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(chunks: &[&[u8]]) -> Vec<String> {
        let mut decoder = SseDecoder::default();
        let mut out: Vec<String> = chunks.iter().flat_map(|c| decoder.push(c).unwrap()).collect();
        out.extend(decoder.finish());
        out
    }

    #[test]
    fn comments_other_fields_and_every_line_ending_are_accepted() {
        let text = b": keep-alive\r\n\r\nevent: x\ndata:{\"a\":1}\n\ndata: two\rdata: lines\r\rdata: last";
        assert_eq!(decode(&[text]), ["{\"a\":1}", "two\nlines", "last"]);
    }

    #[test]
    fn events_without_an_empty_line_between_them_are_separated() {
        assert_eq!(
            decode(&[b"data: {\"a\":1}\ndata: {\"b\":2}\ndata: [DONE]\n\n"]),
            ["{\"a\":1}", "{\"b\":2}", "[DONE]"]
        );
    }

    mod fuzz {
        use super::*;

        proptest! {
            #[test]
            fn any_chunking_gives_the_same_events(cuts in proptest::collection::vec(0usize..60, 0..8)) {
                let text = "data: {\"t\":\"pâté 🏖\"}\r\n\r\n: ping\n\ndata: b\n\n".as_bytes();
                let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(text.len())).collect();
                cuts.push(0);
                cuts.push(text.len());
                cuts.sort_unstable();
                let chunks: Vec<&[u8]> = cuts.windows(2).map(|w| &text[w[0]..w[1]]).collect();
                prop_assert_eq!(decode(&chunks), decode(&[text]));
            }
        }
    }
}
