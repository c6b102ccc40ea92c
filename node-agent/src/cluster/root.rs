//! The paths that the user gave, and the files they lead to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::Error;

/// How deep folders may lie in folders: a link that leads back up ends here.
const DEEPEST: usize = 16;

/// A path that the user gave.
pub(super) struct Root {
    /// The path.
    pub(super) path: PathBuf,
    kind: RootKind,
    /// What kept it from being listed, as last said.
    pub(super) unlisted: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RootKind {
    File,
    Folder,
}

impl Root {
    /// Looks at a path for the first time.
    ///
    /// # Errors
    ///
    /// When it is not there, or neither a file nor a folder.
    pub(super) fn new(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(|source| Error::Unreadable {
            path: path.to_owned(),
            source,
        })?;
        let kind = if metadata.is_dir() {
            RootKind::Folder
        } else if metadata.is_file() {
            RootKind::File
        } else {
            let path = path.to_owned();
            return Err(Error::Special { path });
        };
        Ok(Self {
            path: path.to_owned(),
            kind,
            unlisted: None,
        })
    }

    /// The files that are there now, in the order of their paths.
    pub(super) fn list(&self) -> io::Result<Vec<PathBuf>> {
        match self.kind {
            RootKind::File => match fs::metadata(&self.path) {
                Ok(_) => Ok(vec![self.path.clone()]),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
                Err(error) => Err(error),
            },
            RootKind::Folder => {
                let mut found = Vec::new();
                walk(&self.path, DEEPEST, &mut found)?;
                found.sort();
                Ok(found)
            }
        }
    }
}

/// Collects the files of a folder. Hidden names are left out: editors' swap files, and the folders behind
/// the links of a mounted ConfigMap (`..data`), whose files are seen through their links already.
fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() && depth > 0 {
            walk(&path, depth - 1, found)?;
        } else if metadata.is_file() && has_our_extension(&path) {
            found.push(path);
        }
    }
    Ok(())
}

fn has_our_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        ["yaml", "yml", "json"]
            .iter()
            .any(|ours| extension.eq_ignore_ascii_case(ours))
    })
}
