//! A project's network: the policy its sandbox is under, and its ledger as events.
//!
//! The counts of a destination are recorded when it is new and whenever they have doubled, so that a log grows with the
//! number of destinations and hardly with their traffic. What may pass is decided by the provider.

use super::SandboxError;
use super::entry::{Entry, Live};
use super::provider::Network;
use super::service::{Inner, Service};
use crate::domain::{EventBody, NetworkLine, NetworkPolicy, NetworkView, ProjectId, ProjectState, SandboxId};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// Changes are collected for so long before they are recorded.
const COLLECT: Duration = Duration::from_secs(1);

impl Service {
    /// What the project's sandbox may reach, and what it did reach, counted up to now.
    pub async fn network(&self, project: &ProjectId) -> Result<NetworkView, SandboxError> {
        let entry = self.inner.entry(project).await?;
        let NetworkView { policy, lines } = self.inner.state(project).await?.network.clone();
        let now = self.inner.provider.network().map(|network| network.ledger(&entry.id));
        Ok(NetworkView { policy, lines: now.unwrap_or(lines) })
    }

    /// Sets what the project's sandbox may reach, at once and for good.
    pub async fn set_network_policy(&self, project: &ProjectId, policy: NetworkPolicy) -> Result<(), SandboxError> {
        self.change_network_policy(project, |_| policy).await
    }

    /// Makes of what the project's sandbox may reach something else. Changes come one after the other, so that none
    /// undoes another.
    pub async fn change_network_policy(
        &self,
        project: &ProjectId,
        change: impl FnOnce(NetworkPolicy) -> NetworkPolicy,
    ) -> Result<(), SandboxError> {
        let entry = self.inner.entry(project).await?;
        let network = self.inner.decides_network()?;
        let _alone = entry.policy.lock().await;
        let before = self.inner.state(project).await?.network.policy.clone();
        let policy = change(before.clone());
        network.set_policy(&entry.id, &policy).await?;
        let recorded = self.inner.emit(project, vec![EventBody::NetworkPolicyChanged { policy }]).await;
        if recorded.is_err() {
            // What is not recorded must not hold either: a restart would silently undo it.
            network.set_policy(&entry.id, &before).await?;
        }
        recorded
    }

    /// Allows one more destination: a name, an address, or either with a port.
    pub async fn allow_destination(&self, project: &ProjectId, target: &str) -> Result<(), SandboxError> {
        self.change_network_policy(project, |policy| policy.allowing(target)).await
    }
}

impl Inner {
    fn decides_network(&self) -> Result<&dyn Network, SandboxError> {
        self.provider.network().ok_or_else(|| {
            SandboxError::Invalid("this kind of sandbox has a network of its own, which is not set here".to_owned())
        })
    }

    /// Tells the provider about a sandbox that an earlier server knew.
    pub(super) fn take_up_network(&self, id: &SandboxId, state: &ProjectState) -> Result<(), SandboxError> {
        let Some(network) = self.provider.network() else { return Ok(()) };
        network.restore(id, &state.network.policy, &state.network.lines)
    }
}

/// Records a live sandbox's destinations until it goes down, and what has changed by then.
pub(super) async fn report(inner: Arc<Inner>, entry: Arc<Entry>, live: Live) {
    let Some(network) = inner.provider.network() else { return };
    let mut reported = Reported::new(&network.ledger(&entry.id));
    let mut changed = network.changed(&entry.id);
    let closed = live.instance.closed();
    loop {
        let goes_on = tokio::select! {
            () = live.stop.cancelled() => false,
            () = closed.cancelled() => false,
            next = async { changed.changed().await.is_ok() && { tokio::time::sleep(COLLECT).await; true } } => next,
        };
        changed.mark_unchanged();
        let lines = reported.news(network.ledger(&entry.id), !goes_on);
        if !lines.is_empty()
            && let Err(error) = inner.emit(&entry.project, vec![EventBody::NetworkUsed { lines }]).await
        {
            tracing::warn!(project = %entry.project, %error, "the network's use was not recorded");
        }
        if !goes_on {
            return;
        }
    }
}

/// What was recorded of each destination last.
struct Reported(HashMap<(String, u16, bool), NetworkLine>);

impl Reported {
    fn new(lines: &[NetworkLine]) -> Self {
        Self(lines.iter().map(|line| (key(line), line.clone())).collect())
    }

    /// Lines worth recording; at the end all that have changed.
    fn news(&mut self, mut lines: Vec<NetworkLine>, all: bool) -> Vec<NetworkLine> {
        lines.retain(|line| match self.0.get(&key(line)) {
            None => true,
            Some(known) if all => known != line,
            Some(known) => {
                let doubled = |now: u64, then: u64| now > then && now >= then.saturating_mul(2);
                doubled(line.connections, known.connections)
                    || doubled(line.sent + line.received, known.sent + known.received)
                    || (line.program != known.program && known.program.is_empty())
                    || line.why != known.why
            }
        });
        self.0.extend(lines.iter().map(|line| (key(line), line.clone())));
        lines
    }
}

fn key(line: &NetworkLine) -> (String, u16, bool) {
    (line.target.clone(), line.port, line.allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(connections: u64, received: u64) -> NetworkLine {
        NetworkLine { target: "a.example".to_owned(), connections, received, ..NetworkLine::default() }
    }

    #[test]
    fn a_destination_is_recorded_when_new_and_when_its_counts_have_doubled() {
        let mut reported = Reported::new(&[]);
        let recorded: Vec<u64> =
            (1..=1000).filter(|n| !reported.news(vec![line(*n, *n * 10)], false).is_empty()).collect();
        assert_eq!(recorded, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert!(reported.news(vec![line(1000, 10_000)], false).is_empty());
        assert_eq!(reported.news(vec![line(1000, 10_000)], true), [line(1000, 10_000)]);
        assert!(reported.news(vec![line(1000, 10_000)], true).is_empty());
    }
}
