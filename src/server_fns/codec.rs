//! JSON for server functions: arguments as serde reads them, answers by value as [`crate::domain::json`] does.
//!
//! Arguments are read on the server only, answers in the browser only, where serde's readers would weigh too much. It
//! must not know any type of the domain.

use crate::domain::json::{self, FromJson, Unread};
use leptos::server_fn::codec::Post;
use leptos::server_fn::{Bytes, ContentType, Decodes, Encodes, Format, FormatType};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// JSON of arguments.
pub struct Arguments;

/// JSON of answers.
pub struct Answer;

/// A server function's `input`.
pub type PostArguments = Post<Arguments>;

/// A server function's `output`.
pub type PostAnswer = Post<Answer>;

macro_rules! json {
    ($name:ident) => {
        impl ContentType for $name {
            const CONTENT_TYPE: &'static str = "application/json";
        }

        impl FormatType for $name {
            const FORMAT_TYPE: Format = Format::Text;
        }

        impl<T: Serialize> Encodes<T> for $name {
            type Error = serde_json::Error;

            fn encode(output: &T) -> Result<Bytes, Self::Error> {
                serde_json::to_vec(output).map(Into::into)
            }
        }
    };
}

json!(Arguments);
json!(Answer);

impl<T: DeserializeOwned> Decodes<T> for Arguments {
    type Error = serde_json::Error;

    fn decode(bytes: Bytes) -> Result<T, Self::Error> {
        serde_json::from_slice(&bytes)
    }
}

impl<T: FromJson> Decodes<T> for Answer {
    type Error = Unread;

    fn decode(bytes: Bytes) -> Result<T, Self::Error> {
        json::read(&bytes)
    }
}
