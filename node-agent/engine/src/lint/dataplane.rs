//! What the network plugin does not enforce: N28.

use super::policy::NetPol;
use super::world::{KnownPod, World, kind, text_at, value_at};
use super::{Check, Facts, Finding, Severity};
use crate::model::{PortSpec, Protocol};

/// Plugins that enforce policies, by a part of their pods' names.
const ENFORCERS: [&str; 9] = [
    "calico",
    "canal",
    "cilium",
    "antrea",
    "kube-router",
    "weave",
    "ovnkube",
    "kube-network-policies",
    "kindnet",
];

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let world = &facts.world;
    let nobody = no_enforcer(world);
    let no_sctp = cilium_without_sctp(world);
    let weave = world.pods().any(|pod| is_called(pod, "weave-net"));
    for policy in &facts.policies {
        if nobody {
            findings.push(unenforced(policy));
        }
        for placed in policy.ports() {
            let told = |wrong: &str, effect: &str| {
                policy.finding(Check::N28, Severity::Info, &placed.field, wrong, effect)
            };
            if no_sctp && placed.port.protocol == Protocol::Sctp {
                findings.push(
                    told("Cilium runs without SCTP here", "this port is not allowed")
                        .with_fix("set `enable-sctp: \"true\"` in its configuration"),
                );
            }
            let is_range =
                matches!(placed.port.port, PortSpec::Range { first, last } if first != last);
            if weave && is_range {
                findings.push(told(
                    "Weave Net knows no endPort",
                    "only the first port is allowed",
                ));
            }
        }
    }
}

fn unenforced(policy: &NetPol<'_>) -> Finding {
    policy
        .finding(
            Check::N28,
            Severity::Info,
            "",
            "the cluster runs flannel, and nothing that enforces policies beside it",
            "the policy has no effect at all",
        )
        .with_fix(
            "add an enforcer such as kube-router or kube-network-policies, or change to Canal",
        )
}

/// Whether flannel is there and nothing that enforces; K3s and RKE2 have an enforcer inside.
fn no_enforcer(world: &World) -> bool {
    let has = |name: &str| world.pods().any(|pod| is_called(pod, name));
    let built_in = world.pods().any(|pod| {
        ["svclb-", "rke2-"]
            .iter()
            .any(|name| pod.pod.key.name.starts_with(name))
    });
    let is_k3s = world.nodes.iter().any(|node| {
        node.labels
            .keys()
            .any(|key| key.contains("k3s.io") || key.contains("rke2.io"))
    });
    has("flannel") && !ENFORCERS.iter().any(|name| has(name)) && !built_in && !is_k3s
}

fn is_called(pod: &KnownPod, name: &str) -> bool {
    pod.workload.1.contains(name) || pod.pod.key.name.contains(name)
}

fn cilium_without_sctp(world: &World) -> bool {
    let config = world.others.iter().find(|object| {
        kind(object).1 == "ConfigMap"
            && text_at(object, &["metadata", "name"]) == Some("cilium-config")
    });
    let sctp =
        config.map(|config| value_at(config, &["data", "enable-sctp"]).and_then(|v| v.as_str()));
    sctp.is_some_and(|sctp| sctp != Some("true"))
}
