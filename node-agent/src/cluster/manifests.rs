//! The objects of files as they are written, with where each stands: for whoever looks at the writing itself.

use std::cell::OnceCell;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::documents::{self, Document};
use super::places::{Place, Places};
use super::root::Root;
use super::{Error, Notice};
use crate::shown::STDIN;

/// All objects of some files.
pub struct Manifests {
    files: Vec<File>,
    /// Which file and document each comes from.
    manifests: Vec<Manifest>,
    values: Vec<Value>,
}

/// Where an object comes from.
pub struct Manifest {
    file: usize,
    document: usize,
    path: String,
}

struct File {
    path: PathBuf,
    text: String,
    places: OnceCell<Places>,
}

impl Manifests {
    /// Reads files, folders, and standard input for `-`; what is no Kubernetes object is left out and said.
    ///
    /// # Errors
    ///
    /// When something cannot be read, is neither YAML nor JSON, or holds nothing.
    pub fn read(paths: &[PathBuf]) -> Result<(Self, Vec<Notice>), Error> {
        let mut read = Self {
            files: Vec::new(),
            manifests: Vec::new(),
            values: Vec::new(),
        };
        let mut notices = Vec::new();
        for path in paths {
            let before = read.files.len();
            if path.as_os_str() == STDIN {
                let mut bytes = Vec::new();
                io::stdin()
                    .read_to_end(&mut bytes)
                    .map_err(unreadable(path))?;
                read.add(path, bytes, &mut notices)?;
            } else {
                for file in Root::new(path)?.list().map_err(unreadable(path))? {
                    let bytes = fs::read(&file).map_err(unreadable(&file))?;
                    read.add(&file, bytes, &mut notices)?;
                }
            }
            let mut added = read.files.iter().skip(before);
            if added.all(|file| documents::is_blank(file.text.as_bytes())) {
                return Err(Error::Nothing { path: path.clone() });
            }
        }
        Ok((read, notices))
    }

    /// The objects, in the order of their files and documents.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The file that an object comes from, `-` for standard input.
    #[must_use]
    pub fn file(&self, object: usize) -> Option<&Path> {
        let manifest = self.manifests.get(object)?;
        Some(&self.files.get(manifest.file)?.path)
    }

    /// The number of the document that an object comes from, from 1.
    #[must_use]
    pub fn document(&self, object: usize) -> Option<usize> {
        Some(self.manifests.get(object)?.document)
    }

    /// Where a field of an object stands; absent when its file has no lines to speak of.
    #[must_use]
    pub fn place(&self, object: usize, field: &str) -> Option<Place> {
        let manifest = self.manifests.get(object)?;
        let file = self.files.get(manifest.file)?;
        let places = file
            .places
            .get_or_init(|| Places::of(&file.text, documents::options()));
        let path = match (manifest.path.as_str(), field) {
            ("", field) => field.to_owned(),
            (path, "") => path.to_owned(),
            (path, field) => format!("{path}.{field}"),
        };
        places.find(manifest.document, &path)
    }

    fn add(&mut self, path: &Path, bytes: Vec<u8>, notices: &mut Vec<Notice>) -> Result<(), Error> {
        let malformed = |message| Error::Malformed {
            file: path.to_owned(),
            message,
        };
        let documents = split(path, &bytes).map_err(malformed)?;
        let text = String::from_utf8(bytes).map_err(|error| malformed(error.to_string()))?;
        for Document {
            number,
            path: inside,
            value,
        } in documents
        {
            match super::files::kubernetes_object(&value) {
                Ok(()) => {
                    self.manifests.push(Manifest {
                        file: self.files.len(),
                        document: number,
                        path: inside,
                    });
                    self.values.push(value);
                }
                Err(refusal) => notices.push(Notice::Refused {
                    file: path.to_owned(),
                    document: number,
                    refusal,
                }),
            }
        }
        self.files.push(File {
            path: path.to_owned(),
            text,
            places: OnceCell::new(),
        });
        Ok(())
    }
}

/// Standard input has no name that tells: what begins with a brace is tried as JSON first, which is faster and
/// knows several objects one after another.
fn split(path: &Path, bytes: &[u8]) -> Result<Vec<Document>, String> {
    if path.as_os_str() == STDIN
        && bytes.trim_ascii_start().starts_with(b"{")
        && let Ok(documents) = documents::split(Path::new("stdin.json"), bytes)
    {
        return Ok(documents);
    }
    documents::split(path, bytes)
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Unreadable { path, source }
}
