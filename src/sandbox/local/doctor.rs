//! Tells whether this host can isolate, by doing it, and what to change where it cannot.

use super::instance::LocalInstance;
use super::{Shared, blocking};
use crate::domain::SandboxId;
use crate::sandbox::SandboxError;
use crate::sandbox::provider::{Check, CheckState, Instance, ProcessConfig, ProcessEvent, SandboxSpec};
use std::sync::Arc;
use std::time::Instant;

/// Every check, the decisive one first.
pub async fn run(shared: Arc<Shared>) -> Vec<Check> {
    let mut checks = vec![isolation(&shared).await, limits(&shared)];
    let looking = Arc::clone(&shared);
    if let Ok(tools) = blocking(move || Ok(looking.toolchains().tools().to_vec())).await {
        for name in ["node", "npm", "python3", "git"] {
            let found = tools.iter().find(|tool| tool.name == name);
            checks.push(Check {
                name: name.to_owned(),
                state: if found.is_some() { CheckState::Ok } else { CheckState::Degraded },
                detail: found.map_or_else(
                    || "not found on the PATH; sandboxes have only what the host has".to_owned(),
                    |tool| format!("{} ({})", tool.version, tool.path.display()),
                ),
                fix: found.is_none().then(|| format!("install {name} and start again")),
            });
        }
    }
    checks
}

async fn isolation(shared: &Arc<Shared>) -> Check {
    let started = Instant::now();
    let result = try_one(shared).await;
    let name = "isolated sandbox".to_owned();
    match result {
        Ok(()) => Check {
            name,
            state: CheckState::Ok,
            detail: format!("built one and ran a command in it in {} ms", started.elapsed().as_millis()),
            fix: None,
        },
        Err(error) => Check { name, state: CheckState::Failed, detail: error.to_string(), fix: host_fix() },
    }
}

async fn try_one(shared: &Arc<Shared>) -> Result<(), SandboxError> {
    let id = SandboxId::parse(format!("idoctor{:013}", std::process::id()))
        .map_err(|error| SandboxError::Io(error.to_string()))?;
    let folder = shared.data_dir.join("doctor").join(id.as_str());
    let spec = SandboxSpec { id, workspace: folder.join("workspace"), env: Default::default() };
    let result = run_true(shared, spec).await;
    // Only what this check made itself.
    let _ = tokio::fs::remove_dir_all(&folder).await;
    let _ = tokio::fs::remove_dir(shared.data_dir.join("doctor")).await;
    result
}

async fn run_true(shared: &Arc<Shared>, spec: SandboxSpec) -> Result<(), SandboxError> {
    let instance = LocalInstance::start(Arc::clone(shared), spec).await?;
    let result = async {
        let mut process = instance.spawn(ProcessConfig { cmd: "true".to_owned(), ..Default::default() }).await?;
        while let Some(event) = process.events.recv().await {
            if let ProcessEvent::End(status) = event {
                return if status.code == Some(0) {
                    Ok(())
                } else {
                    Err(SandboxError::Io(format!("`true` ended with {status:?}")))
                };
            }
        }
        Err(SandboxError::Dead("it died while it ran `true`".to_owned()))
    }
    .await;
    instance.shutdown().await;
    result
}

fn limits(shared: &Shared) -> Check {
    let limits = shared.limits();
    let held = shared.cgroups.mechanism().is_some();
    let cpu = match limits.cpu_percent {
        0 => "a fair share of the CPU".to_owned(),
        percent => format!("{percent} % of a core"),
    };
    Check {
        name: "limits".to_owned(),
        state: if held { CheckState::Ok } else { CheckState::Degraded },
        detail: format!(
            "{} MiB memory, {cpu}, {} processes, {} MiB disk, {} files, {} open files a process, {} MiB output kept a \
             command; {}",
            limits.memory_mib,
            limits.processes,
            limits.disk_mib,
            limits.files,
            limits.open_files,
            limits.output_mib,
            limits.mechanism
        ),
        fix: (!held).then(|| {
            "for hard memory limits run the server as a systemd service with Delegate=yes: \
             systemd-run --user -p Delegate=yes sandcastle serve"
                .to_owned()
        }),
    }
}

/// What a refused step most likely means.
pub fn hint(step: &str, errno: i32) -> Option<String> {
    let namespaces = step.contains("namespaces") || step.contains("uid_map") || step.contains("gid_map");
    match errno {
        libc::EPERM | libc::EACCES if namespaces => host_fix(),
        libc::ENOSPC | libc::EUSERS if namespaces => {
            Some("the host's limit of user namespaces is used up: sysctl -w user.max_user_namespaces=15000".to_owned())
        }
        libc::EINVAL if namespaces => {
            Some("the kernel lacks a kind of namespace; Linux 5.14 or later is needed".to_owned())
        }
        libc::ENOSYS => {
            Some("the kernel is too old or a container hides this call; Linux 5.14 or later is needed".to_owned())
        }
        libc::EPERM if step.contains("/proc") => {
            Some("this container hides parts of /proc; run it with --security-opt systempaths=unconfined".to_owned())
        }
        libc::EPERM | libc::EACCES if step.contains("mount") || step.contains("open") || step.contains("root") => Some(
            "a container's profile forbids mounts; run it with --security-opt seccomp=unconfined \
             --security-opt apparmor=unconfined"
                .to_owned(),
        ),
        libc::EPROTO => Some("the init binary is of another version than the server; build both again".to_owned()),
        _ => None,
    }
}

/// The usual ways in which a host refuses user namespaces, in the order of how sure they are.
fn host_fix() -> Option<String> {
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).map(|text| text.trim().to_owned());
    if setting("kernel/apparmor_restrict_unprivileged_userns").is_ok_and(|value| value == "1") {
        return Some(
            "AppArmor restricts user namespaces (Ubuntu 24.04 and later). Allow them for the init binary only: put \
             `abi <abi/4.0>, profile sandcastle-init /**/sandcastle-init flags=(unconfined) { userns, }` into \
             /etc/apparmor.d/sandcastle-init and run `sudo apparmor_parser -r /etc/apparmor.d/sandcastle-init`"
                .to_owned(),
        );
    }
    if setting("kernel/unprivileged_userns_clone").is_ok_and(|value| value == "0") {
        return Some("user namespaces are off: sudo sysctl -w kernel.unprivileged_userns_clone=1".to_owned());
    }
    if setting("user/max_user_namespaces").is_ok_and(|value| value == "0") {
        return Some("user namespaces are off: sudo sysctl -w user.max_user_namespaces=15000".to_owned());
    }
    if std::path::Path::new("/.dockerenv").exists() || std::path::Path::new("/run/.containerenv").exists() {
        return Some(
            "this is a container whose profile forbids new namespaces; run it with --security-opt seccomp=unconfined \
             --security-opt apparmor=unconfined --security-opt systempaths=unconfined"
                .to_owned(),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_used_up_namespace_limit_names_its_setting() {
        assert!(hint("create namespaces", libc::ENOSPC).is_some_and(|text| text.contains("max_user_namespaces")));
        assert_eq!(hint("send", libc::EIO), None);
    }
}
