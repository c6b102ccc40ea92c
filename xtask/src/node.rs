//! What a node of a cluster consists of, for the tests that run a whole one: Kubernetes' own parts built from its
//! module, the container runtime and its network plugins out of Debian's packages.
//!
//! The packages are unpacked and not installed: nothing of this machine's is replaced, and nothing is started.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::debian::Archive;
use crate::recipe;
use crate::servers::{self, KUBERNETES};

/// The release of Debian that the packages are of; newer ones run them, too.
const RELEASE: &str = "bookworm";
const PACKAGES: [&str; 3] = ["containerd", "runc", "containernetworking-plugins"];
/// What is built.
const KUBERNETES_PARTS: [&str; 5] = [
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "kubectl",
];
/// What of the packages is used, by its place in them.
const PACKAGED: [&str; 7] = [
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/bin/ctr",
    "usr/sbin/runc",
    "usr/lib/cni/bridge",
    "usr/lib/cni/host-local",
    "usr/lib/cni/loopback",
];

/// Finds the folder of all of it in the tools' cache.
pub(crate) fn find() -> Option<PathBuf> {
    folder().filter(|folder| is_complete(folder))
}

/// Says what [`build`] makes.
pub(crate) fn title() -> String {
    format!("a node of Kubernetes {KUBERNETES} with containerd")
}

/// Tells whether this machine can make it.
pub(crate) fn can_be_built() -> bool {
    let is_there = |program: &str| recipe::find_in_path(program).is_some();
    env::consts::ARCH == "x86_64" && ["go", "apt-get", "dpkg"].into_iter().all(is_there)
}

fn folder() -> Option<PathBuf> {
    let recipe = format!("node-{KUBERNETES}-{RELEASE}-{}", env::consts::ARCH);
    recipe::tools_folder().map(|folder| folder.join(recipe))
}

fn is_complete(folder: &Path) -> bool {
    let packaged = PACKAGED
        .into_iter()
        .filter_map(|path| path.rsplit('/').next());
    let mut names = KUBERNETES_PARTS.into_iter().chain(packaged);
    names.all(|name| folder.join(name).is_file())
}

/// Builds and unpacks all of it into the tools' cache.
pub(crate) fn build() -> anyhow::Result<()> {
    let folder = folder().ok_or_else(servers::no_cache)?;
    servers::fill(&folder, is_complete, |part| {
        unpack(part)?;
        servers::build_kubernetes(part, &KUBERNETES_PARTS)
    })
}

fn unpack(part: &Path) -> anyhow::Result<()> {
    let work = part.join("apt");
    let unpacked = work.join("unpacked");
    let archive = Archive::open(work, RELEASE)?;
    archive.unpack(&PACKAGES, &unpacked)?;
    for path in PACKAGED {
        let name = path.rsplit('/').next().unwrap_or(path);
        fs::rename(unpacked.join(path), part.join(name)).with_context(|| format!("keep {path}"))?;
    }
    archive.close()
}
