//! Takes functions out of the browser's wasm that are in it and can never run.
//!
//! Views of one erased type carry a table of functions each, and the linker keeps all of them: also those of leptos'
//! second way to hydrate, which waits for views that arrive later (`hydrate_lazy`, islands). This application hydrates
//! in one go. Their bodies become `unreachable`; what only they called goes with them. Should one be called after all,
//! the page stops with that error, and every end-to-end test with it.

use anyhow::{Context, Result, ensure};
use walrus::{FunctionBuilder, FunctionId, FunctionKind, Module};

/// Parts of symbol names. The first alone is worth a tenth of the download.
const NEVER_CALLED: [&str; 2] = ["hydrate_async", "hydrate_from_template"];

/// Reads compiled wasm with its name section and empties what is never called.
pub fn snip(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut module = Module::from_buffer(wasm).context("the compiled wasm cannot be read")?;
    let unused: Vec<FunctionId> = module
        .funcs
        .iter_local()
        .filter(|(id, _)| {
            let name = module.funcs.get(*id).name.as_deref().unwrap_or_default();
            NEVER_CALLED.iter().any(|part| name.contains(part))
        })
        .map(|(id, _)| id)
        .collect();
    // A build without names would ship everything, silently.
    ensure!(!unused.is_empty(), "the compiled wasm has no function names; the profile must not strip them");
    for id in unused {
        empty(&mut module, id);
    }
    Ok(module.emit_wasm())
}

fn empty(module: &mut Module, id: FunctionId) {
    let (params, results) = module.types.params_results(module.funcs.get(id).ty());
    let (params, results) = (params.to_vec(), results.to_vec());
    let mut builder = FunctionBuilder::new(&mut module.types, &params, &results);
    builder.func_body().unreachable();
    let args = params.into_iter().map(|kind| module.locals.add(kind)).collect();
    module.funcs.get_mut(id).kind = FunctionKind::Local(builder.local_func(args));
}
