//! The release server, started over an empty data folder, ended when dropped.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::http::Client;
use crate::project::{Mode, Project};

/// Longer means that it does not start.
const START: Duration = Duration::from_secs(20);
/// Variables that would connect a real model or move the server.
const FOREIGN: [&str; 5] = ["AI_", "OPENAI_", "E2B_", "TRIGGER_", "SANDCASTLE_"];

/// A running server.
pub struct Server {
    child: Child,
    data: PathBuf,
    /// Where it listens.
    pub addr: SocketAddr,
    /// From the start of the process to its first answer.
    pub started_in: Duration,
}

impl Server {
    /// Starts one with the demo model and waits until it answers.
    pub fn start(project: &Project) -> Result<Self> {
        Self::start_with(project, None)
    }

    /// The same with a model that listens on this port of the machine.
    pub fn start_with(project: &Project, model: Option<u16>) -> Result<Self> {
        let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let data = project.work().join(format!("bench-{}", std::process::id()));
        fs::create_dir_all(&data).with_context(|| format!("cannot make {}", data.display()))?;
        let mut command = Command::new(project.server(Mode::Release));
        for (name, _) in std::env::vars_os() {
            if FOREIGN.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        command.current_dir(&data).env("SANDCASTLE_SITE_ROOT", project.site());
        command.args(["serve", "--addr", &addr.to_string(), "--data-dir"]).arg(&data);
        if let Some(port) = model {
            command.env("AI_GATEWAY_BASE_URL", format!("http://127.0.0.1:{port}/v1")).env("AI_MODEL", "fake");
        }
        let begun = Instant::now();
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("cannot start the server")?;
        let mut server = Self { child, data, addr, started_in: Duration::ZERO };
        while begun.elapsed() < START {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended at once ({status}); run {} serve", project.server(Mode::Release).display());
            }
            let answer = Client::connect(addr).and_then(|mut client| client.get("/healthz", "identity"));
            if answer.is_ok_and(|answer| answer.status == 200) {
                server.started_in = begun.elapsed();
                return Ok(server);
            }
            sleep(Duration::from_millis(2));
        }
        bail!("the server did not answer on {addr}")
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        line.trim().trim_end_matches(" kB").parse().context("VmRSS is not a number")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Politely, so that it puts its sandboxes away.
        let asked = Command::new("kill").arg(self.child.id().to_string()).status();
        let ended = asked.is_ok_and(|status| status.success()) && self.child.wait().is_ok();
        if !ended && self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
        let _ = fs::remove_dir_all(&self.data);
    }
}
