//! Says when files may have changed; what changed is for the reader to find out.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Error;

/// How long it must be quiet after a change: writers write in several steps.
const QUIET: Duration = Duration::from_millis(50);
/// How long changes that never pause are waited for.
const LONGEST: Duration = Duration::from_millis(500);

/// Watches paths until dropped.
pub struct Watch {
    changes: mpsc::Receiver<()>,
    pending: Option<Pending>,
    _watcher: RecommendedWatcher,
}

struct Pending {
    since: Instant,
    due: Instant,
}

impl Watch {
    /// Begins to watch. A file is watched through the folder it lies in, because editors replace files.
    ///
    /// # Errors
    ///
    /// When the kernel gives no watch, most often because `fs.inotify.max_user_watches` is used up.
    pub fn start(paths: &[PathBuf]) -> Result<Self, Error> {
        let (sender, changes) = mpsc::channel(1);
        let unwatchable = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Unwatchable { path, source }
        };
        let first = paths.first().map_or(Path::new("."), PathBuf::as_path);
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if is_change(&event) {
                    // A full channel says the same already.
                    let _ = sender.try_send(());
                }
            })
            .map_err(unwatchable(first))?;
        for path in paths {
            if path.is_dir() {
                watcher
                    .watch(path, RecursiveMode::Recursive)
                    .map_err(unwatchable(path))?;
                continue;
            }
            for folder in folders_of(path) {
                watcher
                    .watch(&folder, RecursiveMode::NonRecursive)
                    .map_err(unwatchable(&folder))?;
            }
        }
        Ok(Self {
            changes,
            pending: None,
            _watcher: watcher,
        })
    }

    /// Waits until something may have changed and it has been quiet since. Nothing is forgotten when the
    /// future is dropped before it is done.
    pub async fn changed(&mut self) {
        loop {
            let Some(pending) = &mut self.pending else {
                if self.changes.recv().await.is_none() {
                    return std::future::pending().await;
                }
                let since = Instant::now();
                let due = since + QUIET;
                self.pending = Some(Pending { since, due });
                continue;
            };
            tokio::select! {
                () = tokio::time::sleep_until(pending.due) => {
                    self.pending = None;
                    return;
                }
                Some(()) = self.changes.recv() => {
                    pending.due = (Instant::now() + QUIET).min(pending.since + LONGEST);
                }
            }
        }
    }
}

/// The folder of a file, and that of the file a link leads to.
fn folders_of(file: &Path) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => path.to_owned(),
    };
    let mut folders = vec![parent(file)];
    if let Ok(target) = file.canonicalize() {
        folders.push(parent(&target));
    }
    folders.dedup();
    folders
}

/// Reading a file is no change; not knowing what happened is one.
fn is_change(event: &notify::Result<notify::Event>) -> bool {
    match event {
        Err(_) => true,
        Ok(event) if event.need_rescan() => true,
        Ok(event) => match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
            EventKind::Access(_) => false,
            EventKind::Any
            | EventKind::Create(_)
            | EventKind::Modify(_)
            | EventKind::Remove(_)
            | EventKind::Other => true,
        },
    }
}
