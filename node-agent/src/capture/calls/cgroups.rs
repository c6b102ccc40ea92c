//! Which pod and container a cgroup is: kubelet and the container runtimes write both into its name.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node_agent_engine::Moment;

/// How long a cgroup that was not found is not looked for again, nanoseconds.
const LOOK_AGAIN_NS: u64 = 1_000_000_000;
/// The deepest that runtimes nest a container below the root.
const DEEPEST: usize = 12;

/// What a cgroup's path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// UID of the pod; of a static pod the one that kubelet gave it.
    pub(super) pod_uid: Option<Arc<str>>,
    /// The runtime's name of the container.
    pub(super) container: Option<Arc<str>>,
}

/// The cgroups below one, by their inodes.
pub(super) struct Cgroups {
    root: PathBuf,
    known: HashMap<u64, Place>,
    looked: Option<Moment>,
}

impl Cgroups {
    /// Looks at nothing yet.
    pub(super) fn below(root: PathBuf) -> Self {
        Self {
            root,
            known: HashMap::new(),
            looked: None,
        }
    }

    /// What is known of a cgroup; `None` for one that is gone.
    pub(super) fn find(&mut self, inode: u64, now: Moment) -> Option<Place> {
        let is_due = self
            .looked
            .is_none_or(|looked| now.since(looked) >= LOOK_AGAIN_NS);
        if !self.known.contains_key(&inode) && is_due {
            self.looked = Some(now);
            self.known.clear();
            let root = self.root.clone();
            self.walk(&root, &Place::default(), 0);
        }
        self.known.get(&inode).cloned()
    }

    fn walk(&mut self, folder: &Path, place: &Place, depth: usize) {
        if let Ok(found) = fs::metadata(folder) {
            self.known.insert(found.ino(), place.clone());
        }
        if depth == DEEPEST {
            return;
        }
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
            let name = entry.file_name();
            let inner = place.below(&name.to_string_lossy());
            self.walk(&entry.path(), &inner, depth + 1);
        }
    }
}

impl Place {
    /// The cgroup of this name in it: a pod, a container of that, or a part of either.
    fn below(&self, name: &str) -> Self {
        let mut inner = self.clone();
        if inner.pod_uid.is_none() {
            inner.pod_uid = pod_uid(name);
        } else if inner.container.is_none() {
            inner.container = container(name);
        }
        inner
    }
}

/// `pod0a1b…` or, with systemd, `kubepods-burstable-pod0a1b….slice`, dashes as underscores.
fn pod_uid(name: &str) -> Option<Arc<str>> {
    let name = name.strip_suffix(".slice").unwrap_or(name);
    let uid = name.get(name.rfind("pod")? + 3..)?.replace('_', "-");
    let is_uid = uid
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    (is_uid && (uid.len() == 32 || uid.len() == 36)).then(|| uid.into())
}

/// The 64 digits, or, with systemd, `cri-containerd-0a1b….scope`, `crio-…`, `docker-…`.
fn container(name: &str) -> Option<Arc<str>> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let id = name.rsplit('-').next()?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Paths as kubelet makes them with either driver, and runtimes below.
    #[test]
    fn names_tell_pod_and_container() {
        let uid = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
        let id = "0123456789abcdef".repeat(4);
        for (path, pod, is_container) in [
            (format!("kubepods/burstable/pod{uid}/{id}"), uid, true),
            (
                format!(
                    "kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{}.slice/cri-containerd-{id}.scope",
                    uid.replace('-', "_")
                ),
                uid,
                true,
            ),
            (format!("kubepods/pod{uid}/{id}/init.scope"), uid, true),
            (format!("kubepods/pod{uid}"), uid, false),
            (
                format!("kubepods/besteffort/pod{}", "ab".repeat(16)),
                &*"ab".repeat(16),
                false,
            ),
            (
                "kubepods.slice/kubepods-burstable.slice".to_owned(),
                "",
                false,
            ),
            (format!("system.slice/docker-{id}.scope"), "", false),
        ] {
            let place = path
                .split('/')
                .fold(Place::default(), |place, name| place.below(name));
            assert_eq!(place.pod_uid.as_deref().unwrap_or(""), pod, "{path}");
            let wanted = is_container.then_some(id.as_str());
            assert_eq!(place.container.as_deref(), wanted, "{path}");
        }
    }
}
