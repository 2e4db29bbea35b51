//! The Restate server: installed from npm into `.tools` when it is asked for, never a part of this repository.
//!
//! Its licence (BSL 1.1) lets anybody use it, but it is no open source. The npm package of the platform is taken, because
//! the one above it brings a script that reports installations.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::project::{Mode, Project};
use crate::{build, prerequisites, process};

/// The version that the tests run with.
const VERSION: &str = "1.7.12";
/// Longer paths do not fit a socket's address.
const SOCKET_PATH_MAX: usize = 107;
/// Longer means that it does not start.
const START: Duration = Duration::from_secs(20);

/// Installs the server unless it is there, and returns the program.
pub fn install(project: &Project) -> Result<PathBuf> {
    let arch = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => bail!("there is no Restate server for {other}"),
    };
    let package = format!("@restatedev/restate-server-linux-{arch}");
    let dir = project.root.join(".tools/restate");
    let installed = dir.join("node_modules").join(&package);
    let program = installed.join("bin/restate-server");
    let manifest = fs::read_to_string(installed.join("package.json")).unwrap_or_default();
    if program.is_file() && manifest.contains(&format!("\"{VERSION}\"")) {
        return Ok(program);
    }
    println!("Installing Restate {VERSION} into .tools; this is done once (80 MB)");
    fs::create_dir_all(&dir)?;
    let mut npm = process::command("npm", &dir);
    npm.args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(&dir);
    process::output(npm.arg(format!("{package}@{VERSION}")))
        .context("npm could not install the Restate server; it needs the npm registry (or a mirror set in ~/.npmrc)")?;
    Ok(program)
}

/// Builds with the Restate engine, starts a Restate server on sockets, then becomes the server.
pub fn serve(project: &Project, args: &[String]) -> Result<ExitCode> {
    use std::os::unix::process::CommandExt;

    prerequisites::require(project)?;
    let program = install(project)?;
    build::run_with(project, Mode::Release, build::Engines::AlsoRestate)?;
    // It ends with this process, which becomes the server.
    let (_restate, sockets) = start(&program, &project.root.join(".tools/restate"))?;
    let server = project.server(Mode::Release);
    let mut serve = process::command(&server, &project.root);
    serve.arg("serve").args(args.iter().skip_while(|arg| *arg == "--"));
    serve.env("WORKFLOW_ENGINE", "restate");
    serve.env("RESTATE_INGRESS_URL", format!("unix:{}", sockets.join("ingress.sock").display()));
    serve.env("RESTATE_ADMIN_URL", format!("unix:{}", sockets.join("admin.sock").display()));
    Err(serve.exec()).with_context(|| format!("cannot start {}", server.display()))
}

/// Starts Restate as a companion of this process and returns it and the folder of its sockets.
///
/// On sockets and not on ports: it has no passwords, and a web page in the browser of this machine could call a port.
fn start(program: &Path, dir: &Path) -> Result<(Child, PathBuf)> {
    let sockets = dir.join("data/sandcastle");
    let ingress = sockets.join("ingress.sock");
    if ingress.as_os_str().len() > SOCKET_PATH_MAX {
        bail!(
            "{} is too long for a socket. Move the repository to a shorter path, or run restate-server yourself and set \
             RESTATE_INGRESS_URL and RESTATE_ADMIN_URL",
            ingress.display()
        );
    }
    let config = dir.join("restate.toml");
    let settings = "disable-telemetry = true\nnode-name = \"sandcastle\"\ncluster-name = \"sandcastle\"\n\
                    listen-mode = \"unix\"\ndefault-num-partitions = 4\nrocksdb-total-memory-size = \"256 MiB\"\n";
    fs::write(&config, settings).with_context(|| format!("cannot write {}", config.display()))?;
    let log = fs::File::create(dir.join("restate.log"))?;
    // Whatever ends this process ends Restate too.
    let mut restate = if process::exists("setpriv") {
        let mut setpriv = Command::new("setpriv");
        setpriv.args(["--pdeathsig", "TERM"]).arg(program);
        setpriv
    } else {
        Command::new(program)
    };
    restate.arg("--no-logo").arg("--config-file").arg(&config).arg("--base-dir").arg(dir.join("data"));
    restate.env("DO_NOT_TRACK", "1").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // A socket that an earlier server left is not a sign of this one.
    let _ = fs::remove_file(&ingress);
    let mut child = restate.spawn().context("cannot start the Restate server")?;
    let begun = Instant::now();
    while !ingress.exists() {
        if let Some(status) = child.try_wait()? {
            bail!("the Restate server ended at once ({status}); {} says why", dir.join("restate.log").display());
        }
        if begun.elapsed() > START {
            let _ = child.kill();
            bail!("the Restate server did not start; {} says why", dir.join("restate.log").display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("Restate {VERSION} runs, its data and log are in .tools/restate");
    Ok((child, sockets))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restate_is_reached_by_its_sockets_and_by_no_port() {
        let Ok(program) = install(&Project::locate()) else {
            eprintln!("SKIPPED: the Restate server cannot be installed");
            return;
        };
        let dir = std::env::temp_dir().join(format!("sandcastle-restate-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a folder");
        let (mut child, sockets) = start(&program, &dir).expect("Restate starts");
        assert!(sockets.join("ingress.sock").exists());
        let listening = |table: &str| {
            let inodes: Vec<String> = fs::read_dir(format!("/proc/{}/fd", child.id()))
                .expect("its files")
                .filter_map(|fd| Some(fs::read_link(fd.ok()?.path()).ok()?.to_string_lossy().into_owned()))
                .collect();
            let lines = fs::read_to_string(table).expect("a table of sockets");
            let state = |line: &str, at: usize| line.split_whitespace().nth(at).map(str::to_owned).unwrap_or_default();
            // 0A is LISTEN.
            lines.lines().any(|line| state(line, 3) == "0A" && inodes.contains(&format!("socket:[{}]", state(line, 9))))
        };
        let ports = listening("/proc/net/tcp") || listening("/proc/net/tcp6");
        child.kill().and_then(|()| child.wait()).expect("it ends");
        fs::remove_dir_all(&dir).expect("the folder goes");
        assert!(!ports, "Restate listens on a port");
    }
}
