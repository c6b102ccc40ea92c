//! Who enforces on this node, found out from what it leaves there: the CNI's configuration, interfaces, and pods.
//!
//! A sign may outlive whoever left it. Signs of several, like none, make nobody: what the specification leaves open is
//! not claimed then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node_agent_engine::Profile;
use serde_json::Value;

/// Where container runtimes look for the CNI's configuration.
const CONFIGURATION: &str = "/etc/cni/net.d";
/// The same in K3s, whose own controller for policies is kube-router's.
const CONFIGURATION_OF_K3S: &str = "/var/lib/rancher/k3s/agent/etc/cni/net.d";

/// What can be seen of who enforces.
#[derive(Debug, Default)]
pub struct Signs {
    /// Types of the plugins in the CNI's configuration.
    pub plugins: BTreeSet<String>,
    /// The configuration is K3s' own.
    pub is_k3s: bool,
    /// Names of the node's interfaces.
    pub interfaces: BTreeSet<Arc<str>>,
    /// Names of the DaemonSets that have a pod on the node.
    pub daemon_sets: BTreeSet<Arc<str>>,
}

/// Who enforces, and how that is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Who.
    pub profile: Profile,
    /// Why, for people.
    pub why: String,
}

impl Signs {
    /// Reads the configuration of the CNI, as far as it can be read.
    #[must_use]
    pub fn read(interfaces: BTreeSet<Arc<str>>, daemon_sets: BTreeSet<Arc<str>>) -> Self {
        let usual = plugins(Path::new(CONFIGURATION));
        let (is_k3s, plugins) = match usual.is_empty() {
            true => (true, plugins(Path::new(CONFIGURATION_OF_K3S))),
            false => (false, usual),
        };
        Self {
            is_k3s: is_k3s && !plugins.is_empty(),
            plugins,
            interfaces,
            daemon_sets,
        }
    }

    /// Says who they are signs of.
    #[must_use]
    pub fn found(&self) -> Found {
        let mut signs: BTreeMap<&str, (Profile, Vec<String>)> = BTreeMap::new();
        let mut note = |name, profile, sign: String| {
            let (_, signs) = signs.entry(name).or_insert((profile, Vec::new()));
            signs.push(sign);
        };
        for name in &self.daemon_sets {
            if let Some((who, profile)) = of_daemon_set(name) {
                note(who, profile, format!("DaemonSet {name} has a pod here"));
            }
        }
        for name in &self.interfaces {
            if let Some((who, profile)) = of_interface(name) {
                note(who, profile, format!("there is an interface {name}"));
            }
        }
        for plugin in &self.plugins {
            if let Some((who, profile)) = of_plugin(plugin, self.is_k3s) {
                note(
                    who,
                    profile,
                    format!("the CNI's configuration names {plugin}"),
                );
            }
        }
        let said = |(who, (_, signs)): (&&str, &(Profile, Vec<String>))| match signs.as_slice() {
            [sign, ..] => format!("{who}: {sign}"),
            [] => (*who).to_owned(),
        };
        let all: Vec<_> = signs.iter().map(said).collect();
        match signs.values().next() {
            Some((profile, _)) if signs.len() == 1 => Found {
                profile: *profile,
                why: all.concat(),
            },
            Some(_) => Found {
                profile: Profile::Generic,
                why: format!("signs of several, {}", all.join("; ")),
            },
            None => Found {
                profile: Profile::Generic,
                why: "no sign of an enforcer that is known".to_owned(),
            },
        }
    }
}

type Enforcer = (&'static str, Profile);

const CALICO: Enforcer = ("Calico", Profile::Calico);
const CILIUM: Enforcer = ("Cilium", Profile::Cilium);
const KUBE_ROUTER: Enforcer = ("kube-router", Profile::KubeRouter);

fn of_daemon_set(name: &str) -> Option<Enforcer> {
    match name {
        "calico-node" | "canal" | "rke2-canal" => Some(CALICO),
        "cilium" => Some(CILIUM),
        "kube-router" => Some(KUBE_ROUTER),
        _ => None,
    }
}

fn of_interface(name: &str) -> Option<Enforcer> {
    let is_pod_of_calico =
        |rest: &str| rest.len() == 11 && rest.bytes().all(|letter| letter.is_ascii_hexdigit());
    match name {
        "cilium_host" => Some(CILIUM),
        "vxlan.calico" => Some(CALICO),
        "kube-bridge" => Some(KUBE_ROUTER),
        name if name.strip_prefix("cali").is_some_and(is_pod_of_calico) => Some(CALICO),
        _ => None,
    }
}

fn of_plugin(kind: &str, is_k3s: bool) -> Option<Enforcer> {
    match kind {
        "calico" => Some(CALICO),
        "cilium-cni" => Some(CILIUM),
        "flannel" if is_k3s => Some(KUBE_ROUTER),
        _ => None,
    }
}

/// The plugins of the configuration that counts: the first by name.
fn plugins(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        .filter(|path| {
            let ending = path.extension().and_then(|ending| ending.to_str());
            matches!(ending, Some("conf" | "conflist" | "json"))
        })
        .collect();
    files.sort_unstable();
    let first = files.first().and_then(|file| fs::read(file).ok());
    let read: Value = first
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let listed = read.get("plugins").and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .chain([&read])
        .filter_map(|plugin| plugin.get("type")?.as_str())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signs(plugins: &[&str], is_k3s: bool, interfaces: &[&str], daemon_sets: &[&str]) -> Signs {
        let names = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
        Signs {
            plugins: plugins.iter().map(|name| (*name).to_owned()).collect(),
            is_k3s,
            interfaces: names(interfaces),
            daemon_sets: names(daemon_sets),
        }
    }

    #[test]
    fn each_sign_stands_for_its_enforcer_and_several_for_nobody() {
        for (signs, profile, why) in [
            (
                signs(
                    &[],
                    false,
                    &["lo", "eth0", "calico", "cali0"],
                    &["node-exporter"],
                ),
                Profile::Generic,
                "no sign of an enforcer that is known",
            ),
            (
                signs(&["bridge", "portmap"], false, &[], &[]),
                Profile::Generic,
                "no sign of an enforcer that is known",
            ),
            (
                signs(
                    &["calico", "portmap"],
                    false,
                    &["cali0a1b2c3d4e5"],
                    &["calico-node"],
                ),
                Profile::Calico,
                "Calico: DaemonSet calico-node has a pod here",
            ),
            (
                signs(&["calico", "flannel"], false, &[], &["canal"]),
                Profile::Calico,
                "Calico: DaemonSet canal has a pod here",
            ),
            (
                signs(&[], false, &["cilium_host"], &[]),
                Profile::Cilium,
                "Cilium: there is an interface cilium_host",
            ),
            (
                signs(&["cilium-cni"], true, &[], &[]),
                Profile::Cilium,
                "Cilium: the CNI's configuration names cilium-cni",
            ),
            (
                signs(&["flannel", "portmap"], true, &["cni0"], &[]),
                Profile::KubeRouter,
                "kube-router: the CNI's configuration names flannel",
            ),
            (
                signs(&["flannel"], false, &["cni0"], &[]),
                Profile::Generic,
                "no sign of an enforcer that is known",
            ),
            (
                signs(&["flannel"], true, &["cilium_host"], &[]),
                Profile::Generic,
                "signs of several, Cilium: there is an interface cilium_host; \
                 kube-router: the CNI's configuration names flannel",
            ),
        ] {
            let found = signs.found();
            assert_eq!((found.profile, &*found.why), (profile, why), "{signs:?}");
        }
    }

    #[test]
    fn the_first_configuration_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write("00-notes.txt", "{\"type\": \"calico\"}");
        write(
            "05-cilium.conflist",
            "{\"plugins\": [{\"type\": \"cilium-cni\"}]}",
        );
        write("10-calico.conf", "{\"type\": \"calico\"}");
        assert_eq!(
            plugins(folder.path()),
            BTreeSet::from(["cilium-cni".to_owned()])
        );
        write("05-cilium.conflist", "no JSON");
        assert_eq!(plugins(folder.path()), BTreeSet::new());
        assert_eq!(plugins(&folder.path().join("missing")), BTreeSet::new());
    }
}
