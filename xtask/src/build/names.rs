//! Short names between the wasm and its JavaScript glue. wasm-bindgen names what they import from each other by what it
//! is and a hash, in both files; a hash does not compress.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use walrus::Module;

/// How the names begin that only wasm-bindgen's own glue uses.
const INTERNAL: [&str; 4] = ["__wbg_", "__wbindgen_", "wasm_bindgen__convert__", "intounderlying"];

/// Renames what the two files import from each other, in both alike.
pub fn shorten(wasm: &[u8], glue: &str) -> Result<(Vec<u8>, String)> {
    let mut module = Module::from_buffer(wasm).context("wasm-bindgen's wasm cannot be read")?;
    ensure!(!words(glue).any(is_short), "wasm-bindgen's glue has names like _0 already");
    let mut short = BTreeMap::new();
    for import in module.imports.iter_mut() {
        rename(&mut short, &mut import.name);
    }
    for export in module.exports.iter_mut() {
        rename(&mut short, &mut export.name);
    }
    let glue = words(glue).map(|word| short.get(word).map_or(word, String::as_str)).collect();
    Ok((module.emit_wasm(), glue))
}

fn rename(short: &mut BTreeMap<String, String>, name: &mut String) {
    if INTERNAL.iter().any(|start| name.starts_with(start)) {
        let next = format!("_{}", short.len());
        *name = short.entry(name.clone()).or_insert(next).clone();
    }
}

fn is_short(word: &str) -> bool {
    word.strip_prefix('_').is_some_and(|number| number.parse::<usize>().is_ok())
}

/// The text in pieces: names, and what stands between them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    text.as_bytes()
        .chunk_by(move |left, right| part(left) == part(right))
        .scan(0, |at, piece| {
            let from = *at;
            *at += piece.len();
            Some((from, *at))
        })
        .map(move |(from, to)| text.get(from..to).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use walrus::{FunctionBuilder, ModuleConfig};

    #[test]
    fn both_files_keep_speaking_of_the_same_things() {
        let mut module = Module::with_config(ModuleConfig::new());
        let kind = module.types.add(&[], &[]);
        module.add_import_func("./a_bg.js", "__wbg_now_0123456789abcdef", kind);
        let hydrate = FunctionBuilder::new(&mut module.types, &[], &[]).finish(Vec::new(), &mut module.funcs);
        module.exports.add("hydrate", hydrate);
        module.exports.add("__wbindgen_free", hydrate);
        let glue = "imports={__wbg_now_0123456789abcdef:()=>“é”};now=__wbg_now;wasm.__wbindgen_free();wasm.hydrate()";
        let (wasm, glue) = shorten(&module.emit_wasm(), glue).unwrap();
        assert_eq!(glue, "imports={_0:()=>“é”};now=__wbg_now;wasm._1();wasm.hydrate()");
        let module = Module::from_buffer(&wasm).unwrap();
        assert!(module.imports.find("./a_bg.js", "_0").is_some());
        assert!(module.exports.get_func("_1").is_ok() && module.exports.get_func("hydrate").is_ok());
    }

    #[test]
    fn glue_that_has_such_names_already_is_refused() {
        assert!(shorten(&Module::default().emit_wasm(), "let _0").is_err());
    }
}
