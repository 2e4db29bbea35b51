//! The remote provider: projects' sandboxes at an e2b service, over its control plane and the services of each sandbox.
//!
//! Owns being a client of that protocol. The shapes are those of e2b's SDKs, JSON only, HTTP/1.1. A project's files
//! are in its folder here as well ([`mirror`]), so that everything that reads them works while its sandbox is paused,
//! unreachable or gone, and a project may change its provider. It must not know projects, tasks or pages.

mod control;
mod doctor;
mod envd;
mod error;
mod event;
mod frame;
mod http;
mod index;
mod instance;
mod manifest;
mod mirror;
mod network;
mod ports;
mod process;
mod record;
mod shell;
mod template;
mod transfer;

use super::SandboxError;
use super::entry::lock;
use super::provider::{Check, CheckState, Files, HostTool, Instance, Network, Provider, SandboxSpec};
use crate::config::{E2bConfig, SandboxConfig};
use crate::domain::{Limits, SandboxId};
use async_trait::async_trait;
use control::Control;
use instance::RemoteInstance;
use mirror::Mirror;
use network::RemoteNetwork;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use template::Template;

/// A service that was found to work is not checked again for so long.
const HEALTHY: Duration = Duration::from_secs(300);

/// Makes sandboxes at an e2b service.
pub struct E2bProvider {
    shared: Arc<Shared>,
    mirrors: Mutex<HashMap<SandboxId, Arc<Mirror>>>,
    /// Bytes of a project's files that may be here.
    limit: u64,
    /// The last check that found nothing wrong.
    healthy: tokio::sync::Mutex<Option<(Instant, Vec<Check>)>>,
}

/// What every sandbox needs.
struct Shared {
    control: Arc<Control>,
    network: RemoteNetwork,
    template: Template,
}

impl E2bProvider {
    /// A provider at this service. Nothing is asked yet.
    pub fn new(config: E2bConfig, sandbox: &SandboxConfig, data_dir: &Path) -> Result<Self, SandboxError> {
        let template = Template::load(data_dir, &config);
        let control = Arc::new(Control::new(http::client()?, config));
        let network = RemoteNetwork::new(Arc::clone(&control));
        let shared = Arc::new(Shared { control, network, template });
        let (mirrors, healthy) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { shared, mirrors, limit: sandbox.disk_mib << 20, healthy })
    }

    fn mirror(&self, spec: &SandboxSpec) -> Arc<Mirror> {
        let mut mirrors = lock(&self.mirrors);
        let make = || Arc::new(Mirror::new(spec.workspace.clone(), record::index_path(spec), self.limit));
        Arc::clone(mirrors.entry(spec.id.clone()).or_insert_with(make))
    }
}

#[async_trait]
impl Provider for E2bProvider {
    fn name(&self) -> &'static str {
        "e2b"
    }

    fn limits(&self) -> Limits {
        self.shared.template.limits()
    }

    fn tools(&self) -> Vec<HostTool> {
        self.shared.template.tools()
    }

    async fn start(&self, spec: SandboxSpec) -> Result<Arc<dyn Instance>, SandboxError> {
        let mirror = self.mirror(&spec);
        Ok(Arc::new(RemoteInstance::start(Arc::clone(&self.shared), spec, mirror).await?))
    }

    fn files(&self, spec: &SandboxSpec) -> Arc<dyn Files> {
        self.mirror(spec)
    }

    async fn forget(&self, spec: &SandboxSpec) -> Result<(), SandboxError> {
        instance::delete(&self.shared, spec).await?;
        lock(&self.mirrors).remove(&spec.id);
        Ok(())
    }

    fn network(&self) -> Option<&dyn Network> {
        Some(&self.shared.network)
    }

    async fn doctor(&self) -> Vec<Check> {
        // A page shows this to whoever opens it, and each check is a machine that is made and paid for.
        let mut healthy = self.healthy.lock().await;
        if let Some((_, checks)) = healthy.as_ref().filter(|(at, _)| at.elapsed() < HEALTHY) {
            return checks.clone();
        }
        let checks = doctor::run(&self.shared).await;
        let fine = checks.iter().all(|check| check.state != CheckState::Failed);
        *healthy = fine.then(|| (Instant::now(), checks.clone()));
        checks
    }
}
