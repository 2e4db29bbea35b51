//! Uploads: files that wait to be sent with a message.

use super::Services;
use crate::domain::{ApiError, Attachment, check_size, image_type};

/// Characters of a name that are kept.
const NAME_MAX: usize = 120;

impl Services {
    /// Keeps a file. What is returned names it in the message it is sent with.
    pub async fn upload(&self, name: &str, content: Vec<u8>) -> Result<Attachment, ApiError> {
        let name = shown_name(name);
        let (bytes, image) = (content.len() as u64, image_type(&content).is_some());
        check_size(&name, bytes, image)?;
        let id = self.store.attachments().put(content).await?;
        Ok(Attachment { id, name, bytes, image, path: String::new() })
    }
}

/// The last part of what a client calls its file, on one line.
fn shown_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let plain: String = last.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    let plain = plain.trim();
    if plain.is_empty() { "file".to_owned() } else { plain.to_owned() }
}
