//! Takes functions out of the browser's wasm that are in it and can never run.
//!
//! Views of one erased type carry a table of functions each, and the linker keeps all of them: also those of leptos'
//! second way to hydrate, which waits for views that arrive later (`hydrate_lazy`, islands). This application hydrates
//! in one go. Likewise the classes that `wasm-streams` exports, for streams this application does not open. Their bodies
//! become `unreachable`; what only they called goes with them. Should one be called after all, the page stops with that
//! error, and every end-to-end test with it.
//!
//! The functions that panics end in are emptied too: a panic is then a trap at once, without putting its words together
//! first. The page says that it has stopped; the words are there in a development build.

use anyhow::{Context, Result, ensure};
use walrus::{FunctionBuilder, FunctionId, FunctionKind, Module};

/// How the symbol of an async function's body ends before its hash: the function's name and one closure or more.
const BODY: &str = "hydrate_async28_$u7b$$u7b$closure$u7d$$u7d$";
/// Digits of the hash that ends a symbol.
const HASH: usize = 16;
/// How exports of `wasm-streams` begin.
const STREAMS: [&str; 2] = ["intounderlying", "__wbg_intounderlying"];
/// Paths of the functions of `core` and `std` that never return. The compiler folds such a function only with others
/// that never return either.
const PANICS: [&str; 8] = [
    "4core9panicking",
    "4core6option13unwrap_failed",
    "4core6option13expect_failed",
    "4core6result13unwrap_failed",
    "16slice_index_fail",
    "slice_error_fail",
    "17len_mismatch_fail",
    "9panicking13panic_handler",
];

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

/// Whether a symbol names a function that is never called, or that only ends the program.
fn is_never_called(symbol: &str) -> bool {
    STREAMS.iter().any(|name| symbol.starts_with(name)) || is_panic(symbol) || is_late_hydration(symbol)
}

/// Whether a symbol names one of the functions a panic ends in. Types that only mention one are left alone.
fn is_panic(symbol: &str) -> bool {
    !symbol.contains("drop_in_place") && PANICS.iter().any(|name| symbol.contains(name))
}

/// Whether a symbol names the body of a late hydration. Nothing else of its names is taken: the compiler folds functions
/// of the same code into one, under any of their names, and drop glue or a constructor of one type may serve another.
fn is_late_hydration(symbol: &str) -> bool {
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

    #[test]
    fn the_ends_of_panics_are_taken_in_both_manglings() {
        let old = "_ZN4core9panicking13panic_display17h0123456789abcdefE";
        let new = "_RNvNtCsgXGp5Oqx2Ny_4core9panicking18panic_bounds_check";
        let unwrap = "_RNvNtCsgXGp5Oqx2Ny_4core6option13unwrap_failed";
        let other = "_RNvMs3_NtCs5cOc02OMXlo_5alloc3stre18to_ascii_lowercase";
        assert_eq!([old, new, unwrap, other].map(is_never_called), [true, true, true, false]);
    }
}
