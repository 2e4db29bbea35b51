//! Watches a live sandbox: ports that open and close, files that commands change, and idleness.

use super::entry::{Entry, Live};
use super::provider::ListOptions;
use super::service::Inner;
use crate::domain::{EventBody, SandboxPhase};
use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Ports are read this often while something runs and was heard of lately.
const BUSY: Duration = Duration::from_millis(150);
/// And this often else.
const QUIET: Duration = Duration::from_secs(1);
/// "Lately".
const LATELY: Duration = Duration::from_secs(20);
/// Files are compared at most this often while commands run in the background.
const FILES_EVERY: Duration = Duration::from_secs(1);
/// Entries compared; beyond, changes deep in a large tree may go unseen until it is listed.
const FILES_MAX: usize = 3000;

/// Runs until the sandbox goes down or is put to sleep for being idle.
pub(super) async fn watch(inner: Arc<Inner>, entry: Arc<Entry>, live: Live) {
    let mut open: BTreeSet<u16> = BTreeSet::new();
    let closed = live.instance.closed();
    let mut notice = live.instance.notice();
    if notice.borrow().is_some() {
        // Known since before anybody watched.
        notice.mark_changed();
    }
    let mut files_due = Instant::now();
    let mut seen = (u64::MAX, 0);
    loop {
        report_ports(&inner, &entry, &live, &mut open).await;
        let now = (*entry.output.borrow(), entry.activity.mark());
        if now != seen && Instant::now() >= files_due && entry.running().1 > 0 {
            report_changed_files(&inner, &entry).await;
            files_due = Instant::now() + FILES_EVERY;
            seen = now;
        }
        if is_idle(&inner, &entry) {
            // Not from this task: going to sleep joins it.
            let (inner, entry) = (Arc::clone(&inner), Arc::clone(&entry));
            let owner = inner.tasks.clone();
            owner.spawn(async move {
                let why = format!("idle for {}", in_words(inner.config.idle_timeout));
                if let Err(error) = inner.down(&entry, &why).await {
                    tracing::warn!(project = %entry.project, %error, "falling asleep was not recorded");
                }
            });
            return;
        }
        let (foreground, background) = entry.running();
        let busy = foreground + background > 0 && entry.activity.idle_for() < LATELY;
        tokio::select! {
            () = live.stop.cancelled() => return,
            () = closed.cancelled() => return,
            () = entry.nudge.notified() => {}
            Ok(()) = notice.changed() => {
                let text = notice.borrow_and_update().clone();
                report_notice(&inner, &entry, text).await;
            }
            () = tokio::time::sleep(if busy { BUSY } else { QUIET.min(inner.config.idle_timeout) }) => {}
        }
    }
}

/// No command runs in the foreground, nobody looks, and nothing was started, read or sent for the configured time. A
/// background command does not count: a forgotten dev server is what sleep is for.
fn is_idle(inner: &Inner, entry: &Entry) -> bool {
    let watched = entry.output.receiver_count() > 0;
    let (foreground, _) = entry.running();
    if watched || foreground > 0 {
        entry.activity.touch();
    }
    entry.activity.idle_for() >= inner.config.idle_timeout
}

/// A live sandbox's detail is the limit it is at.
async fn report_notice(inner: &Inner, entry: &Entry, notice: Option<String>) {
    let sandbox = inner.view(entry, SandboxPhase::Running, notice);
    if let Err(error) = inner.emit(&entry.project, vec![EventBody::SandboxChanged { sandbox }]).await {
        tracing::warn!(project = %entry.project, %error, "a limit that was hit was not recorded");
    }
}

async fn report_ports(inner: &Inner, entry: &Entry, live: &Live, open: &mut BTreeSet<u16>) {
    let now: BTreeSet<u16> = match live.instance.open_ports().await {
        Ok(ports) => ports.into_iter().collect(),
        // The sandbox is going down; the phase's event clears the ports.
        Err(_) => return,
    };
    let closed = open.difference(&now).map(|port| EventBody::PortClosed { port: *port });
    let opened = now
        .difference(open)
        .map(|port| EventBody::PortOpened { port: *port, url: inner.preview.url(&entry.id, *port) });
    let bodies: Vec<EventBody> = closed.chain(opened).collect();
    if bodies.is_empty() {
        return;
    }
    match inner.emit(&entry.project, bodies).await {
        Ok(()) => *open = now,
        Err(error) => tracing::warn!(project = %entry.project, %error, "ports were not recorded"),
    }
}

/// Compares the workspace with what was last reported and says so if it changed.
pub(super) async fn report_changed_files(inner: &Inner, entry: &Entry) {
    let mut known = entry.fingerprint.lock().await;
    let Some(now) = fingerprint(entry).await else { return };
    if *known == Some(now) {
        return;
    }
    match inner.emit(&entry.project, vec![EventBody::FilesChanged]).await {
        Ok(()) => *known = Some(now),
        Err(error) => tracing::warn!(project = %entry.project, %error, "changed files were not recorded"),
    }
}

/// Paths, sizes and times of the workspace as one number.
async fn fingerprint(entry: &Entry) -> Option<u64> {
    let options = ListOptions { depth: 12, max_entries: FILES_MAX, skip: super::files::skipped() };
    let listing = entry.present_files().await.ok()?.list("", options).await.ok()?;
    let mut hasher = DefaultHasher::new();
    for entry in &listing.entries {
        // Programs keep what they like there; that it appears is no change of the app.
        if entry.path == ".cache" {
            continue;
        }
        (&entry.path, entry.size).hash(&mut hasher);
        // A directory's own time changes with its entries, and also with hidden temporary files.
        if entry.kind != crate::domain::FileKind::Directory {
            entry.modified_at.hash(&mut hasher);
        }
    }
    Some(hasher.finish())
}

fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds >= 120 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}
