//! The browser's three files before they get their names: wasm, its JavaScript glue, the style sheet.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wasm_bindgen_cli_support::Bindgen;

use super::names::shorten;
use super::snip::snip;
use super::stamp::{Stamp, digest, files};
use crate::process::{cargo, command, output, run};
use crate::project::{Mode, NAME, Project, WASM_TARGET};

/// Profile of the browser's release build; `cargo leptos` is told the same one in `Cargo.toml`.
const PROFILE: &str = "wasm-release";
/// Oldest browsers that know `light-dark()` and nesting, so that esbuild leaves both as they are.
const BROWSERS: &str = "--target=chrome123,edge123,firefox121,safari17.5";
/// Part of the stamp: count up when the steps below change.
const STEPS: &str = "8";

/// The files, not yet named by their content.
pub struct Pieces {
    pub js: PathBuf,
    pub wasm: PathBuf,
    pub css: PathBuf,
}

/// Compiles the library to wasm and returns where it is.
pub fn compile(project: &Project, mode: Mode) -> Result<PathBuf> {
    let mut cargo = cargo(&project.root);
    cargo.args(["build", "--package", NAME, "--lib", "--target", WASM_TARGET]);
    cargo.args(["--no-default-features", "--features", "hydrate"]).arg("--target-dir").arg(project.front_target());
    let folder = match mode {
        Mode::Release => {
            cargo.args(["--profile", PROFILE]);
            PROFILE
        }
        Mode::Dev => "debug",
    };
    run(&mut cargo)?;
    Ok(project.front_target().join(WASM_TARGET).join(folder).join(format!("{NAME}.wasm")))
}

/// Makes the pieces from the compiled library and the style sheets; each only if its inputs changed.
pub fn bind(project: &Project, mode: Mode, compiled: &Path) -> Result<Pieces> {
    let dir = project.work().join(match mode {
        Mode::Release => "release",
        Mode::Dev => "dev",
    });
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let pieces = Pieces {
        js: dir.join(format!("{NAME}.js")),
        wasm: dir.join(format!("{NAME}.wasm")),
        css: dir.join(format!("{NAME}.css")),
    };
    let lock = fs::read(project.root.join("package-lock.json")).context("cannot read package-lock.json")?;

    let wasm = fs::read(compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    let inputs = digest([wasm, lock.clone(), STEPS.into()]);
    let stamp = Stamp::at(dir.join("wasm.stamp"));
    if !(stamp.holds(&inputs) && pieces.wasm.exists() && pieces.js.exists()) {
        bind_wasm(project, mode, compiled, &dir, &pieces)?;
        stamp.write(&inputs)?;
    }

    // Names in `public/` count too: a sheet that points to a file which is gone must fail again.
    let public =
        files(&project.root.join("public"))?.into_iter().map(|path| path.into_os_string().into_encoded_bytes());
    let style = project.root.join("style");
    let sheets =
        files(&style)?.into_iter().map(fs::read).collect::<Result<Vec<_>, _>>().context("cannot read style/")?;
    let inputs = digest(sheets.into_iter().chain(public).chain([lock, STEPS.into()]));
    let stamp = Stamp::at(dir.join("style.stamp"));
    if !(stamp.holds(&inputs) && pieces.css.exists()) {
        bundle_style(project, mode, &style.join("main.css"), &pieces.css)?;
        stamp.write(&inputs)?;
    }
    Ok(pieces)
}

fn bind_wasm(project: &Project, mode: Mode, compiled: &Path, dir: &Path, pieces: &Pieces) -> Result<()> {
    let bound = dir.join("bindgen");
    if bound.exists() {
        fs::remove_dir_all(&bound).with_context(|| format!("cannot empty {}", bound.display()))?;
    }
    let mut bindgen = Bindgen::new();
    let wasm = fs::read(compiled).with_context(|| format!("cannot read {}", compiled.display()))?;
    match mode {
        Mode::Release => bindgen.input_bytes(NAME, snip(&wasm)?),
        Mode::Dev => bindgen.input_bytes(NAME, wasm),
    };
    bindgen.out_name(NAME).typescript(false).omit_default_module_path(true);
    bindgen.debug(mode == Mode::Dev).keep_debug(mode == Mode::Dev).remove_name_section(mode == Mode::Release);
    bindgen.web(true)?.generate(&bound).context("wasm-bindgen failed")?;

    let (raw, glue) = (bound.join(format!("{NAME}_bg.wasm")), bound.join(format!("{NAME}.js")));
    match mode {
        Mode::Release => {
            let (wasm, text) = shorten(&fs::read(&raw)?, &fs::read_to_string(&glue)?)?;
            fs::write(&raw, wasm)?;
            fs::write(&glue, text)?;
            optimise(project, &raw, &pieces.wasm)?;
        }
        Mode::Dev => fs::copy(&raw, &pieces.wasm).map(drop).context("cannot copy the wasm file")?,
    }

    // Bundling takes the snippets of dependencies into the one hashed file: a snippet's own name does not change with
    // its content, so a browser could keep an old one.
    let mut esbuild = command(project.node_tool("esbuild"), &project.root);
    esbuild.arg(glue).args(["--bundle", "--format=esm", "--log-level=warning", BROWSERS]);
    if mode == Mode::Release {
        esbuild.arg("--minify");
    }
    run(esbuild.arg(format!("--outfile={}", pieces.js.display())))
}

/// A third of the transfer is won here, so a failure fails the build instead of shipping the larger file.
fn optimise(project: &Project, from: &Path, to: &Path) -> Result<()> {
    let mut wasm_opt = command(project.node_tool("wasm-opt"), &project.root);
    wasm_opt.args([
        // The first kilobyte is the far end of the stack: no address that is used comes from wrapping round into it.
        "--low-memory-unused",
        // Small bodies that are alike compress better than large ones that hold others: a tenth of the transfer.
        "--one-caller-inline-max-function-size=16",
        "-Oz",
        "--merge-similar-functions",
        "-Oz",
        "--enable-bulk-memory",
        "--enable-nontrapping-float-to-int",
        "--enable-sign-ext",
    ]);
    wasm_opt.args([
        "--strip-producers",
        "--strip-target-features",
        "--enable-mutable-globals",
        "--enable-reference-types",
        "--enable-multivalue",
    ]);
    output(wasm_opt.arg(from).arg("-o").arg(to)).map(drop)
}

fn bundle_style(project: &Project, mode: Mode, main: &Path, to: &Path) -> Result<()> {
    let mut esbuild = command(project.node_tool("esbuild"), &project.root);
    esbuild.arg(main).args(["--bundle", "--log-level=warning", BROWSERS]);
    // `url(/icons.svg)` is a file of `public/`, fetched by the browser. Naming each makes a wrong one a build error;
    // the pattern `/*` would match the absolute paths of the imported sheets too.
    let public = project.root.join("public");
    for file in files(&public)? {
        esbuild.arg(format!("--external:/{}", file.strip_prefix(&public)?.display()));
    }
    if mode == Mode::Release {
        esbuild.arg("--minify");
    }
    run(esbuild.arg(format!("--outfile={}", to.display())))
}
