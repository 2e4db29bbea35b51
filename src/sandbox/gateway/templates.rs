//! The control plane's templates: asked for, fed with files, built, told about, tagged, deleted.

use super::answer::{empty, fleet_error, json};
use super::control::{Call, unescape, with_next};
use super::list::page;
use super::shapes::{ENVD_VERSION, Refused, bad};
use super::{Answer, access};
use crate::domain::rfc3339;
use crate::sandbox::fleet::{Base, Entry, Image, ImageKind, Recipe, Status, Step, Template};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Lines of a log in one answer, as the SDKs expect.
const LINES: usize = 100;
const STEPS_MAX: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NewBuild {
    name: Option<String>,
    alias: Option<String>,
    tags: Option<Vec<String>>,
    cpu_count: Option<u64>,
    #[serde(rename = "memoryMB")]
    memory_mb: Option<u64>,
    min_free_disk_mb: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Start {
    from_image: Option<String>,
    from_template: Option<String>,
    from_image_registry: Option<Value>,
    steps: Option<Vec<StepMessage>>,
    start_cmd: Option<String>,
    ready_cmd: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StepMessage {
    #[serde(rename = "type")]
    kind: String,
    args: Vec<String>,
    files_hash: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tags {
    target: String,
    name: String,
    tags: Vec<String>,
}

impl Call<'_> {
    /// The routes below `templates`, whatever version they are of.
    pub(super) async fn templates(&self, method: &Method, parts: &[&str]) -> Option<Result<Answer, Refused>> {
        let (get, post, delete) = (method == Method::GET, method == Method::POST, method == Method::DELETE);
        Some(match parts {
            ["v3", "templates"] if post => self.request_build(),
            ["v2", "templates", id, "builds", build] if post => self.start_build(id, build),
            ["templates", id, "files", digest] if get => self.layer(id, digest),
            ["templates", id, "builds", build, "status"] if get => self.build_status(id, build),
            ["templates", id, "builds", build, "logs"] if get => self.build_logs(id, build),
            ["templates", "aliases", alias] if get => self.alias(alias),
            ["templates", "tags"] if post => self.tag().await,
            ["templates", "tags"] if delete => self.untag().await,
            ["templates", id, "tags"] if get => self.tags(id),
            ["templates"] | ["v2", "templates"] if get => self.list_templates(),
            ["templates", id] if get => self.show_template(id),
            ["templates", id] if delete => {
                let deleted = self.gateway.fleet.delete_image(&self.owner, &unescape(id)).await;
                deleted.map(|()| empty(StatusCode::NO_CONTENT)).map_err(|failed| fleet_error(&failed))
            }
            _ => return None,
        })
    }

    fn request_build(&self) -> Result<Answer, Refused> {
        let asked: NewBuild = self.read()?;
        let (memory, disk) = self.gateway.fleet.size();
        let sizes = [
            ("memoryMB", asked.memory_mb, memory, "SANDCASTLE_MEMORY_MIB"),
            ("minFreeDiskMb", asked.min_free_disk_mb, disk, "SANDCASTLE_DISK_MIB"),
            ("cpuCount", asked.cpu_count, cpus(), "the number of processors"),
        ];
        for (field, asked, there, setting) in sizes {
            if asked.is_some_and(|asked| asked > there) {
                return Err(bad(format!("{field}: every sandbox of this server has {there}, set by {setting}")));
            }
        }
        let name = asked.name.or(asked.alias).ok_or_else(|| bad("name is missing"))?;
        let build = self.gateway.fleet.request_build(&self.owner, &name, asked.tags.unwrap_or_default());
        let build = build.map_err(|failed| fleet_error(&failed))?;
        let value = json!({
            "templateID": build.template, "buildID": build.id, "public": false,
            "names": [build.name], "aliases": [build.name], "tags": build.tags,
        });
        Ok(json(StatusCode::ACCEPTED, &value))
    }

    fn start_build(&self, template: &str, build: &str) -> Result<Answer, Refused> {
        let fleet = &self.gateway.fleet;
        let build = fleet.build(&self.owner, template, build).map_err(|failed| fleet_error(&failed))?;
        let recipe = self.read::<Start>()?.check()?;
        fleet.start_build(&build, recipe).map_err(|failed| fleet_error(&failed))?;
        Ok(empty(StatusCode::ACCEPTED))
    }

    fn layer(&self, template: &str, digest: &str) -> Result<Answer, Refused> {
        let fleet = &self.gateway.fleet;
        let build = fleet.awaiting_layers(&self.owner, template).map_err(|failed| fleet_error(&failed))?;
        let path = fleet.layer(&build.template, digest).map_err(|failed| fleet_error(&failed))?;
        let url = format!("{}/templates/{template}/files/{digest}?token={}", self.origin, build.upload_token);
        Ok(json(StatusCode::CREATED, &json!({ "present": path.is_file(), "url": url })))
    }

    fn build_status(&self, template: &str, id: &str) -> Result<Answer, Refused> {
        let offset = self.query.get("logsOffset").map_or(Ok(0), |text| text.parse::<usize>());
        let offset = offset.map_err(|_| bad("logsOffset is not a number"))?;
        let (status, reason, log) = match self.gateway.fleet.build(&self.owner, template, id) {
            Ok(build) => {
                // The status first: what is in the log of an ended build is all of it.
                let (status, reason) = build.status();
                (status, reason, build.log(offset, LINES))
            }
            // Built before the server started last: its log is gone.
            Err(_) if self.has_build(template, id) => (Status::Ready, None, Vec::new()),
            Err(failed) => return Err(fleet_error(&failed)),
        };
        let mut value = json!({
            "templateID": template, "buildID": id, "status": status_name(status),
            "logEntries": log.iter().map(entry).collect::<Vec<_>>(), "logs": [],
        });
        if let Some(reason) = reason {
            value["reason"] = json!({ "message": reason.message, "step": reason.step, "logEntries": [] });
        }
        Ok(json(StatusCode::OK, &value))
    }

    fn build_logs(&self, template: &str, id: &str) -> Result<Answer, Refused> {
        let build = self.gateway.fleet.build(&self.owner, template, id).map_err(|failed| fleet_error(&failed))?;
        let lines: Vec<Value> = build.log(0, usize::MAX).iter().map(entry).collect();
        Ok(json(StatusCode::OK, &json!({ "logs": lines })))
    }

    fn has_build(&self, template: &str, id: &str) -> bool {
        let found = self.gateway.fleet.template(&self.owner, template);
        found.is_ok_and(|template| template.builds.iter().any(|image| build_id(image) == id))
    }

    fn alias(&self, alias: &str) -> Result<Answer, Refused> {
        let alias = unescape(alias);
        let fleet = &self.gateway.fleet;
        // A template exists whatever its tags are.
        let id = match (fleet.template(&self.owner, &alias), fleet.image_for(&self.owner, &alias)) {
            (Ok(template), _) => template.id.to_string(),
            (_, Ok(Some(image))) => image.public_id().to_string(),
            (_, Ok(None)) => "base".to_owned(),
            (_, Err(failed)) => return Err(fleet_error(&failed)),
        };
        Ok(json(StatusCode::OK, &json!({ "templateID": id, "public": id == "base" })))
    }

    async fn tag(&self) -> Result<Answer, Refused> {
        let Tags { target, tags, .. } = self.read()?;
        if tags.is_empty() {
            return Err(bad("tags is empty"));
        }
        let image = self.gateway.fleet.tag(&self.owner, &target, tags).await.map_err(|failed| fleet_error(&failed))?;
        Ok(json(StatusCode::CREATED, &json!({ "tags": image.tags, "buildID": build_id(&image) })))
    }

    async fn untag(&self) -> Result<Answer, Refused> {
        let Tags { name, tags, .. } = self.read()?;
        let untagged = self.gateway.fleet.untag(&self.owner, &name, &tags).await;
        untagged.map(|()| empty(StatusCode::NO_CONTENT)).map_err(|failed| fleet_error(&failed))
    }

    fn tags(&self, named: &str) -> Result<Answer, Refused> {
        let tags: Vec<Value> = self
            .find_template(named)?
            .builds
            .iter()
            .flat_map(|image| {
                let (build, at) = (build_id(image), rfc3339(image.created_at));
                image.tags.iter().map(move |tag| json!({ "tag": tag, "buildID": build, "createdAt": at }))
            })
            .collect();
        Ok(json(StatusCode::OK, &tags.into()))
    }

    fn find_template(&self, named: &str) -> Result<Template, Refused> {
        self.gateway.fleet.template(&self.owner, &unescape(named)).map_err(|failed| fleet_error(&failed))
    }

    fn list_templates(&self) -> Result<Answer, Refused> {
        let all = self.gateway.fleet.templates(&self.owner);
        let key = |template: &Template| {
            (template.builds.first().map_or(0, |image| image.created_at), template.id.to_string())
        };
        let page = page(all, &self.query, false, key)?;
        let items: Vec<Value> = page.items.iter().map(|template| self.template_json(template)).collect();
        Ok(with_next(json(StatusCode::OK, &items.into()), page.next))
    }

    fn show_template(&self, named: &str) -> Result<Answer, Refused> {
        let template = self.find_template(named)?;
        let mut value = self.template_json(&template);
        let (memory, disk) = self.gateway.fleet.size();
        let builds: Vec<Value> = template
            .builds
            .iter()
            .map(|image| {
                let at = rfc3339(image.created_at);
                json!({
                    "buildID": build_id(image), "status": "ready", "createdAt": at, "updatedAt": at, "finishedAt": at,
                    "cpuCount": cpus(), "memoryMB": memory, "diskSizeMB": disk, "envdVersion": ENVD_VERSION,
                })
            })
            .collect();
        value["builds"] = builds.into();
        Ok(json(StatusCode::OK, &value))
    }

    fn template_json(&self, template: &Template) -> Value {
        let (memory, disk) = self.gateway.fleet.size();
        let times = |pick: fn(&mut dyn Iterator<Item = u64>) -> Option<u64>| {
            rfc3339(pick(&mut template.builds.iter().map(|image| image.created_at)).unwrap_or(0))
        };
        let names = template.builds.first().map(|image| image.names.clone()).unwrap_or_default();
        // Of the sandboxes that are there now: no other count is kept.
        let made = self.gateway.fleet.records(&self.owner);
        let made: Vec<u64> = made.iter().filter(|r| r.template == template.id.as_str()).map(|r| r.created_at).collect();
        json!({
            "templateID": template.id,
            "buildID": template.builds.first().map(build_id).unwrap_or_default(),
            "buildStatus": "ready", "buildCount": template.builds.len(),
            "names": names, "aliases": names, "public": false, "createdBy": null,
            "createdAt": times(|all| all.min()), "updatedAt": times(|all| all.max()),
            "spawnCount": made.len(), "lastSpawnedAt": made.iter().max().map(|at| rfc3339(*at)),
            "cpuCount": cpus(), "memoryMB": memory, "diskSizeMB": disk, "envdVersion": ENVD_VERSION,
        })
    }
}

impl Start {
    fn check(self) -> Result<Recipe, Refused> {
        if self.from_image_registry.is_some_and(|registry| !registry.is_null()) {
            return Err(bad("fromImageRegistry: images are not pulled by this server; their names are names only"));
        }
        let some = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let base = match (some(self.from_image), some(self.from_template)) {
            (Some(image), None) => Base::Image(image),
            (None, Some(template)) => Base::Template(template),
            _ => return Err(bad("give either fromImage or fromTemplate")),
        };
        let steps = self.steps.unwrap_or_default();
        if steps.len() > STEPS_MAX {
            return Err(bad(format!("a template has at most {STEPS_MAX} steps")));
        }
        let numbered = steps.into_iter().enumerate();
        let steps = numbered.map(|(at, step)| step.check().map_err(|why| bad(format!("step {}: {why}", at + 1))));
        Ok(Recipe {
            base,
            steps: steps.collect::<Result<_, _>>()?,
            start: some(self.start_cmd),
            ready: some(self.ready_cmd),
        })
    }
}

impl StepMessage {
    fn check(self) -> Result<Step, String> {
        if self.args.iter().any(|arg| arg.contains('\0')) {
            return Err("an argument contains a NUL".to_owned());
        }
        let mut args = self.args.into_iter();
        let mut next = |what: &str| args.next().ok_or_else(|| format!("{} has no {what}", self.kind));
        match self.kind.as_str() {
            "RUN" => Ok(Step::Run { command: next("command")?, user: next("user").ok() }),
            "USER" => Ok(Step::User(next("name")?)),
            "WORKDIR" => Ok(Step::Workdir(next("path")?)),
            "COPY" => {
                let (source, target) = (next("source")?, next("target")?);
                let mut option = |what| next(what).ok().filter(|text: &String| !text.is_empty());
                let (owner, mode) = (option("owner"), option("mode"));
                let layer = self.files_hash.ok_or("COPY has no filesHash")?.to_ascii_lowercase();
                Ok(Step::Copy { source, target, owner, mode, layer })
            }
            "ENV" => {
                let mut envs = BTreeMap::new();
                while let Ok(name) = next("name") {
                    if name.is_empty() || name.contains('=') {
                        return Err(format!("ENV: {name:?} is not the name of a variable"));
                    }
                    envs.insert(name, next("value for its last name")?);
                }
                Ok(Step::Env(envs))
            }
            other => Err(format!(
                "there is no step {:?}; there are RUN, COPY, ENV, WORKDIR and USER",
                access::printable(other)
            )),
        }
    }
}

fn build_id(image: &Image) -> String {
    match &image.kind {
        ImageKind::Template { build, .. } => build.clone(),
        ImageKind::Snapshot { .. } => String::new(),
    }
}

fn status_name(status: Status) -> &'static str {
    match status {
        Status::Waiting => "waiting",
        Status::Building => "building",
        Status::Ready => "ready",
        Status::Error => "error",
    }
}

fn entry(entry: &Entry) -> Value {
    let (at, level) = (rfc3339(entry.at), entry.level.name());
    json!({ "timestamp": at, "level": level, "message": entry.message, "step": entry.step })
}

fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}
