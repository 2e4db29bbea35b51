//! Forms of pages, with files or without, within the bounds of their route.

use super::error::{Failure, too_large};
use crate::domain::ApiError;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use std::collections::HashMap;

/// What a form was filled in with.
#[derive(Debug, Default)]
pub struct Filled {
    texts: HashMap<String, String>,
    /// The files: name of the field, name of the file (a path where a folder was chosen), content.
    pub files: Vec<(String, String, Vec<u8>)>,
}

impl Filled {
    /// A field's text; empty if it was left out.
    pub fn text(&self, name: &str) -> &str {
        self.texts.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequest<S> for Filled {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let limit = super::body_limit(request.uri().path());
        if kind.starts_with("application/x-www-form-urlencoded") {
            let body = axum::body::to_bytes(request.into_body(), limit).await.map_err(|_| too_large(limit))?;
            return Ok(Self { texts: form_urlencoded::parse(&body).into_owned().collect(), files: Vec::new() });
        }
        let boundary = multer::parse_boundary(&kind).map_err(|_| {
            let error = ApiError::invalid("send a form: multipart/form-data or application/x-www-form-urlencoded");
            Failure::with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE, error)
        })?;
        let broken = |error: multer::Error| match error {
            // The body ended because its limit was passed.
            multer::Error::StreamReadFailed(_) => too_large(limit),
            error => ApiError::invalid(format!("The form cannot be read: {error}.")).into(),
        };
        let mut form = multer::Multipart::new(request.into_body().into_data_stream(), boundary);
        let mut filled = Self::default();
        while let Some(field) = form.next_field().await.map_err(broken)? {
            let (name, file) = (field.name().unwrap_or_default().to_owned(), field.file_name().map(str::to_owned));
            match file {
                None => {
                    let text = field.text().await.map_err(broken)?;
                    filled.texts.insert(name, text);
                }
                // A field for files sends one without a name when none was chosen.
                Some(file) if file.is_empty() => {}
                Some(file) => filled.files.push((name, file, field.bytes().await.map_err(broken)?.to_vec())),
            }
        }
        Ok(filled)
    }
}
