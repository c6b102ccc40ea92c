//! The API server that the cluster tests run against: etcd and kube-apiserver, built once from their Go modules.
//!
//! A tests' container engine or a registry is not needed, and the versions are ours to choose.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::recipe;
use crate::shell::{self, Lacking};

/// The release of etcd.
const ETCD: &str = "3.6.16";
/// The release of Kubernetes.
pub(crate) const KUBERNETES: &str = "1.35.4";
/// Where the modules lie while they are built.
pub(crate) const SOURCES: &str = "src";
/// What has to be there.
const PROGRAMS: [&str; 2] = ["etcd", "kube-apiserver"];

/// Finds the folder of both programs: `KUBEBUILDER_ASSETS`, else the tools' cache.
pub(crate) fn find() -> Option<PathBuf> {
    let found = match env::var_os("KUBEBUILDER_ASSETS") {
        Some(named) => Some(PathBuf::from(named)),
        None => folder(),
    };
    found.filter(|folder| is_complete(folder))
}

fn is_complete(folder: &Path) -> bool {
    PROGRAMS.iter().all(|name| folder.join(name).is_file())
}

/// Says what [`build`] makes.
pub(crate) fn title() -> String {
    format!("etcd {ETCD} and kube-apiserver {KUBERNETES}")
}

/// Gives the folder in the tools' cache; its name says everything that goes into it.
fn folder() -> Option<PathBuf> {
    let recipe = format!("kubernetes-{KUBERNETES}-etcd-{ETCD}-{}", env::consts::ARCH);
    recipe::tools_folder().map(|folder| folder.join(recipe))
}

/// Builds both programs into the tools' cache.
pub(crate) fn build() -> anyhow::Result<()> {
    let folder = folder().ok_or_else(no_cache)?;
    fill(&folder, is_complete, |part| {
        build_etcd(part)?;
        build_kubernetes(part, &["kube-apiserver"])
    })
}

/// Says that it is not known where the tools' cache is.
pub(crate) fn no_cache() -> Lacking {
    Lacking("neither NETVERDICT_TOOLS nor HOME is set".to_owned())
}

/// Fills a folder of the tools' cache. It is there when all that belongs into it is, and not before; whoever fills it at
/// the same time from another checkout is waited for.
pub(crate) fn fill(
    folder: &Path,
    is_complete: impl Fn(&Path) -> bool,
    build: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let beside = |ending: &str| {
        let mut name = folder.as_os_str().to_owned();
        name.push(ending);
        PathBuf::from(name)
    };
    if let Some(tools) = folder.parent() {
        fs::create_dir_all(tools).with_context(|| format!("make {}", tools.display()))?;
    }
    let lock = beside(".lock");
    let held = File::create(&lock).with_context(|| format!("make {}", lock.display()))?;
    held.lock()
        .with_context(|| format!("lock {}", lock.display()))?;
    if is_complete(folder) {
        return Ok(());
    }
    let part = beside(".part");
    if part.exists() {
        fs::remove_dir_all(&part).with_context(|| format!("remove {}", part.display()))?;
    }
    fs::create_dir_all(&part).with_context(|| format!("make {}", part.display()))?;
    build(&part)?;
    let sources = part.join(SOURCES);
    if sources.exists() {
        fs::remove_dir_all(&sources).with_context(|| format!("remove {}", sources.display()))?;
    }
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::rename(&part, folder).with_context(|| format!("name {}", folder.display()))
}

fn build_etcd(into: &Path) -> anyhow::Result<()> {
    let module = format!(
        "module netverdict.test/etcd\n\ngo 1.24.0\n\nrequire go.etcd.io/etcd/server/v3 v{ETCD}\n"
    );
    let program = into.join("etcd");
    go_build(
        into,
        &program,
        &module,
        &["go.etcd.io/etcd/server/v3"],
        "-s -w",
    )
}

/// Kubernetes' own module takes its parts from folders beside it; from outside, each is a module of its own.
pub(crate) fn build_kubernetes(into: &Path, programs: &[&str]) -> anyhow::Result<()> {
    let theirs = download(into, &format!("k8s.io/kubernetes@v{KUBERNETES}"), "GoMod")?;
    let theirs =
        fs::read_to_string(&theirs).with_context(|| format!("read {}", theirs.display()))?;
    let parts = KUBERNETES.strip_prefix("1.").unwrap_or(KUBERNETES);
    let staged = theirs
        .lines()
        .take_while(|line| !line.starts_with("replace"))
        .filter_map(|line| line.trim().strip_suffix(" v0.0.0"))
        .map(|name| format!("\t{name} => {name} v0.{parts}\n"));
    let go = theirs
        .lines()
        .find(|line| line.starts_with("go "))
        .unwrap_or("go 1.25.0");
    let module = format!(
        "module netverdict.test/kubernetes\n\n{go}\n\nrequire k8s.io/kubernetes v{KUBERNETES}\n\nreplace (\n{})\n",
        staged.collect::<String>()
    );
    let version = "k8s.io/component-base/version";
    let minor = parts.split('.').next().unwrap_or_default();
    let flags = format!(
        "-s -w -X {version}.gitVersion=v{KUBERNETES} -X {version}.gitMajor=1 -X {version}.gitMinor={minor}"
    );
    let package = |program: &&str| format!("k8s.io/kubernetes/cmd/{program}");
    let packages: Vec<_> = programs.iter().map(package).collect();
    let packages: Vec<_> = packages.iter().map(String::as_str).collect();
    // To a folder that is there, each program goes under its own name.
    go_build(into, into, &module, &packages, &flags)
}

/// Fetches a module of that version, and gives where something of it is: its `GoMod`, its `Dir`.
pub(crate) fn download(folder: &Path, module: &str, what: &str) -> anyhow::Result<PathBuf> {
    let output = go(folder)
        .args(["mod", "download", "-json", module])
        .output()
        .context("start go")?;
    let told: serde_json::Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("read what `go mod download {module}` says"))?;
    match told.get(what).and_then(serde_json::Value::as_str) {
        Some(path) => Ok(PathBuf::from(path)),
        None => bail!("cannot get {module}: {told}"),
    }
}

/// Builds packages of the modules that a module requires.
pub(crate) fn go_build(
    part: &Path,
    output: &Path,
    module: &str,
    packages: &[&str],
    link_flags: &str,
) -> anyhow::Result<()> {
    let folder = part.join(SOURCES);
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for (name, text) in [("go.mod", module), ("go.sum", "")] {
        fs::write(folder.join(name), text).with_context(|| format!("write {name}"))?;
    }
    shell::run(
        go(&folder)
            .args(["build", "-mod=mod", "-trimpath", "-ldflags", link_flags])
            .arg("-o")
            .arg(output)
            .args(packages),
    )
}

fn go(folder: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(folder).env("CGO_ENABLED", "0");
    command.env_remove("GOFLAGS");
    command
}
