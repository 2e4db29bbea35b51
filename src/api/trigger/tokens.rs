//! Public tokens: JSON web tokens that this server signs, for browsers that watch a run.

use super::super::AppState;
use super::auth::Caller;
use super::error::Refusal;
use super::options::seconds;
use crate::store::now_ms;
use axum::Json;
use axum::extract::State;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// Under which the store keeps the signing key.
pub(super) const SECRET: &str = "trigger-public-tokens";
/// What every token of this server begins with.
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
/// Bytes that a block of SHA-256 takes.
const BLOCK: usize = 64;
/// How long a token is good if nothing else is asked for, in seconds.
const LIFE: u64 = 15 * 60;
/// The longest life, in seconds.
const LIFE_MAX: u64 = 30 * 24 * 60 * 60;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claims {
    /// The key it was made with.
    #[serde(rename = "sub")]
    pub owner: String,
    /// What it may read.
    pub scopes: Vec<String>,
    /// When it ends (Unix s).
    pub exp: u64,
}

/// Body of `POST /api/v1/auth/public-tokens`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TokenBody {
    scopes: Vec<String>,
    /// A duration (`1h`) or the Unix time in seconds.
    expiration_time: Option<Value>,
}

/// `POST /api/v1/auth/public-tokens`
pub async fn create(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<TokenBody>,
) -> Result<Json<Value>, Refusal> {
    if let Some(scope) = body.scopes.iter().find(|scope| !scope.starts_with("read:")) {
        return Err(Refusal::invalid(format!(
            "The scope \"{scope}\" is not given to public tokens here: they only read."
        )));
    }
    let now = now_ms() / 1_000;
    let life = match body.expiration_time {
        None => LIFE,
        Some(Value::Number(at)) => at.as_u64().unwrap_or_default().saturating_sub(now),
        Some(Value::String(text)) => {
            seconds(&text).ok_or_else(|| Refusal::invalid(format!("\"{text}\" is not a duration, such as 1h")))?
        }
        Some(_) => return Err(Refusal::invalid("expirationTime is a duration or a time")),
    };
    Ok(Json(json!({ "token": issue(&app, &caller.owner, body.scopes, life).await? })))
}

/// `POST /api/v1/auth/jwt/claims`: what a client would sign itself. Keys of this server are never its signing keys, so
/// such a token is refused; clients that know this form of key ask for a token instead.
pub async fn claims(caller: Caller) -> Json<Value> {
    Json(json!({ "sub": caller.owner, "pub": true }))
}

/// A token of this caller.
pub(super) async fn issue(app: &AppState, owner: &str, scopes: Vec<String>, life: u64) -> Result<String, Refusal> {
    let secret = app.services.store.secret(SECRET).await?;
    let exp = now_ms() / 1_000 + life.min(LIFE_MAX);
    Ok(sign(&secret, &Claims { owner: owner.to_owned(), scopes, exp }))
}

/// Whether a bearer is meant as a public token.
pub(super) fn looks_like_one(token: &str) -> bool {
    token.starts_with("ey") && token.split('.').count() == 3
}

fn sign(secret: &[u8], claims: &Claims) -> String {
    // Claims are strings and numbers; they always serialize.
    let claims = serde_json::to_string(claims).unwrap_or_default();
    let signed = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(claims));
    let signature = BASE64.encode(hmac(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// The claims of a token that this server signed and that has not ended.
pub(super) fn verify(secret: &[u8], token: &str, now_s: u64) -> Option<Claims> {
    let (signed, signature) = token.rsplit_once('.')?;
    let signature = BASE64.decode(signature).ok()?;
    if !bool::from(signature.ct_eq(&hmac(secret, signed.as_bytes()))) {
        return None;
    }
    let (_, claims) = signed.split_once('.')?;
    let claims: Claims = serde_json::from_slice(&BASE64.decode(claims).ok()?).ok()?;
    (claims.exp > now_s).then_some(claims)
}

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0u8; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_signature_is_that_of_the_standard() {
        // RFC 4231, test cases 2 and 6.
        let hex = |bytes: Vec<u8>| {
            bytes.iter().fold(String::new(), |mut all, byte| {
                write!(all, "{byte:02x}").unwrap();
                all
            })
        };
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(hmac(b"Jefe", b"what do ya want for nothing?")), known);
        let long = hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        assert_eq!(hex(long), "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }

    #[test]
    fn a_token_is_good_until_its_end_and_only_as_it_was_signed() {
        let claims = Claims { owner: "key_1".into(), scopes: vec!["read:runs:run_1".into()], exp: 100 };
        let token = sign(b"secret", &claims);
        assert!(looks_like_one(&token));
        assert_eq!(verify(b"secret", &token, 99), Some(claims));
        assert_eq!(verify(b"secret", &token, 100), None);
        assert_eq!(verify(b"other", &token, 99), None);
        let (head, rest) = token.split_once('.').unwrap();
        let (_, signature) = rest.split_once('.').unwrap();
        let other = BASE64.encode(r#"{"sub":"key_2","scopes":["read:runs"],"exp":100}"#);
        assert_eq!(verify(b"secret", &format!("{head}.{other}.{signature}"), 99), None);
        assert_eq!(verify(b"secret", "ey.x.y", 99), None);
    }
}
