//! The app's own content security policy, changed as little as possible: framing allowed, our script allowed.

/// A policy that may be shown in the work pane and, if a script goes in, lets that script run. None if nothing is
/// left of it.
pub(super) fn relax(policy: &str, script: Option<&str>) -> Option<String> {
    let mut directives: Vec<Vec<String>> = policy
        .split(';')
        .map(|directive| directive.split_ascii_whitespace().map(str::to_owned).collect::<Vec<String>>())
        .filter(|directive| directive.first().is_some_and(|name| !name.eq_ignore_ascii_case("frame-ancestors")))
        .collect();
    if let Some(hash) = script {
        allow(&mut directives, hash);
    }
    let text: Vec<String> = directives.iter().map(|directive| directive.join(" ")).collect();
    (!text.is_empty()).then(|| text.join("; "))
}

fn allow(directives: &mut Vec<Vec<String>>, hash: &str) {
    let find = |directives: &[Vec<String>], name: &str| {
        directives.iter().position(|directive| directive.first().is_some_and(|have| have.eq_ignore_ascii_case(name)))
    };
    let governing =
        ["script-src-elem", "script-src", "default-src"].into_iter().find_map(|name| find(directives, name));
    let Some(at) = governing else { return };
    let mut sources: Vec<String> = directives[at].iter().skip(1).cloned().collect();
    let lists = |prefix: &str| sources.iter().any(|source| source.to_ascii_lowercase().starts_with(prefix));
    // A hash switches 'unsafe-inline' off: where that is in force our script runs anyway, and the app's must too.
    if lists("'unsafe-inline'") && !lists("'nonce-") && !lists("'sha") && !lists("'strict-dynamic'") {
        return;
    }
    sources.retain(|source| !source.eq_ignore_ascii_case("'none'"));
    sources.push(format!("'sha256-{hash}'"));
    if directives[at].first().is_some_and(|name| name.eq_ignore_ascii_case("default-src")) {
        // Only scripts are let in, so the other kinds keep the default.
        directives.push(std::iter::once("script-src".to_owned()).chain(sources).collect());
    } else if let Some(directive) = directives.get_mut(at) {
        directive.truncate(1);
        directive.extend(sources);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn framing_is_allowed_and_the_rest_stays() {
        assert_eq!(relax("frame-ancestors 'none'", Some("h")), None);
        assert_eq!(relax("img-src *; Frame-Ancestors 'self'", None).as_deref(), Some("img-src *"));
    }

    #[test]
    fn the_script_is_let_in_by_its_hash_without_shutting_out_the_apps() {
        let with = |policy| relax(policy, Some("h")).unwrap();
        assert_eq!(with("script-src 'self'"), "script-src 'self' 'sha256-h'");
        assert_eq!(with("script-src 'none'"), "script-src 'sha256-h'");
        assert_eq!(with("default-src 'self'"), "default-src 'self'; script-src 'self' 'sha256-h'");
        assert_eq!(with("script-src 'self' 'unsafe-inline'"), "script-src 'self' 'unsafe-inline'");
        assert_eq!(with("script-src 'unsafe-inline' 'nonce-1'"), "script-src 'unsafe-inline' 'nonce-1' 'sha256-h'");
        assert_eq!(with("img-src *"), "img-src *");
        let both = with("script-src 'self'; script-src-elem 'self'");
        assert_eq!(both, "script-src 'self'; script-src-elem 'self' 'sha256-h'");
    }
}
