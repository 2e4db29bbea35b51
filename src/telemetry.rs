//! Logging to stderr. Lines never carry prompts, bodies, query strings or secrets.

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Installs the subscriber once. `SANDCASTLE_LOG` (else `RUST_LOG`) filters; `SANDCASTLE_LOG_FORMAT=json` for machines.
pub fn init(default: &str) {
    let filter = std::env::var("SANDCASTLE_LOG").or_else(|_| std::env::var("RUST_LOG")).unwrap_or_default();
    let filter = EnvFilter::new(if filter.trim().is_empty() { default } else { &filter });
    let json = std::env::var("SANDCASTLE_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A subscriber that is already there (tests) stays.
    let _already_set = if json {
        for_machines(filter, std::io::stderr).try_init()
    } else {
        let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        builder.with_target(false).finish().try_init()
    };
}

/// One JSON object a line, with the spans around it.
fn for_machines<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false).json().finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::workflow::{RunRequest, Task, TaskContext, TaskError, Workflow, WorkflowOptions};
    use serde_json::Value;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    /// What was written, kept.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Talks;

    #[async_trait::async_trait]
    impl Task for Talks {
        const NAME: &'static str = "talks";
        type Input = Value;
        type Output = Value;

        async fn run(&self, _: TaskContext, _: Value) -> Result<Value, TaskError> {
            tracing::warn!("something a task met");
            Ok(Value::Null)
        }
    }

    #[tokio::test]
    async fn what_is_logged_while_a_run_executes_carries_its_id_for_machines() {
        let kept = Kept::default();
        let writer = kept.clone();
        let _here = for_machines(EnvFilter::new("info"), move || writer.clone()).set_default();
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).await.unwrap();
        let workflow = Workflow::new(&store, WorkflowOptions::default());
        workflow.register(Talks);
        let id = workflow.submit(RunRequest { task: "talks".to_owned(), ..RunRequest::default() }).await.unwrap();
        workflow.wait(&id).await.unwrap();
        let said = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |message: &str| lines.iter().find(|line| line["fields"]["message"] == message).unwrap().clone();
        let inside = of("something a task met");
        assert_eq!((&inside["span"]["id"], &inside["span"]["attempt"]), (&id.as_str().into(), &1.into()));
        assert_eq!(of("a run ended")["fields"]["run"], id.as_str());
    }
}
