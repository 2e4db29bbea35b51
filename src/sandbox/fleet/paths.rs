//! Paths inside as callers write them.

/// The home of both users.
pub const HOME: &str = "/home/user";
/// Where anything can be written; `/tmp` is lost with the processes.
const WRITABLE: [&str; 3] = [HOME, "/var/user", "/tmp"];

/// An absolute, clean path: relative ones begin at `base`, and `~` at home.
pub fn absolute(base: &str, path: &str) -> Result<String, String> {
    if path.len() > 4096 {
        return Err("the path is longer than 4096 bytes".to_owned());
    }
    if path.contains('\0') {
        return Err("the path contains a NUL".to_owned());
    }
    let whole = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("{HOME}{rest}"),
        _ if path.starts_with('/') => path.to_owned(),
        _ => format!("{base}/{path}"),
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// Whether a clean path lies where a sandbox's user may write.
pub fn is_writable(path: &str) -> bool {
    WRITABLE.iter().any(|folder| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_begin_at_the_base_and_never_climb_over_the_root() {
        for (given, clean) in [
            ("a/b", "/home/user/a/b"),
            ("", "/home/user"),
            ("~", "/home/user"),
            ("~/x", "/home/user/x"),
            ("~x", "/home/user/~x"),
            ("/tmp//x/./y/", "/tmp/x/y"),
            ("/../../etc", "/etc"),
            ("../../../..", "/"),
            ("/", "/"),
        ] {
            assert_eq!(absolute(HOME, given).unwrap(), clean, "{given}");
        }
        assert_eq!(absolute("/var/user", "x").unwrap(), "/var/user/x");
        assert!(absolute(HOME, "a\0b").is_err());
        assert!(absolute(HOME, &"x/".repeat(3000)).is_err());
    }

    #[test]
    fn only_three_folders_can_be_written() {
        for (path, writable) in
            [("/home/user", true), ("/tmp/x", true), ("/home/users", false), ("/app", false), ("/", false)]
        {
            assert_eq!(is_writable(path), writable, "{path}");
        }
    }
}

#[cfg(test)]
mod fuzz {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_path_becomes_a_clean_absolute_one_or_is_refused(path in "(\\PC|/|\\.|~|\0){0,40}") {
            if let Ok(clean) = absolute(HOME, &path) {
                prop_assert!(clean.starts_with('/') && !clean.contains('\0'));
                let parts: Vec<&str> = clean[1..].split('/').collect();
                let odd = |part: &&str| part.is_empty() || *part == "." || *part == "..";
                prop_assert!(clean == "/" || !parts.iter().any(odd), "{clean}");
                prop_assert_eq!(absolute(HOME, &clean).unwrap(), clean.clone());
            } else {
                prop_assert!(path.contains('\0'));
            }
        }
    }
}
