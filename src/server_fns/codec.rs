//! JSON for server functions, read through [`serde_json::Value`].
//!
//! A reader of text for every type would be serde's code a second time in the browser's download: pages and events
//! come through values too. It must not know any type of the domain.

use leptos::server_fn::codec::Post;
use leptos::server_fn::{ContentType, Decodes, Encodes, Format, FormatType};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The encoding both ways: a body of JSON.
pub struct JsonValue;

/// `POST` with a body of JSON, as a server function's `input` and `output`.
pub type PostJson = Post<JsonValue>;

impl ContentType for JsonValue {
    const CONTENT_TYPE: &'static str = "application/json";
}

impl FormatType for JsonValue {
    const FORMAT_TYPE: Format = Format::Text;
}

impl<T: Serialize> Encodes<T> for JsonValue {
    type Error = serde_json::Error;

    fn encode(output: &T) -> Result<leptos::server_fn::Bytes, Self::Error> {
        serde_json::to_vec(output).map(Into::into)
    }
}

impl<T: DeserializeOwned> Decodes<T> for JsonValue {
    type Error = serde_json::Error;

    fn decode(bytes: leptos::server_fn::Bytes) -> Result<T, Self::Error> {
        serde_json::from_slice::<Value>(&bytes).and_then(serde_json::from_value)
    }
}
