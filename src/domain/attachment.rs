//! Files a person sends with a message: what they are called, what they are, and how many and how large they may be.
//!
//! Pure: the store keeps the bytes, the agent decides what a model sees of them.

use super::json::FromJson;
use super::{ApiError, AttachmentId, ErrorCode};
use serde::{Deserialize, Serialize};

/// Files with one message.
pub const ATTACHMENTS_MAX: usize = 10;
/// Bytes of an image: the least of what the known providers accept.
pub const IMAGE_MAX: u64 = 5 << 20;
/// Bytes of any other file.
pub const FILE_MAX: u64 = 20 << 20;
/// The folder of the workspace that attachments are put into.
const FOLDER: &str = "attachments";
/// Characters of a name.
const NAME_MAX: usize = 80;

/// A file of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, FromJson)]
pub struct Attachment {
    /// The digest of its bytes.
    pub id: AttachmentId,
    /// Its name, as the person's system had it.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether it is an image that models can be shown. Told by its bytes, not by its name.
    pub image: bool,
    /// Where it is in the workspace; empty until it is sent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
}

/// A file that was uploaded, as a message names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// What the upload was answered with.
    pub id: AttachmentId,
    /// Its name.
    pub name: String,
}

/// The media type of an image that every model with eyes reads; none for anything else (SVG is text).
pub fn image_type(content: &[u8]) -> Option<&'static str> {
    let webp = || content.starts_with(b"RIFF") && content.get(8..12) == Some(b"WEBP");
    match content {
        [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some("image/gif"),
        _ if webp() => Some("image/webp"),
        _ => None,
    }
}

/// Whether a file may be attached, by its size. The browser asks before it sends one, the server when it has it.
pub fn check_size(name: &str, bytes: u64, image: bool) -> Result<(), ApiError> {
    let (limit, kind) = if image { (IMAGE_MAX, "an image") } else { (FILE_MAX, "a file") };
    if bytes == 0 {
        return Err(ApiError::invalid(format!("{name} is empty.")));
    }
    if bytes <= limit {
        return Ok(());
    }
    let tenths = (bytes.saturating_mul(10) + (1 << 19)) >> 20;
    let message = format!("{name} has {}.{} MiB; {kind} may have {} MiB.", tenths / 10, tenths % 10, limit >> 20);
    Err(ApiError::new(ErrorCode::TooLarge, message))
}

/// Whether so many files may go with one message.
pub fn check_count(count: usize) -> Result<(), ApiError> {
    if count <= ATTACHMENTS_MAX {
        return Ok(());
    }
    Err(ApiError::invalid(format!("{count} files are too many for one message; {ATTACHMENTS_MAX} may go with it.")))
}

/// Where a file of this name goes in the workspace. `taken` tells whether another file is there already.
pub fn workspace_path(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let name = plain_name(name);
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        _ => (name.as_str(), String::new()),
    };
    let path = |number: u32| match number {
        1 => format!("{FOLDER}/{stem}{extension}"),
        n => format!("{FOLDER}/{stem}-{n}{extension}"),
    };
    (1..u32::MAX).map(path).find(|path| !taken(path)).unwrap_or_else(|| path(u32::MAX))
}

/// A name that is one on every system and needs no quotes in a shell.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String =
        last.chars().map(|c| if c.is_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' }).collect();
    let plain = plain.trim_matches(['.', '-']);
    // The end has the extension.
    let skip = plain.chars().count().saturating_sub(NAME_MAX);
    let plain: String = plain.chars().skip(skip).collect();
    if plain.is_empty() { "file".to_owned() } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_known_by_their_bytes() {
        assert_eq!(image_type(b"\x89PNG\r\n\x1a\nrest"), Some("image/png"));
        assert_eq!(image_type(b"\xff\xd8\xff\xe0"), Some("image/jpeg"));
        assert_eq!(image_type(b"GIF89a"), Some("image/gif"));
        assert_eq!(image_type(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(image_type(b"RIFF\0\0\0\0WAVE"), None);
        assert_eq!(image_type(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), None);
    }

    #[test]
    fn what_does_not_fit_is_named_with_its_limit() {
        assert!(check_size("a.png", IMAGE_MAX, true).is_ok());
        let error = check_size("a.png", IMAGE_MAX + (1 << 20), true).unwrap_err();
        assert_eq!(
            (error.code, error.message.as_str()),
            (ErrorCode::TooLarge, "a.png has 6.0 MiB; an image may have 5 MiB.")
        );
        assert!(check_size("a.csv", IMAGE_MAX + 1, false).is_ok());
        assert!(check_size("a.csv", 0, false).unwrap_err().message.contains("empty"));
        assert!(check_count(11).unwrap_err().message.contains("10"));
    }

    #[test]
    fn a_file_gets_a_path_of_its_own_in_one_folder() {
        let free = |_: &str| false;
        assert_eq!(workspace_path("Logo final (2).png", free), "attachments/Logo-final--2-.png");
        assert_eq!(workspace_path("../../etc/passwd", free), "attachments/passwd");
        assert_eq!(workspace_path("C:\\x\\.env", free), "attachments/env");
        assert_eq!(workspace_path("日本.txt", free), "attachments/日本.txt");
        assert_eq!(workspace_path("...", free), "attachments/file");
        let taken = |path: &str| matches!(path, "attachments/a.png" | "attachments/a-2.png");
        assert_eq!(workspace_path("a.png", taken), "attachments/a-3.png");
        assert!(workspace_path(&format!("{}.png", "x".repeat(300)), free).ends_with(".png"));
    }
}
