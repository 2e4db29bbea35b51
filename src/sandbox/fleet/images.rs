//! Images: snapshots and templates, and what is made from them. An image is a workspace that nobody works in.

use super::journal::Level;
use super::record::{Image, ImageKind, Phase, Record};
use super::sandbox::Sandbox;
use super::{Fleet, FleetError, Inner, after, lock, now_ms};
use crate::domain::SandboxId;
use crate::store::{FleetTable, new_sandbox_id};
use std::sync::Arc;

/// The template that is always there: the host's tools and an empty home.
pub const BASE: &str = "base";

/// Snapshots a key may have.
pub const SNAPSHOTS_MAX: usize = 100;

/// What became of one copy.
pub type Made = Result<Record, FleetError>;

/// A snapshot that is being made.
struct Place {
    inner: Arc<Inner>,
    owner: String,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut coming = lock(&self.inner.coming);
        if let Some(at) = coming.iter().position(|owner| *owner == self.owner) {
            coming.swap_remove(at);
        }
    }
}

impl Fleet {
    /// Keeps a sandbox's files as they are now. A running one stands still meanwhile.
    pub async fn snapshot(&self, sandbox: &Arc<Sandbox>, name: Option<String>) -> Result<Image, FleetError> {
        let record = sandbox.record();
        let _place = self.place_for_snapshot(&record.owner)?;
        let image = Image {
            id: new_sandbox_id(),
            owner: record.owner,
            kind: ImageKind::Snapshot { of: record.id },
            names: name.into_iter().collect(),
            tags: vec!["default".to_owned()],
            created_at: now_ms(),
            envs: record.envs,
            workdir: record.workdir,
            start_command: record.start_command,
            ready_command: record.ready_command,
        };
        self.copy_still(sandbox, std::slice::from_ref(&image.id)).await?;
        self.keep_image(image.clone()).await?;
        sandbox.journal.add(Level::Info, "snapshot taken");
        Ok(image)
    }

    /// One more snapshot, if its owner may have it. The place is taken as long as the answer is held.
    fn place_for_snapshot(&self, owner: &str) -> Result<Place, FleetError> {
        let mut coming = lock(&self.inner.coming);
        let owned = lock(&self.inner.images);
        let owned =
            owned.values().filter(|image| image.owner == owner && matches!(image.kind, ImageKind::Snapshot { .. }));
        let taken = coming.iter().filter(|other| *other == owner).count();
        if owned.count() + taken >= SNAPSHOTS_MAX {
            return Err(FleetError::Snapshots(SNAPSHOTS_MAX));
        }
        coming.push(owner.to_owned());
        Ok(Place { inner: Arc::clone(&self.inner), owner: owner.to_owned() })
    }

    /// Makes sandboxes with a copy of this one's files, each with a life of its own.
    pub async fn fork(&self, sandbox: &Arc<Sandbox>, count: usize, timeout: u64) -> Result<Vec<Made>, FleetError> {
        let ids: Vec<SandboxId> = (0..count).map(|_| new_sandbox_id()).collect();
        self.copy_still(sandbox, &ids).await?;
        let mut made = Vec::new();
        for id in ids {
            let (original, now) = (sandbox.record(), now_ms());
            let record = Record {
                id,
                token: super::life::secret()?,
                traffic_token: original.traffic_token.as_ref().map(|_| super::life::secret()).transpose()?,
                created_at: now,
                started_at: now,
                ends_at: after(timeout),
                timeout,
                phase: Phase::Running,
                ..original
            };
            made.push(self.bring_in(record).await);
        }
        sandbox.journal.add(Level::Info, format!("forked {count} times"));
        Ok(made)
    }

    /// An owner's images, the newest first.
    pub fn images(&self, owner: &str) -> Vec<Image> {
        let mut found: Vec<Image> =
            lock(&self.inner.images).values().filter(|image| image.owner == owner).cloned().collect();
        found.sort_by(|a, b| b.created_at.cmp(&a.created_at).then_with(|| b.id.cmp(&a.id)));
        found
    }

    /// The image a caller names: by id or by a name of its own, with or without a tag. None for the base.
    pub fn image_for(&self, owner: &str, named: &str) -> Result<Option<Image>, FleetError> {
        let (name, tag) = named.split_once(':').unwrap_or((named, "default"));
        if name == BASE {
            return Ok(None);
        }
        let fits = |image: &Image| image.public_id().as_str() == name || image.names.iter().any(|own| own == name);
        let newest_first = self.images(owner);
        let tagged = newest_first.iter().find(|image| fits(image) && image.tags.iter().any(|own| own == tag));
        let shown = || FleetError::NoImage(named.chars().filter(|c| !c.is_control()).take(80).collect());
        tagged.cloned().map(Some).ok_or_else(shown)
    }

    /// Deletes a snapshot, or a template with all its builds. Sandboxes made from it have copies of their own.
    pub async fn delete_image(&self, owner: &str, named: &str) -> Result<(), FleetError> {
        if let Ok(template) = self.template(owner, named) {
            return self.delete_template(&template.id).await;
        }
        match self.image_for(owner, named)? {
            Some(Image { kind: ImageKind::Template { template, .. }, .. }) => self.delete_template(&template).await,
            Some(image) => self.remove_image(&image.id).await,
            None => Err(FleetError::Invalid("the base template belongs to the server".to_owned())),
        }
    }

    pub(super) async fn remove_image(&self, id: &SandboxId) -> Result<(), FleetError> {
        lock(&self.inner.images).remove(id);
        self.inner.store.fleet().delete(FleetTable::Images, id.as_str()).await?;
        self.inner.remove_files(id).await;
        Ok(())
    }

    /// Keeps an image whose files are in place.
    pub async fn keep_image(&self, image: Image) -> Result<(), FleetError> {
        let id = image.id.clone();
        let kept = self.put_image(image).await;
        if kept.is_err() {
            self.inner.remove_files(&id).await;
        }
        kept
    }

    /// Writes an image's record, new or changed.
    pub(super) async fn put_image(&self, image: Image) -> Result<(), FleetError> {
        let fleet = self.inner.store.fleet();
        fleet.put(FleetTable::Images, image.id.as_str(), &image.owner, image.created_at, &image).await?;
        lock(&self.inner.images).insert(image.id.clone(), image);
        Ok(())
    }

    /// Copies one workspace to a new one; what was begun is removed if it fails.
    pub(super) async fn copy(&self, from: &SandboxId, to: &SandboxId) -> Result<(), FleetError> {
        let spec = |id| self.inner.spec(id, Default::default());
        let copied = self.inner.provider.copy_workspace(&spec(from), &spec(to)).await;
        if copied.is_err() {
            self.inner.remove_files(to).await;
        }
        Ok(copied?)
    }

    /// The same several times, while the sandbox stands still.
    async fn copy_still(&self, sandbox: &Arc<Sandbox>, to: &[SandboxId]) -> Result<(), FleetError> {
        let _alone = sandbox.life.lock().await;
        if sandbox.gone().is_cancelled() {
            return Err(FleetError::NoSandbox(sandbox.id().to_string()));
        }
        let running = sandbox.live().filter(|live| !live.frozen());
        if let Some(live) = &running {
            live.instance.freeze(true).await?;
        }
        let mut copied = Ok(());
        for id in to {
            copied = self.copy(sandbox.id(), id).await;
            if copied.is_err() {
                break;
            }
        }
        if let Some(live) = &running {
            live.instance.freeze(false).await?;
        }
        copied
    }
}
