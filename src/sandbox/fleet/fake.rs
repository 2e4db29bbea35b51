//! Sandboxes that are nothing but alive, for tests of what the fleet does around them.

use crate::domain::{Limits, SandboxId};
use crate::sandbox::SandboxError;
use crate::sandbox::provider::*;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// A provider whose sandboxes start once there is a permit for each.
pub(super) struct Starting(pub(super) Arc<Semaphore>);

#[async_trait]
impl Provider for Starting {
    fn name(&self) -> &'static str {
        "fake"
    }
    fn limits(&self) -> Limits {
        Limits::default()
    }
    fn tools(&self) -> Vec<HostTool> {
        Vec::new()
    }
    async fn start(&self, spec: SandboxSpec) -> Result<Arc<dyn Instance>, SandboxError> {
        self.0.acquire().await.map_err(|_| SandboxError::Cancelled)?.forget();
        Ok(Arc::new(Alive { id: spec.id, closed: CancellationToken::new() }))
    }
    fn files(&self, _: &SandboxSpec) -> Arc<dyn Files> {
        unreachable!()
    }
    async fn doctor(&self) -> Vec<Check> {
        Vec::new()
    }
}

struct Alive {
    id: SandboxId,
    closed: CancellationToken,
}

#[async_trait]
impl Instance for Alive {
    fn id(&self) -> &SandboxId {
        &self.id
    }
    async fn spawn(&self, _: ProcessConfig) -> Result<Process, SandboxError> {
        Err(SandboxError::Cancelled)
    }
    async fn signal(&self, _: u32, _: Signal) -> Result<(), SandboxError> {
        Ok(())
    }
    async fn open_ports(&self) -> Result<Vec<u16>, SandboxError> {
        Ok(Vec::new())
    }
    async fn connect(&self, port: u16) -> Result<Box<dyn Connection>, SandboxError> {
        Err(SandboxError::PortClosed(port))
    }
    async fn usage(&self) -> Result<SandboxUsage, SandboxError> {
        Ok(SandboxUsage::default())
    }
    async fn tree(&self) -> Result<Arc<dyn Tree>, SandboxError> {
        Ok(Arc::new(Untouched))
    }
    fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
    fn death(&self) -> Option<String> {
        None
    }
    async fn shutdown(&self) {
        self.closed.cancel();
    }
}

/// Files that no test here looks at.
struct Untouched;

#[async_trait]
impl Tree for Untouched {
    async fn room(&self) -> io::Result<u64> {
        unreachable!()
    }
    async fn stat(&self, _: &str) -> io::Result<TreeEntry> {
        unreachable!()
    }
    async fn list(&self, _: &str, _: u32) -> io::Result<Vec<TreeEntry>> {
        unreachable!()
    }
    async fn make_dir(&self, _: &str) -> io::Result<()> {
        unreachable!()
    }
    async fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        unreachable!()
    }
    async fn remove(&self, _: &str) -> io::Result<()> {
        unreachable!()
    }
    async fn open(&self, _: &str) -> io::Result<File> {
        unreachable!()
    }
    async fn create(&self, _: &str) -> io::Result<File> {
        unreachable!()
    }
    async fn set_metadata(&self, _: &str, _: BTreeMap<String, String>) -> io::Result<()> {
        unreachable!()
    }
    async fn watch(&self, _: &str, _: bool) -> io::Result<mpsc::Receiver<TreeEvent>> {
        unreachable!()
    }
    async fn space(&self) -> io::Result<(u64, u64)> {
        unreachable!()
    }
}
