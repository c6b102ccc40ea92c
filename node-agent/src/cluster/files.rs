//! Files and folders, read again as often as asked; each file keeps its last good content.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use node_agent_engine::model::Delta;
use serde_json::Value;

use super::documents::{self, Document};
use super::reading::Reading;
use super::root::Root;
use super::still::Unsettled;
use super::union::{self, Key, Union};
use super::{Empty, Error, Notice, Options, Refusal, Refused};

/// The cluster as files tell it.
pub struct Files {
    roots: Vec<Root>,
    options: Options,
    /// By the place of its path among those given, then by name: later ones win.
    files: BTreeMap<(usize, PathBuf), File>,
    union: Union,
    twice: BTreeSet<(Key, PathBuf, PathBuf)>,
}

#[derive(Default)]
struct File {
    /// What was last taken in, good or not.
    seen: Option<Seen>,
    /// What is there instead, nothing included, until it has stood still.
    unsettled: Option<Unsettled<Option<Seen>>>,
    objects: Vec<Delta>,
    is_broken: bool,
}

impl File {
    /// Whether what is there now is another than what was last taken in, and has stood still.
    fn is_due(
        &mut self,
        there: Option<Seen>,
        written: Option<SystemTime>,
        now: SystemTime,
        reading: &mut Reading,
    ) -> bool {
        let before = self.unsettled.take();
        if self.seen == there {
            return false;
        }
        let unsettled = Unsettled::look(before, there, written, now);
        match unsettled.remaining(now) {
            Some(left) => {
                reading.wait(left);
                self.unsettled = Some(unsettled);
                false
            }
            None => {
                self.seen = unsettled.settled();
                true
            }
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Content(u64),
    Unreadable(io::ErrorKind),
}

impl Files {
    /// Reads everything for the first time.
    ///
    /// # Errors
    ///
    /// When a path or a file cannot be read, a file is neither YAML nor JSON, a path holds nothing and
    /// [`Empty::Fail`] is set, or an object is refused and [`Refused::Fail`] is set.
    pub fn open(paths: &[PathBuf], options: Options) -> Result<(Self, Reading), Error> {
        let roots = paths
            .iter()
            .map(|path| Root::new(path))
            .collect::<Result<_, _>>()?;
        let mut files = Self {
            roots,
            options,
            files: BTreeMap::new(),
            union: Union::new(),
            twice: BTreeSet::new(),
        };
        let mut notices = Vec::new();
        for index in 0..files.roots.len() {
            files.open_root(index, &mut notices)?;
        }
        let deltas = files.unite(&mut notices);
        let reading = Reading {
            deltas,
            notices,
            complete: true,
            again_in: None,
        };
        Ok((files, reading))
    }

    /// Reads everything again and gives what changed. A file without a good content keeps its last one, and so
    /// does one that was written or taken away so short a time before `now` that its writer may not be done.
    pub fn reload(&mut self, now: SystemTime) -> Reading {
        let mut reading = Reading {
            complete: true,
            ..Reading::default()
        };
        let mut is_changed = false;
        for index in 0..self.roots.len() {
            is_changed |= self.reload_root(index, now, &mut reading);
        }
        reading.complete &= self.files.values().all(|file| !file.is_broken);
        if is_changed {
            reading.deltas = self.unite(&mut reading.notices);
        }
        reading
    }

    /// Says whether there is not one object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.union.is_empty()
    }

    /// How many objects there are, namespaces known only from their objects included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.union.len()
    }

    fn open_root(&mut self, index: usize, notices: &mut Vec<Notice>) -> Result<(), Error> {
        let Some(root) = self.roots.get(index) else {
            return Ok(());
        };
        let unreadable = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Unreadable { path, source }
        };
        let found = root.list().map_err(unreadable(&root.path))?;
        let root = root.path.clone();
        let mut is_blank = true;
        for path in found {
            let bytes = fs::read(&path).map_err(unreadable(&path))?;
            let documents =
                documents::split(&path, &bytes).map_err(|message| Error::Malformed {
                    file: path.clone(),
                    message,
                })?;
            is_blank &= documents::is_blank(&bytes);
            let mut refusals = Vec::new();
            let objects = self.objects(&path, &documents, &mut refusals);
            match (self.options.refused, refusals.first()) {
                (Refused::Fail, Some(notice)) => {
                    let notice = Box::new(notice.clone());
                    return Err(Error::Refused { notice });
                }
                (Refused::Fail | Refused::Skip, _) => notices.extend(refusals),
            }
            let file = File {
                seen: Some(Seen::Content(fingerprint(&bytes))),
                objects,
                ..File::default()
            };
            self.files.insert((index, path), file);
        }
        match self.options.empty {
            Empty::Fail if is_blank => return Err(Error::Nothing { path: root }),
            Empty::Wait if is_blank => notices.push(Notice::Empty { path: root }),
            Empty::Fail | Empty::Wait => {}
        }
        Ok(())
    }

    /// Returns whether objects may have changed.
    fn reload_root(&mut self, index: usize, now: SystemTime, reading: &mut Reading) -> bool {
        let Some(root) = self.roots.get_mut(index) else {
            return false;
        };
        let found = match root.list() {
            Ok(found) => {
                root.unlisted = None;
                found
            }
            Err(error) => {
                reading.complete = false;
                let message = error.to_string();
                if root.unlisted.as_ref() != Some(&message) {
                    reading.notices.push(Notice::Unlisted {
                        path: root.path.clone(),
                        message: message.clone(),
                    });
                    root.unlisted = Some(message);
                }
                return false;
            }
        };
        let mut is_changed = false;
        let mut there = BTreeSet::new();
        for path in found {
            match fs::read(&path) {
                // Gone between listing and reading.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                content => is_changed |= self.reload_file(index, &path, content, now, reading),
            }
            there.insert(path);
        }
        is_changed | self.forget_vanished(index, &there, now, reading)
    }

    fn forget_vanished(
        &mut self,
        index: usize,
        there: &BTreeSet<PathBuf>,
        now: SystemTime,
        reading: &mut Reading,
    ) -> bool {
        let before = self.files.len();
        let given = self.roots.get(index).map(|root| root.path.clone());
        self.files.retain(|(root, path), file| {
            if *root != index || there.contains(path) {
                return true;
            }
            // It came and went before anything of it counted.
            if file.seen.is_none() {
                return false;
            }
            let goes = file.is_due(None, None, now, reading);
            if goes {
                reading.notices.push(Notice::Vanished {
                    file: path.clone(),
                    objects: file.objects.len(),
                    is_given: given.as_ref() == Some(path),
                });
            }
            !goes
        });
        self.files.len() != before
    }

    fn reload_file(
        &mut self,
        index: usize,
        path: &Path,
        content: io::Result<Vec<u8>>,
        now: SystemTime,
        reading: &mut Reading,
    ) -> bool {
        let key = (index, path.to_owned());
        let mut file = self.files.remove(&key).unwrap_or_default();
        let there = match &content {
            Ok(bytes) => Seen::Content(fingerprint(bytes)),
            Err(error) => Seen::Unreadable(error.kind()),
        };
        // Asked for after the content: a write in between makes it young.
        let written = fs::metadata(path).and_then(|metadata| metadata.modified());
        if !file.is_due(Some(there), written.ok(), now, reading) {
            self.files.insert(key, file);
            return false;
        }
        let documents = content
            .map_err(|error| error.to_string())
            .and_then(|bytes| readable(&bytes, path, file.objects.len()));
        let is_changed = documents.is_ok();
        match documents {
            Ok(documents) => {
                if file.is_broken {
                    reading.notices.push(Notice::Mended {
                        file: path.to_owned(),
                    });
                }
                file.is_broken = false;
                file.objects = self.objects(path, &documents, &mut reading.notices);
            }
            Err(message) => {
                file.is_broken = true;
                reading.notices.push(Notice::Broken {
                    file: path.to_owned(),
                    message,
                    kept: file.objects.len(),
                });
            }
        }
        self.files.insert(key, file);
        is_changed
    }

    fn objects(
        &self,
        path: &Path,
        documents: &[Document],
        notices: &mut Vec<Notice>,
    ) -> Vec<Delta> {
        let mut objects = Vec::new();
        for document in documents {
            let decoded = kubernetes_object(&document.value)
                .map_err(|refusal| vec![refusal])
                .and_then(|()| (self.options.decode)(&document.value));
            match decoded {
                Ok(deltas) => objects.extend(deltas),
                Err(refusals) => {
                    notices.extend(refusals.into_iter().map(|refusal| Notice::Refused {
                        file: path.to_owned(),
                        document: document.number,
                        refusal,
                    }));
                }
            }
        }
        objects
    }

    /// Puts the objects of all files together and gives what changed by it.
    fn unite(&mut self, notices: &mut Vec<Notice>) -> Vec<Delta> {
        let mut after = Union::new();
        let mut origin: BTreeMap<Key, &Path> = BTreeMap::new();
        let mut twice = BTreeSet::new();
        for ((_, path), file) in &self.files {
            for object in &file.objects {
                let key = Key::of(object);
                let other = after.insert(key.clone(), object.clone());
                let other_path = origin.insert(key.clone(), path);
                if other.is_some_and(|other| other != *object)
                    && let Some(other_path) = other_path
                {
                    twice.insert((key, path.clone(), other_path.to_owned()));
                }
            }
        }
        for new in twice.difference(&self.twice) {
            let (key, used, ignored) = new.clone();
            notices.push(Notice::Twice {
                object: key.shown(),
                used,
                ignored,
            });
        }
        self.twice = twice;
        union::add_implied_namespaces(&mut after);
        let deltas = union::difference(&self.union, &after);
        self.union = after;
        deltas
    }
}

/// Takes a content apart. Nothing at all where objects were is a file in the middle of being written: somebody
/// who means it deletes the file.
fn readable(bytes: &[u8], path: &Path, objects: usize) -> Result<Vec<Document>, String> {
    if objects > 0 && bytes.trim_ascii().is_empty() {
        return Err("is empty; delete it to remove its objects".to_owned());
    }
    documents::split(path, bytes)
}

pub(super) fn kubernetes_object(value: &Value) -> Result<(), Refusal> {
    let refusal = |field: &str, message: &str| Refusal {
        object: String::new(),
        field: field.to_owned(),
        rule: String::new(),
        message: format!("no Kubernetes object: {message}"),
    };
    if !value.is_object() {
        return Err(refusal("", "not a mapping"));
    }
    for field in ["apiVersion", "kind"] {
        if value.get(field).and_then(Value::as_str).is_none() {
            return Err(refusal(field, "missing"));
        }
    }
    Ok(())
}

fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
