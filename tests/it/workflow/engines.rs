//! The engines that keep the same promises, each with what it needs: a data folder, and a Restate server for Restate.

use reqwest::Method;
use sandcastle::config::{RestateAddress, RestateConfig};
use sandcastle::store::Store;
use sandcastle::workflow::{Clock, SystemClock, Workflow, WorkflowOptions};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Names the program `restate-server`. `cargo xtask test` installs it and sets this.
const SERVER: &str = "SANDCASTLE_RESTATE_SERVER";
/// Restate servers at once; each takes some hundred MB.
static RESTATES: Semaphore = Semaphore::const_new(1);

/// Makes each of these functions a test of every engine.
macro_rules! over_every_engine {
    ($($promise:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::$promise(&super::Rig::embedded()).await;
            })*
        }

        mod restate {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                if let Some(rig) = super::Rig::restate().await {
                    super::$promise(&rig).await;
                }
            })*
        }
    };
}
pub(super) use over_every_engine;

/// An engine with a store of its own.
pub struct Rig {
    folder: tempfile::TempDir,
    restate: Option<Restate>,
}

/// A Restate server of its own, ended when dropped.
pub struct Restate {
    child: Option<Child>,
    folder: PathBuf,
    _permit: SemaphorePermit<'static>,
}

impl Rig {
    /// The engine inside the server.
    pub fn embedded() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), restate: None }
    }

    /// Restate, unless its server is not there.
    pub async fn restate() -> Option<Self> {
        let rig = Self::restate_not_started().await?;
        Some(Self { restate: rig.restate.map(Restate::started), ..rig })
    }

    /// The same before anybody has started it.
    pub async fn restate_not_started() -> Option<Self> {
        if std::env::var_os(SERVER).is_none() {
            eprintln!("SKIPPED: {SERVER} does not name a restate-server; `cargo xtask test` installs one");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let permit = RESTATES.acquire().await.unwrap();
        let restate = Restate { child: None, folder: folder.path().join("restate"), _permit: permit };
        Some(Self { folder, restate: Some(restate) })
    }

    /// The Restate server.
    pub fn server(&mut self) -> &mut Restate {
        self.restate.as_mut().unwrap()
    }

    /// A folder for whatever a test keeps.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where the store is.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where Restate is, for another process.
    pub fn restate_folder(&self) -> Option<&Path> {
        self.restate.as_ref().map(|restate| restate.folder.as_path())
    }

    /// Opens the store with this engine over it. Register the tasks, then boot.
    pub async fn open(&self, options: WorkflowOptions) -> (Store, Workflow) {
        open(&self.data(), self.restate_folder(), options).await
    }
}

/// A store and an engine: Restate's if a folder of Restate is given.
pub async fn open(data: &Path, restate: Option<&Path>, options: WorkflowOptions) -> (Store, Workflow) {
    let store = Store::open(data).await.unwrap();
    let Some(folder) = restate else {
        let workflow = Workflow::new(&store, options);
        return (store, workflow);
    };
    let socket = |name: &str| RestateAddress::Unix(folder.join("r").join(name));
    let config = RestateConfig { ingress: socket("ingress.sock"), admin: socket("admin.sock") };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let engine = sandcastle::restate::engine(&config, &store, &options, Arc::clone(&clock)).await;
    let engine = engine.unwrap_or_else(|error| panic!("{error}"));
    let workflow = Workflow::with_engine(&store, options, clock, engine);
    (store, workflow)
}

impl Restate {
    fn started(mut self) -> Self {
        self.start();
        self
    }

    /// Starts it, over what an earlier one left.
    pub fn start(&mut self) {
        std::fs::create_dir_all(&self.folder).unwrap();
        let config = self.folder.join("restate.toml");
        // A handler that waits for longer than a moment is asked to suspend, as it is after a minute elsewhere.
        let settings = "disable-telemetry = true\nnode-name = \"r\"\nlisten-mode = \"unix\"\n\
                        default-num-partitions = 2\nrocksdb-total-memory-size = \"64 MiB\"\n\
                        [worker.invoker]\ninactivity-timeout = \"300ms\"\n";
        std::fs::write(&config, settings).unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let child = Command::new(std::env::var_os(SERVER).unwrap())
            .args(["--no-logo", "--config-file"])
            .arg(&config)
            .arg("--base-dir")
            .arg(&self.folder)
            .env("DO_NOT_TRACK", "1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn();
        self.child = Some(child.unwrap());
    }

    /// Ends it without asking.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// What a query over its tables gives, row by row, once it can answer.
    pub async fn query(&self, sql: &str) -> Vec<Value> {
        loop {
            let request = self.admin(Method::POST, "/query").header("accept", "application/json");
            if let Ok(answer) = request.json(&json!({ "query": sql })).send().await
                && let Value::Array(rows) = &answer.json::<Value>().await.unwrap()["rows"]
            {
                return rows.clone();
            }
            // It has just started and does not know its tables yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A request to its administration.
    pub fn admin(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let socket = self.folder.join("r/admin.sock");
        let client = reqwest::Client::builder().unix_socket(socket).build().unwrap();
        client.request(method, format!("http://localhost{path}"))
    }

    /// Loses everything it knows.
    pub fn forget(&mut self) {
        self.kill();
        std::fs::remove_dir_all(&self.folder).unwrap();
    }
}

impl Drop for Restate {
    fn drop(&mut self) {
        self.kill();
    }
}
