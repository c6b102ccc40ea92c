//! Who enforces on this node, found out from what it leaves there: the CNI's configuration, interfaces, pods, and what
//! the Node's object says of itself.
//!
//! A sign may outlive whoever left it. Signs of several, like none, make nobody: what is open then is not claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use node_agent_engine::Profile;
use node_agent_engine::model::Node;
use serde_json::Value;

/// Where container runtimes look for the CNI's configuration.
const CONFIGURATION: &str = "/etc/cni/net.d";
/// The same in K3s, whose own controller for policies is kube-router's.
const CONFIGURATION_OF_K3S: &str = "/var/lib/rancher/k3s/agent/etc/cni/net.d";

/// The label of a Node that says what sort of machine it is: K3s says that it is K3s.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";

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
    /// The Node's object says that it is of K3s.
    pub is_node_of_k3s: bool,
}

/// Looks again and again: a CNI may be installed after the agent.
#[derive(Debug, Default)]
pub struct Finder {
    last: Option<Profile>,
}

impl Finder {
    /// Who is found, when that is another than before.
    pub fn look(&mut self, signs: &Signs) -> Option<Found> {
        let found = signs.found();
        let before = self.last.replace(found.profile);
        (before != Some(found.profile)).then_some(found)
    }
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
    pub fn read(
        interfaces: BTreeSet<Arc<str>>,
        daemon_sets: BTreeSet<Arc<str>>,
        node: Option<&Node>,
    ) -> Self {
        let usual = plugins(Path::new(CONFIGURATION));
        let (is_k3s, plugins) = match usual.is_empty() {
            true => (true, plugins(Path::new(CONFIGURATION_OF_K3S))),
            false => (false, usual),
        };
        let instance_type = node.and_then(|node| node.labels.get(INSTANCE_TYPE));
        Self {
            is_k3s: is_k3s && !plugins.is_empty(),
            plugins,
            interfaces,
            daemon_sets,
            is_node_of_k3s: instance_type.is_some_and(|is| **is == *"k3s"),
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
                let sign = format!("the CNI's configuration names {plugin}");
                note(who, profile, sign);
            }
        }
        // From within a pod K3s' own configuration is not seen. Any other sign says more.
        let (who, profile) = KUBE_ROUTER;
        if signs.is_empty()
            && self.is_node_of_k3s
            && let Some(name) = self.of_flannel()
        {
            let sign = format!("the node is of K3s, and there is an interface {name}");
            signs.insert(who, (profile, vec![sign]));
        }
        let said = |(who, (_, signs)): (&&str, &(Profile, Vec<String>))| match signs.as_slice() {
            [sign, ..] => format!("{who}: {sign}"),
            [] => (*who).to_owned(),
        };
        let all: Vec<_> = signs.iter().map(said).collect();
        let (profile, why) = match signs.values().next() {
            Some((profile, _)) if signs.len() == 1 => (*profile, all.concat()),
            Some(_) => {
                let open = format!(
                    "signs of several, {}: what they differ in is open",
                    all.join("; ")
                );
                (among(signs.values().map(|(profile, _)| *profile)), open)
            }
            None => (
                Profile::Generic,
                "no sign of an enforcer that is known".to_owned(),
            ),
        };
        Found { profile, why }
    }

    fn of_flannel(&self) -> Option<&str> {
        let mut names = self.interfaces.iter().map(|name| &**name);
        names.find(|name| {
            matches!(
                *name,
                "flannel.1" | "flannel-v6.1" | "flannel-wg" | "flannel-wg-v6"
            )
        })
    }
}

/// What stands for several: all that differs without Cilium is open where nothing is known, too.
fn among(mut profiles: impl Iterator<Item = Profile>) -> Profile {
    match profiles.any(|profile| profile == Profile::Cilium) {
        true => Profile::Disputed,
        false => Profile::Generic,
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
            is_node_of_k3s: false,
        }
    }

    #[test]
    fn a_node_of_k3s_says_so_itself() {
        let of_k3s = |signs: Signs| Signs {
            is_node_of_k3s: true,
            ..signs
        };
        for (interfaces, daemon_sets, profile, why) in [
            (
                &["cni0", "flannel.1"][..],
                &[][..],
                Profile::KubeRouter,
                "kube-router: the node is of K3s, and there is an interface flannel.1",
            ),
            (
                &["flannel-wg"],
                &[],
                Profile::KubeRouter,
                "kube-router: the node is of K3s, and there is an interface flannel-wg",
            ),
            (
                &["cni0"],
                &[],
                Profile::Generic,
                "no sign of an enforcer that is known",
            ),
            (
                &["flannel.1"],
                &["canal"],
                Profile::Calico,
                "Calico: DaemonSet canal has a pod here",
            ),
        ] {
            let signs = of_k3s(signs(&[], false, interfaces, daemon_sets));
            let found = signs.found();
            assert_eq!((found.profile, &*found.why), (profile, why), "{signs:?}");
        }
        let elsewhere = signs(&[], false, &["flannel.1"], &[]);
        assert_eq!(elsewhere.found().profile, Profile::Generic);
    }

    #[test]
    fn the_nodes_object_says_whether_it_is_of_k3s() {
        let node = |value: &str| Node {
            name: "node-1".into(),
            labels: [(Arc::from(INSTANCE_TYPE), Arc::from(value))].into(),
            ips: Vec::new(),
            pod_ranges: Vec::new(),
            tunnel_ips: Vec::new(),
        };
        for (node, wanted) in [
            (Some(node("k3s")), true),
            (Some(node("m5.large")), false),
            (None, false),
        ] {
            let signs = Signs::read(BTreeSet::new(), BTreeSet::new(), node.as_ref());
            assert_eq!(signs.is_node_of_k3s, wanted, "{node:?}");
        }
    }

    #[test]
    fn a_cni_that_comes_later_is_found_and_told_once() {
        let mut finder = Finder::default();
        let nobody = signs(&["bridge"], false, &[], &[]);
        let calico = |pods: &[&str]| signs(&["calico"], false, pods, &[]);
        let told = [
            &nobody,
            &nobody,
            &calico(&[]),
            &calico(&["cali0a1b2c3d4e5"]),
            &nobody,
        ]
        .map(|signs| finder.look(signs).map(|found| found.profile));
        let (generic, calico) = (Some(Profile::Generic), Some(Profile::Calico));
        assert_eq!(told, [generic, None, calico, None, generic]);
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
                Profile::Disputed,
                "signs of several, Cilium: there is an interface cilium_host; \
                 kube-router: the CNI's configuration names flannel: what they differ in is open",
            ),
            (
                signs(&["calico"], false, &["kube-bridge"], &[]),
                Profile::Generic,
                "signs of several, Calico: the CNI's configuration names calico; \
                 kube-router: there is an interface kube-bridge: what they differ in is open",
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
