//! The schema, as the steps that lead to it.
//!
//! They are listed here and not gathered by sqlx's macro, because its compiler would build SQLite a second time.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use std::borrow::Cow;

macro_rules! steps {
    ($($file:literal),* $(,)?) => { &[$(($file, include_str!(concat!("migrations/", $file)))),*] };
}

/// File name and SQL of each step, oldest first. A step that was released is never changed.
const STEPS: &[(&str, &str)] = steps![
    "0001_init.sql",
    "0002_e2b.sql",
    "0004_runs.sql",
    "0005_agent.sql",
    "0016_attachments.sql",
    "0017_cancel.sql",
    "0018_ttl.sql",
    "0019_last_run.sql",
];

/// What brings a database of any age to the present schema.
pub(super) fn migrator() -> Migrator {
    let steps = STEPS.iter().filter_map(|(file, sql)| {
        let (version, description) = file.strip_suffix(".sql")?.split_once('_')?;
        let description = Cow::Borrowed(description);
        Some(Migration::new(version.parse().ok()?, description, MigrationType::Simple, sql.into_sql_str(), false))
    });
    Migrator::with_migrations(steps.collect())
}

#[cfg(test)]
mod tests {
    use super::{STEPS, migrator};

    #[test]
    fn every_step_in_the_folder_is_listed_and_has_a_number_of_its_own() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/migrations");
        let mut files: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(STEPS.iter().map(|(file, _)| *file).collect::<Vec<_>>(), files);
        let versions: Vec<i64> = migrator().iter().map(|step| step.version).collect();
        assert!(versions.len() == files.len() && versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    }
}
