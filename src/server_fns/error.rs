//! How an `ApiError` crosses the wire of server functions, and what a failed call means to a person.

use super::codec::Answer;
use crate::domain::{ApiError, ErrorCode};
use leptos::prelude::{FromServerFnError, ServerFnErrorErr};

impl FromServerFnError for ApiError {
    type Encoder = Answer;

    fn from_server_fn_error(error: ServerFnErrorErr) -> Self {
        match error {
            ServerFnErrorErr::Request(_) => {
                Self::new(ErrorCode::Internal, "The server cannot be reached. Check that it runs, then try again.")
            }
            ServerFnErrorErr::Args(_) | ServerFnErrorErr::MissingArg(_) => {
                Self::invalid("The request was not understood. Reload the page: the server may be a newer version.")
            }
            ServerFnErrorErr::Deserialization(_) => {
                Self::internal("The answer was not understood. Reload the page: the server may be a newer version.")
            }
            other => Self::internal(other.to_string()),
        }
    }
}
