//! How the embedded provider hands over the sockets of a new sandbox.

use super::Egress;
use crate::domain::SandboxId;
use crate::sandbox::local::{EgressHook, EgressSockets};
use crate::sandbox::provider::Network;
use tokio_util::sync::CancellationToken;

impl EgressHook for Egress {
    fn attach(&self, id: &SandboxId, sockets: EgressSockets, closed: CancellationToken) {
        if let Err(error) = self.serve(id, sockets, closed) {
            tracing::error!(sandbox = %id, %error, "the sandbox has no way out");
        }
    }

    fn network(&self) -> Option<&dyn Network> {
        Some(self)
    }
}
