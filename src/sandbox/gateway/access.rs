//! Who may use a sandbox's services: by its token, or by a signature made with it; and as which user.

use super::answer::error;
use super::{Answer, Incoming, TOKEN_HEADER, text};
use crate::store::now_ms;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use http::{Method, StatusCode, header};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use subtle::ConstantTimeEq as _;

/// Users that exist. Both are the sandbox's one user: root inside means nothing outside, and nothing more inside.
const USERS: [&str; 2] = ["user", "root"];

/// Checks token or signature.
pub(super) fn check(token: &str, request: &Incoming) -> Result<(), Answer> {
    let refuse = |message: &str| Err(error(StatusCode::UNAUTHORIZED, message));
    let files = request.uri().path() == "/files";
    if let Some(given) = text(request.headers(), TOKEN_HEADER) {
        return match equal(given, token) {
            true => Ok(()),
            false if files => refuse("access token present in header but does not match"),
            false => refuse(UNAUTHORIZED),
        };
    }
    if !files {
        return refuse(UNAUTHORIZED);
    }
    let Some(signature) = Signature::of(request) else { return refuse("missing signature query parameter") };
    if !signature.fits(token) {
        return refuse("invalid signature");
    }
    if signature.expired() { refuse("signature is already expired") } else { Ok(()) }
}

const UNAUTHORIZED: &str = "unauthorized access, please provide a valid access token or method signing if supported";

/// A signature over one file.
pub(super) struct Signature {
    given: String,
    /// What was signed, around the token.
    before: String,
    after: String,
    expiration: Option<u64>,
}

impl Signature {
    /// The signature a request carries.
    pub(super) fn of(request: &Incoming) -> Option<Self> {
        let query = query(request);
        let get = |name: &str| query.get(name).map(String::as_str);
        let given = get("signature")?.to_owned();
        let what = if request.method() == Method::GET || request.method() == Method::HEAD { "read" } else { "write" };
        let (path, user) = (get("path").unwrap_or_default(), get("username").unwrap_or_default());
        let expiration = get("signature_expiration");
        let after = expiration.map(|at| format!(":{at}")).unwrap_or_default();
        // One that is not a number has passed.
        let expiration = expiration.map(|at| at.parse().unwrap_or(0));
        Some(Self { given, before: format!("{path}:{what}:{user}:"), after, expiration })
    }

    /// Whether it was made with this token.
    pub(super) fn fits(&self, token: &str) -> bool {
        let digest = Sha256::digest(format!("{}{token}{}", self.before, self.after));
        equal(&self.given, &format!("v1_{}", STANDARD_NO_PAD.encode(digest)))
    }

    fn expired(&self) -> bool {
        self.expiration.is_some_and(|at| at.saturating_mul(1000) < now_ms())
    }
}

/// The last value of each parameter.
pub(super) fn query(request: &Incoming) -> HashMap<String, String> {
    form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect()
}

/// The user an RPC names; `user` if none.
pub(super) fn rpc_user(request: &Incoming) -> Result<String, String> {
    let Some(value) = text(request.headers(), header::AUTHORIZATION.as_str()) else { return Ok("user".to_owned()) };
    let basic = value.strip_prefix("Basic ").and_then(|value| STANDARD.decode(value.trim()).ok());
    let Some(pair) = basic.and_then(|bytes| String::from_utf8(bytes).ok()) else { return Ok("user".to_owned()) };
    let name = pair.split(':').next().unwrap_or_default();
    match name {
        "" => Ok("user".to_owned()),
        name if USERS.contains(&name) => Ok(name.to_owned()),
        name => Err(format!("invalid username: '{}'", printable(name))),
    }
}

/// Whether there is such a user.
pub(super) fn is_user(name: &str) -> bool {
    name.is_empty() || USERS.contains(&name)
}

/// A caller's words in an answer: short and without control characters.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// Compares without telling by its duration where the difference is; hashing first hides the length too.
pub(super) fn equal(a: &str, b: &str) -> bool {
    Sha256::digest(a).ct_eq(&Sha256::digest(b)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn request(uri: &str) -> Incoming {
        Request::get(uri).body(super::super::answer::full("")).unwrap()
    }

    #[test]
    fn a_signature_of_the_real_service_fits_its_token() {
        // From the recorded transcript of the real envd.
        let uri = "/files?path=x/y.txt&signature=v1_kJ0L5RoRKKMi1xyN66TAsJJckZ8WwWpzkp8yL2rQUGU";
        let signed = Signature::of(&request(uri)).unwrap();
        assert!(signed.fits("sekret") && !signed.fits("sekret2"));
        let digest = |token: &str| STANDARD_NO_PAD.encode(Sha256::digest(format!("x/y.txt:read::{token}")));
        let own = format!("/files?path=x/y.txt&signature=v1_{}", digest("mine").replace('+', "%2B"));
        let own = Signature::of(&request(&own)).unwrap();
        assert!(own.fits("mine") && !own.fits("yours") && !own.expired());
    }
}
