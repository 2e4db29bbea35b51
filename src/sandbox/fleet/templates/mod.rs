//! Templates: images built from steps, under names and tags.
//!
//! A template is the builds that share its id; each build is an image with its own files, and a tag names the one build
//! of its template that bears it. Owns builds from the request to the kept image. What a step does is in `build`.

mod build;
mod layers;
mod recipe;
mod steps;

pub use build::{Build, Entry, Reason, Status};
pub use layers::Share;
pub use recipe::{Base, Recipe, Step};

use super::record::{Image, ImageKind};
use super::{Fleet, FleetError, lock, now_ms};
use crate::domain::SandboxId;
use crate::store::new_sandbox_id;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};
use tokio::sync::Semaphore;

/// The tag that a name without one means.
pub const DEFAULT_TAG: &str = "default";
/// Builds that run at the same time; the others wait.
const AT_ONCE: usize = 2;
/// Builds remembered, asked for, running and ended.
const REMEMBERED: usize = 200;
/// One that was asked for and not started is given up after this time, in milliseconds.
const ABANDONED: u64 = 3_600_000;

/// Builds that this process knows.
pub(super) struct Builds {
    known: Mutex<HashMap<String, Arc<Build>>>,
    slots: Semaphore,
    /// For archives that come now, by template.
    rooms: Mutex<HashMap<SandboxId, Weak<layers::Room>>>,
}

impl Default for Builds {
    fn default() -> Self {
        Self { known: Mutex::default(), slots: Semaphore::new(AT_ONCE), rooms: Mutex::default() }
    }
}

/// A template with its builds, the newest first.
pub struct Template {
    /// Its id.
    pub id: SandboxId,
    /// At least one.
    pub builds: Vec<Image>,
}

impl Fleet {
    /// Begins a build under a name. Nothing runs before [`Fleet::start_build`], so that files can come first.
    pub fn request_build(&self, owner: &str, name: &str, tags: Vec<String>) -> Result<Arc<Build>, FleetError> {
        let (name, tags) = checked(name, tags)?;
        let of_that_name = self.images(owner).into_iter().find(|image| image.names.contains(&name));
        let template = match of_that_name.map(|image| image.kind) {
            Some(ImageKind::Template { template, .. }) => template,
            Some(ImageKind::Snapshot { .. }) => {
                return Err(FleetError::Conflict(format!("the name {name} belongs to a snapshot")));
            }
            // One that was never built yet may be under way.
            None => self.under_way(|build| build.owner == owner && build.name == name).unwrap_or_else(new_sandbox_id),
        };
        let build = Arc::new(Build::new(owner, template, name, tags)?);
        let mut known = lock(&self.inner.builds.known);
        if known.len() >= REMEMBERED {
            let old = now_ms().saturating_sub(ABANDONED);
            let done = known.values().filter(|build| build.ended() || (build.waits() && build.created_at < old));
            let Some(oldest) = done.min_by_key(|build| build.created_at).map(|build| build.id.clone()) else {
                return Err(FleetError::Conflict(format!("{REMEMBERED} template builds are under way; wait for one")));
            };
            known.remove(&oldest);
        }
        known.insert(build.id.clone(), Arc::clone(&build));
        Ok(build)
    }

    /// The template of a build that has not ended.
    pub(super) fn under_way(&self, fits: impl Fn(&Build) -> bool) -> Option<SandboxId> {
        let known = lock(&self.inner.builds.known);
        known.values().find(|build| !build.ended() && fits(build)).map(|build| build.template.clone())
    }

    /// A build of this owner that this process knows.
    pub fn build(&self, owner: &str, template: &str, id: &str) -> Result<Arc<Build>, FleetError> {
        let found = lock(&self.inner.builds.known).get(id).cloned();
        found
            .filter(|build| build.owner == owner && build.template.as_str() == template)
            .ok_or_else(|| FleetError::NoBuild(id.chars().filter(|c| !c.is_control()).take(80).collect()))
    }

    /// Starts a build that was asked for; it goes on by itself.
    pub fn start_build(&self, build: &Arc<Build>, recipe: Recipe) -> Result<(), FleetError> {
        if self.inner.closing.is_cancelled() {
            return Err(FleetError::Closing);
        }
        if !build.begin() {
            return Err(FleetError::Conflict(format!("the build {} was started before", build.id)));
        }
        let (fleet, build) = (self.clone(), Arc::clone(build));
        self.inner.tasks.spawn(async move {
            let Ok(_slot) = fleet.inner.builds.slots.acquire().await else { return };
            fleet.run_build(&build, recipe).await;
        });
        Ok(())
    }

    /// Keeps what a build made; its tags leave the builds that bore them.
    pub(super) async fn keep_build(&self, image: Image) -> Result<(), FleetError> {
        let (id, tags) = (image.id.clone(), image.tags.clone());
        self.keep_image(image).await?;
        self.take_tags(&id, &tags).await
    }

    /// An owner's templates, the most lately built first.
    pub fn templates(&self, owner: &str) -> Vec<Template> {
        let mut found: Vec<Template> = Vec::new();
        for image in self.images(owner) {
            let ImageKind::Template { template, .. } = &image.kind else { continue };
            match found.iter_mut().find(|known| known.id == *template) {
                Some(known) => known.builds.push(image),
                None => found.push(Template { id: template.clone(), builds: vec![image] }),
            }
        }
        found
    }

    /// A template by its id or name, whatever its tags.
    pub fn template(&self, owner: &str, named: &str) -> Result<Template, FleetError> {
        let fits = |template: &Template| {
            template.id.as_str() == named || template.builds.iter().any(|image| image.names.iter().any(|n| n == named))
        };
        let shown = || FleetError::NoImage(named.chars().filter(|c| !c.is_control()).take(80).collect());
        self.templates(owner).into_iter().find(fits).ok_or_else(shown)
    }

    /// Gives tags to the build that `target` (`name:tag`) names, taking them from its siblings.
    pub async fn tag(&self, owner: &str, target: &str, tags: Vec<String>) -> Result<Image, FleetError> {
        let (_, tags) = checked("tagged", tags)?;
        let mut image = self.template_image(owner, target)?;
        image.tags.retain(|tag| !tags.contains(tag));
        image.tags.extend(tags.iter().cloned());
        self.put_image(image.clone()).await?;
        self.take_tags(&image.id, &tags).await?;
        Ok(image)
    }

    /// Takes tags away. A build without any could not be reached any more, so a template's last one stays.
    pub async fn untag(&self, owner: &str, name: &str, tags: &[String]) -> Result<(), FleetError> {
        let template = self.template(owner, name)?;
        let left = template.builds.iter().flat_map(|image| &image.tags).any(|tag| !tags.contains(tag));
        if !left {
            let message = format!("these are the last tags of {name}; delete the template instead");
            return Err(FleetError::Invalid(message));
        }
        for image in template.builds {
            self.without_tags(image, tags).await?;
        }
        Ok(())
    }

    /// The image of a template; snapshots have no tags.
    fn template_image(&self, owner: &str, named: &str) -> Result<Image, FleetError> {
        match self.image_for(owner, named)? {
            Some(image) if matches!(image.kind, ImageKind::Template { .. }) => Ok(image),
            Some(_) => Err(FleetError::Invalid("a snapshot has no tags".to_owned())),
            None => Err(FleetError::Invalid("the base template belongs to the server".to_owned())),
        }
    }

    async fn take_tags(&self, to: &SandboxId, tags: &[String]) -> Result<(), FleetError> {
        let images: Vec<Image> = lock(&self.inner.images).values().cloned().collect();
        let Some(bearer) = images.iter().find(|image| image.id == *to) else { return Ok(()) };
        let ImageKind::Template { template, .. } = &bearer.kind else { return Ok(()) };
        let sibling = |image: &&Image| {
            image.id != *to && matches!(&image.kind, ImageKind::Template { template: its, .. } if its == template)
        };
        for image in images.iter().filter(sibling) {
            self.without_tags(image.clone(), tags).await?;
        }
        Ok(())
    }

    /// An image that loses its last tag is superseded and goes.
    async fn without_tags(&self, mut image: Image, tags: &[String]) -> Result<(), FleetError> {
        let before = image.tags.len();
        image.tags.retain(|tag| !tags.contains(tag));
        match image.tags.len() {
            0 => self.remove_image(&image.id).await,
            after if after == before => Ok(()),
            _ => self.put_image(image).await,
        }
    }

    /// Deletes a template with all its builds, those under way included.
    pub(super) async fn delete_template(&self, template: &SandboxId) -> Result<(), FleetError> {
        for build in lock(&self.inner.builds.known).values().filter(|build| build.template == *template) {
            build.cancel.cancel();
        }
        let images: Vec<Image> = lock(&self.inner.images).values().cloned().collect();
        for image in images {
            if matches!(&image.kind, ImageKind::Template { template: its, .. } if its == template) {
                self.remove_image(&image.id).await?;
            }
        }
        self.inner.remove_files(template).await;
        Ok(())
    }

    /// Whose builds are known.
    pub(super) fn builders(&self) -> Vec<String> {
        lock(&self.inner.builds.known).values().map(|build| build.owner.clone()).collect()
    }

    /// Ends and forgets the builds of a key that is gone.
    pub(super) fn cancel_builds(&self, owner: &str) {
        lock(&self.inner.builds.known).retain(|_, build| {
            if build.owner == owner {
                build.cancel.cancel();
            }
            build.owner != owner
        });
    }
}

/// A name and its tags: `name:tag` brings one tag more, and no tag means the default one.
fn checked(name: &str, mut tags: Vec<String>) -> Result<(String, Vec<String>), FleetError> {
    let (name, tag) = name.split_once(':').map_or((name, None), |(name, tag)| (name, Some(tag)));
    let name = name.trim().to_ascii_lowercase();
    let fits = |text: &str, more: &[u8]| {
        (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    if !fits(&name, b"-_/") {
        return Err(FleetError::Invalid("a template's name has 1 to 128 characters of a-z, 0-9, - and _".to_owned()));
    }
    if name == super::images::BASE {
        return Err(FleetError::Invalid("the name base belongs to the server's own template".to_owned()));
    }
    tags.extend(tag.map(str::to_owned));
    if tags.is_empty() {
        tags.push(DEFAULT_TAG.to_owned());
    }
    if tags.iter().any(|tag| !fits(tag, b"-_.")) {
        return Err(FleetError::Invalid("a tag has 1 to 128 characters of a-z, 0-9, -, _ and .".to_owned()));
    }
    tags.sort();
    tags.dedup();
    Ok((name, tags))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_brings_its_tag_and_nothing_that_could_be_a_path() {
        let read = |name: &str, tags: &[&str]| checked(name, tags.iter().map(|tag| (*tag).to_owned()).collect());
        assert_eq!(read("Tools", &[]).unwrap(), ("tools".to_owned(), vec!["default".to_owned()]));
        assert_eq!(read("a:v1", &["b", "v1"]).unwrap(), ("a".to_owned(), vec!["b".to_owned(), "v1".to_owned()]));
        for (name, tag) in [("", "a"), ("base", "a"), ("../x", "a"), ("a b", "a"), ("a", "b/c"), ("a:", "b"), ("a", "")]
        {
            assert!(read(name, &[tag]).is_err(), "{name:?} {tag:?}");
        }
    }
}
