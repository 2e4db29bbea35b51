//! Takes functions out of the browser's wasm that are in it and can never run.
//!
//! Views of one erased type carry a table of functions each, and the linker keeps all of them: also those of leptos'
//! second way to hydrate, which waits for views that arrive later (`hydrate_lazy`, islands). This application hydrates
//! in one go. Their bodies become `unreachable`; what only they called goes with them. Should one be called after all,
//! the page stops with that error, and every end-to-end test with it.

use anyhow::{Context, Result, ensure};
use walrus::{FunctionBuilder, FunctionId, FunctionKind, Module};

/// How the symbol of an async function's body ends before its hash: the function's name and one closure or more.
const BODY: &str = "hydrate_async28_$u7b$$u7b$closure$u7d$$u7d$";
/// Digits of the hash that ends a symbol.
const HASH: usize = 16;

/// Reads compiled wasm with its name section and empties what is never called.
pub fn snip(wasm: &[u8]) -> Result<Vec<u8>> {
    let mut module = Module::from_buffer(wasm).context("the compiled wasm cannot be read")?;
    let unused: Vec<FunctionId> = module
        .funcs
        .iter_local()
        .filter(|(id, _)| is_never_called(module.funcs.get(*id).name.as_deref().unwrap_or_default()))
        .map(|(id, _)| id)
        .collect();
    // A build without names would ship everything, silently.
    ensure!(!unused.is_empty(), "the compiled wasm has no function names; the profile must not strip them");
    for id in unused {
        empty(&mut module, id);
    }
    Ok(module.emit_wasm())
}

/// Whether a symbol names the body of a late hydration. Nothing else of its names is taken: the compiler folds functions
/// of the same code into one, under any of their names, and drop glue or a constructor of one type may serve another.
fn is_never_called(symbol: &str) -> bool {
    let Some(at) = symbol.find(BODY) else { return false };
    let rest = symbol.get(at + BODY.len()..).unwrap_or_default();
    let rest = rest.trim_start_matches(BODY.trim_start_matches("hydrate_async"));
    rest.strip_prefix("17h").and_then(|hash| hash.strip_suffix('E')).is_some_and(|hash| hash.len() == HASH)
}

fn empty(module: &mut Module, id: FunctionId) {
    let (params, results) = module.types.params_results(module.funcs.get(id).ty());
    let (params, results) = (params.to_vec(), results.to_vec());
    let mut builder = FunctionBuilder::new(&mut module.types, &params, &results);
    builder.func_body().unreachable();
    let args = params.into_iter().map(|kind| module.locals.add(kind)).collect();
    module.funcs.get_mut(id).kind = FunctionKind::Local(builder.local_func(args));
}

#[cfg(test)]
mod tests {
    use super::is_never_called;

    #[test]
    fn bodies_of_late_hydration_are_taken_and_what_may_be_shared_is_left() {
        let body = "_ZN3foo13hydrate_async28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE";
        let inner =
            "_ZN3foo13hydrate_async28_$u7b$$u7b$closure$u7d$$u7d$28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE";
        let outer = "_ZN3foo13hydrate_async17h0123456789abcdefE";
        let glue =
            "_ZN4core3ptr99drop_in_place$LT$foo..hydrate_async..$u7b$$u7b$closure$u7d$$u7d$$GT$17h0123456789abcdefE";
        assert_eq!([body, inner, outer, glue].map(is_never_called), [true, true, false, false]);
    }
}
