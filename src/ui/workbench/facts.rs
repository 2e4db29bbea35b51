//! What the sandbox may use, in a popover of the project's state.

use super::Workbench;
use crate::domain::{Change, SandboxView};
use crate::ui::kit::{live, memo};
use leptos::prelude::*;

/// Id of the popover, for the button that opens it.
pub const ID: &str = "sandbox-facts";

/// The popover.
#[component]
pub fn Facts() -> impl IntoView {
    let store = Workbench::here().store;
    let sandbox = memo(move || store.read(Change::Sandbox, |state| state.sandbox.clone()));
    let rows = move || {
        let rows = sandbox.with(|sandbox| sandbox.as_ref().map(facts)).unwrap_or_default();
        rows.into_iter().map(|(name, value)| view! { <dt>{name}</dt><dd>{value}</dd> }).collect_view()
    };
    let said = move || {
        sandbox.with(|sandbox| match sandbox {
            Some(sandbox) => sandbox.detail.clone().unwrap_or_else(|| "What the sandbox may use:".to_owned()),
            None => "No sandbox yet. It is made when the agent needs one.".to_owned(),
        })
    };
    view! {
        <div class="sandbox-facts" id=ID popover="auto">
            <p>{live::text(said)}</p>
            <dl class="facts">{live::view(rows)}</dl>
        </div>
    }
    .into_any()
}

/// Limits in words. A remote sandbox tells none.
fn facts(sandbox: &SandboxView) -> Vec<(&'static str, String)> {
    let limits = &sandbox.limits;
    let mut rows = Vec::new();
    let mut row = |name, value: u64, words: String| {
        if value > 0 {
            rows.push((name, words));
        }
    };
    row("Memory", limits.memory_mib, format!("{} MiB", limits.memory_mib));
    // A share of the cores is no limit, but where limits are told it is one more of them.
    let told = limits.memory_mib.max(limits.processes).max(limits.cpu_percent);
    let cpu = match limits.cpu_percent {
        0 => "a fair share of all cores".to_owned(),
        percent => format!("{percent} % of a core"),
    };
    row("CPU", told, cpu);
    row("Processes", limits.processes, limits.processes.to_string());
    row("Disk", limits.disk_mib, format!("{} MiB in {} files", limits.disk_mib, limits.files));
    row("Open files", limits.open_files, format!("{} a process", limits.open_files));
    row("Output kept", limits.output_mib, format!("{} MiB a command", limits.output_mib));
    if !limits.mechanism.is_empty() {
        rows.push(("Limited by", limits.mechanism.clone()));
    }
    rows
}
