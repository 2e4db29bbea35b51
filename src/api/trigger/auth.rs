//! Who asks: a secret key, which may do everything with its own runs, or a public token made for it, which may read
//! what its scopes name.

use super::super::AppState;
use super::error::Refusal;
use super::tokens;
use crate::domain::RunId;
use crate::store::KeyKind;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

/// A caller with a secret key.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key's id: the owner of what it submits.
    pub owner: String,
}

/// A caller who may read: a secret key or a public token.
#[derive(Clone, Debug)]
pub struct Reader {
    /// The key's id.
    pub owner: String,
    /// What a public token may read, as `read:runs:run_1`; none for a secret key.
    scopes: Option<Vec<String>>,
}

impl Reader {
    /// Refuses what the scopes do not name.
    pub fn may_read(&self, kind: &str, id: &str) -> Result<(), Refusal> {
        let Some(scopes) = &self.scopes else { return Ok(()) };
        let wanted = [format!("read:{kind}:{id}"), format!("read:{kind}"), "read:all".to_owned()];
        if scopes.iter().any(|scope| wanted.contains(scope)) {
            return Ok(());
        }
        Err(Refusal::new(StatusCode::FORBIDDEN, format!("This token may not read {kind} {id}.")))
    }

    /// Refuses a run that the scopes name neither by its id nor by a tag or its batch.
    pub fn may_read_run(&self, id: &RunId, tags: &[String], batch: Option<&str>) -> Result<(), Refusal> {
        let by_tag = tags.iter().any(|tag| self.may_read("tags", tag).is_ok());
        if by_tag || batch.is_some_and(|batch| self.may_read("batch", batch).is_ok()) {
            return Ok(());
        }
        self.may_read("runs", id.as_str())
    }
}

impl FromRequestParts<AppState> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Refusal> {
        let reader = Reader::from_request_parts(parts, app).await?;
        if reader.scopes.is_some() {
            let message = "A public token can only read; this needs a secret key.";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        Ok(Self { owner: reader.owner })
    }
}

impl FromRequestParts<AppState> for Reader {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Refusal> {
        let given = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' ')).filter(|(scheme, _)| {
            // Anything else, such as a browser's Basic, is no key of this API.
            scheme.eq_ignore_ascii_case("bearer")
        });
        let Some((_, token)) = given else {
            let message =
                "Send a key as Authorization: Bearer. \"sandcastle keys create NAME --kind trigger\" makes one.";
            return Err(Refusal::unauthorized(message));
        };
        let token = token.trim();
        let store = &app.services.store;
        if tokens::looks_like_one(token) {
            let secret = store.secret(tokens::SECRET).await?;
            let claims = tokens::verify(&secret, token, crate::store::now_ms() / 1_000)
                .ok_or_else(|| Refusal::unauthorized("The public token is invalid or has expired."))?;
            // A token ends with its key.
            let known = store.keys().list().await?.into_iter().any(|key| key.id == claims.owner);
            if !known {
                return Err(Refusal::unauthorized("The key that this token was made with was revoked."));
            }
            return Ok(Self { owner: claims.owner, scopes: Some(claims.scopes) });
        }
        match store.keys().authenticate(KeyKind::Trigger, token).await? {
            Some(key) => Ok(Self { owner: key.id, scopes: None }),
            None => Err(Refusal::unauthorized("Invalid API key.")),
        }
    }
}
