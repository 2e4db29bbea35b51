//! Projects from what is there already: a git repository, a zip archive or a folder.

use super::Services;
use crate::domain::{ApiError, ErrorCode, ProjectId, clean_path};
use crate::workflow::RunRequest;
use serde_json::json;
use std::io::{Cursor, Read};
use tokio_util::sync::CancellationToken;

/// Files in an archive.
const FILES_MAX: usize = 5_000;
/// Bytes of all files in an archive, unpacked.
const BYTES_MAX: u64 = 256 << 20;

/// Folders of a folder that are not taken: what can be installed again, and a history that would be run on the host.
const LEFT_OUT: [&str; 2] = ["node_modules", ".git"];

/// A file from an archive: path, content, whether it may be executed.
type Unpacked = (String, Vec<u8>, bool);

impl Services {
    /// A project with the files of a repository, cloned inside its sandbox.
    pub async fn import_git(&self, url: &str, name: Option<&str>) -> Result<ProjectId, ApiError> {
        let url = url.trim();
        let known = ["https://", "http://"].iter().any(|scheme| url.starts_with(scheme));
        if !known || url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(ApiError::invalid("The repository must be an address that begins with https:// or http://."));
        }
        let last = url.trim_end_matches('/').rsplit('/').next().unwrap_or_default().trim_end_matches(".git");
        let name = name.map(super::title).filter(|name| !name.is_empty()).unwrap_or_else(|| last.to_owned());
        let project = self.store.events().create_project(&name).await?;
        let request = RunRequest {
            task: "importGit".to_owned(),
            title: format!("import {last}"),
            payload: json!({"project": project, "url": url}),
            project: Some(project.clone()),
            ..RunRequest::default()
        };
        match self.workflow.call(request, &CancellationToken::new()).await {
            Ok(_) => Ok(project),
            Err(error) => {
                self.delete_project(&project).await?;
                Err(error)
            }
        }
    }

    /// A project with the files of a zip archive.
    pub async fn import_zip(&self, archive: Vec<u8>, name: Option<&str>) -> Result<ProjectId, ApiError> {
        let files = tokio::task::spawn_blocking(move || unpack(archive));
        let files = files.await.map_err(|error| ApiError::internal(error.to_string()))??;
        self.import_files(files, name, "Import of an archive").await
    }

    /// A project with the files of a folder: their paths begin with its name.
    pub async fn import_folder(&self, files: Vec<(String, Vec<u8>)>) -> Result<ProjectId, ApiError> {
        let name = files.first().and_then(|(path, _)| path.split_once('/')).map(|(folder, _)| folder.to_owned());
        let mut kept: Vec<Unpacked> = Vec::with_capacity(files.len());
        for (path, content) in files {
            if path.split('/').any(|part| LEFT_OUT.contains(&part)) {
                continue;
            }
            let path = clean_path(&path).map_err(|error| ApiError::invalid(error.to_string()))?;
            let executable = content.starts_with(b"#!");
            kept.push((path, content, executable));
        }
        if kept.len() > FILES_MAX {
            return Err(ApiError::new(ErrorCode::TooLarge, "The folder has more than 5,000 files."));
        }
        if kept.is_empty() {
            return Err(ApiError::invalid("The folder holds no files."));
        }
        without_outer_folder(&mut kept);
        self.import_files(kept, name.as_deref(), "Import of a folder").await
    }

    async fn import_files(
        &self,
        files: Vec<Unpacked>,
        name: Option<&str>,
        subject: &str,
    ) -> Result<ProjectId, ApiError> {
        let name = name.map(super::title).filter(|name| !name.is_empty()).unwrap_or_else(|| "Import".to_owned());
        let project = self.store.events().create_project(&name).await?;
        let put = async {
            self.sandbox.put_files(&project, files).await?;
            self.sandbox.checkpoint(&project, subject).await
        };
        match put.await {
            Ok(_) => Ok(project),
            Err(error) => {
                self.delete_project(&project).await?;
                Err(error.into())
            }
        }
    }
}

/// Reads an archive within bounds. A folder that holds everything, as archives of repositories have, is left off.
fn unpack(archive: Vec<u8>) -> Result<Vec<Unpacked>, ApiError> {
    let broken = |error: zip::result::ZipError| ApiError::invalid(format!("The archive cannot be read: {error}."));
    let too_large = || ApiError::new(ErrorCode::TooLarge, "The archive has more than 5,000 files or 256 MiB unpacked.");
    let mut zip = zip::ZipArchive::new(Cursor::new(archive)).map_err(broken)?;
    if zip.len() > FILES_MAX {
        return Err(too_large());
    }
    let mut files: Vec<Unpacked> = Vec::new();
    let mut total = 0;
    for at in 0..zip.len() {
        let entry = zip.by_index(at).map_err(broken)?;
        if entry.is_dir() || entry.is_symlink() {
            continue;
        }
        let path = clean_path(entry.name()).map_err(|error| ApiError::invalid(format!("{}: {error}", entry.name())))?;
        let executable = entry.unix_mode().is_some_and(|mode| mode & 0o111 != 0);
        let mut content = Vec::new();
        // What the archive says about sizes is not believed.
        let read = entry.take(BYTES_MAX - total + 1).read_to_end(&mut content);
        read.map_err(|error| ApiError::invalid(format!("{path} cannot be unpacked: {error}.")))?;
        total += content.len() as u64;
        if total > BYTES_MAX {
            return Err(too_large());
        }
        files.push((path, content, executable));
    }
    if files.is_empty() {
        return Err(ApiError::invalid("The archive holds no files."));
    }
    without_outer_folder(&mut files);
    Ok(files)
}

/// Leaves off a folder that holds everything.
fn without_outer_folder(files: &mut [Unpacked]) {
    let first = files.first().and_then(|(path, ..)| path.split_once('/')).map(|(folder, _)| format!("{folder}/"));
    if let Some(folder) = first.filter(|folder| files.iter().all(|(path, ..)| path.starts_with(folder.as_str()))) {
        for (path, ..) in files {
            path.drain(..folder.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (path, content) in files {
            zip.start_file(*path, zip::write::SimpleFileOptions::default().unix_permissions(0o755)).unwrap();
            zip.write_all(content.as_bytes()).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn an_archive_is_unpacked_without_the_folder_around_everything() {
        let got = unpack(zip_of(&[("app-main/a.txt", "a"), ("app-main/src/b.sh", "b")])).unwrap();
        let paths: Vec<(&str, bool)> = got.iter().map(|(path, _, x)| (path.as_str(), *x)).collect();
        assert_eq!(paths, [("a.txt", true), ("src/b.sh", true)]);
    }

    #[test]
    fn what_leads_out_or_is_no_archive_is_refused() {
        assert!(unpack(zip_of(&[("../../etc/passwd", "x")])).is_err());
        assert!(unpack(b"not a zip".to_vec()).unwrap_err().message.contains("cannot be read"));
        assert!(unpack(zip_of(&[])).is_err());
    }
}
