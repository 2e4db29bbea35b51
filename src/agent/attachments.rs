//! Files that come with a message: into the workspace, and before the model's eyes.
//!
//! Every file is put into the workspace, because the app may need it, and is named to the model. Short text goes into
//! the message as well. An image is a part of the message that names the stored file; its bytes are filled in when the
//! request is made, so that the transcript stays small and a model without eyes is told instead.

use super::gate::AgentDeps;
use crate::domain::{
    ApiError, Attached, Attachment, AttachmentId, Message, ProjectId, ProjectState, check_count, check_size,
    image_type, workspace_path,
};
use crate::workflow::{RunRequest, TaskContext};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Bytes of all text files of a message that are told with it.
const TOLD_MAX: usize = 16 * 1024;
/// Images that are shown, the latest; of earlier ones the name stays.
const SHOWN_MAX: usize = 8;
/// What the address of an image that is to be filled in begins with.
const SCHEME: &str = "attachment:";

impl AgentDeps {
    /// Checks uploads and gives each its place in the workspace.
    pub(super) async fn attach(&self, state: &ProjectState, files: &[Attached]) -> Result<Vec<Attachment>, ApiError> {
        check_count(files.len())?;
        let mut out: Vec<Attachment> = Vec::with_capacity(files.len());
        for Attached { id, name } in files {
            if out.iter().any(|have| have.id == *id) {
                continue;
            }
            let content = self.store.attachments().read(id).await.map_err(|error| match error.is_not_found() {
                true => ApiError::invalid(format!("{name} was not uploaded, or too long ago; attach it again.")),
                false => error.into(),
            })?;
            let (bytes, image) = (content.len() as u64, image_type(&content).is_some());
            check_size(name, bytes, image)?;
            let earlier = state.messages.iter().flat_map(|m| &m.attachments).chain(&out);
            let others: Vec<&str> = earlier.filter(|have| have.id != *id).map(|have| have.path.as_str()).collect();
            let path = workspace_path(name, |path| others.contains(&path));
            out.push(Attachment { id: id.clone(), name: name.clone(), bytes, image, path });
        }
        Ok(out)
    }

    /// Puts the files of these messages into the workspace.
    pub(super) async fn put_attachments(
        &self,
        ctx: &TaskContext,
        project: &ProjectId,
        prompts: &[Message],
    ) -> Result<(), ApiError> {
        let files: Vec<&Attachment> = prompts.iter().flat_map(|m| &m.attachments).collect();
        if files.is_empty() {
            return Ok(());
        }
        let request = RunRequest {
            task: "putAttachments".to_owned(),
            title: files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>().join(", "),
            payload: json!({"project": project, "files": files}),
            project: Some(project.clone()),
            parent: Some(ctx.run.clone()),
            idempotency_key: Some(format!("{}:attachments", ctx.run)),
            ..RunRequest::default()
        };
        ctx.workflow().call(request, &ctx.cancel).await?;
        Ok(())
    }

    /// A person's message as the model reads it.
    pub(super) async fn told(&self, message: &Message) -> Result<Value, ApiError> {
        let mut text = message.text();
        if message.attachments.is_empty() {
            return Ok(super::conversation::user_message(&text));
        }
        text.push_str("\n\nAttached files, which are in the workspace:\n");
        let (mut contents, mut left) = (String::new(), TOLD_MAX);
        for file in &message.attachments {
            let kind = if file.image { "image, " } else { "" };
            let _ = writeln!(text, "- {} ({kind}{} bytes)", file.path, file.bytes);
            if file.image || file.bytes > left as u64 {
                continue;
            }
            let content = self.store.attachments().read(&file.id).await?;
            if let Ok(content) = String::from_utf8(content)
                && !content.contains('\0')
            {
                left -= content.len().min(left);
                let _ = write!(contents, "\n{}:\n```\n{}\n```\n", file.path, content.trim_end());
            }
        }
        text.push_str(&contents);
        let mut parts = vec![json!({"type": "text", "text": text.trim_end()})];
        parts.extend(message.attachments.iter().filter(|file| file.image).map(|file| {
            json!({"type": "image_url", "image_url": {"url": format!("{SCHEME}{}", file.id)}, "x_path": file.path})
        }));
        Ok(if parts.len() == 1 {
            super::conversation::user_message(text.trim_end())
        } else {
            json!({"role": "user", "content": parts})
        })
    }

    /// Fills in the images of a conversation, the latest ones, if the model can see; else says what is not shown.
    pub(super) async fn show_images(&self, messages: &mut [Value], sees: bool) -> Result<(), ApiError> {
        let mut left = if sees { SHOWN_MAX } else { 0 };
        for message in messages.iter_mut().rev() {
            let Some(parts) = message.get_mut("content").and_then(Value::as_array_mut) else { continue };
            for part in parts.iter_mut().rev() {
                let Some(id) = image_of(part) else { continue };
                let path = part.get("x_path").and_then(Value::as_str).unwrap_or_default();
                if left == 0 {
                    *part = json!({"type": "text", "text": unseen(path, sees)});
                    continue;
                }
                left -= 1;
                let content = self.store.attachments().read(&id).await?;
                let kind = image_type(&content).unwrap_or("image/png");
                let url = format!("data:{kind};base64,{}", STANDARD.encode(content));
                *part = json!({"type": "image_url", "image_url": {"url": url}});
            }
            // Servers of models without eyes often take text in one form only.
            if let Some(text) = only_text(parts) {
                *message = super::conversation::user_message(&text);
            }
        }
        Ok(())
    }
}

fn image_of(part: &Value) -> Option<AttachmentId> {
    let url = part.pointer("/image_url/url")?.as_str()?;
    AttachmentId::parse(url.strip_prefix(SCHEME)?).ok()
}

fn unseen(path: &str, sees: bool) -> String {
    match sees {
        true => format!("[the image {path} was shown earlier]"),
        false => format!("[the image {path} is in the workspace, but you cannot see images; say so if that matters]"),
    }
}

fn only_text(parts: &[Value]) -> Option<String> {
    let texts: Option<Vec<&str>> = parts.iter().map(|part| part.get("text").and_then(Value::as_str)).collect();
    texts.map(|texts| texts.join("\n\n"))
}
