//! What is asked of the API server, in one table: the ClusterRole in `deploy/` grants exactly this.

use node_agent_engine::model::{Delta, ObjectKey, PolicyKey};

/// A kind of object that is watched.
#[derive(Debug)]
pub(super) struct Kind {
    /// Its name in an object.
    pub(super) kind: &'static str,
    /// API group; empty for the core group.
    pub(super) group: &'static str,
    /// The version of the API group that is read here; a server may have the kind in another.
    pub(super) version: &'static str,
    /// Its name in a path.
    pub(super) plural: &'static str,
    /// Whether its objects lie in namespaces.
    pub(super) scope: Scope,
    /// Whether every server has it.
    pub(super) presence: Presence,
    /// What part it plays when a claim is confirmed.
    pub(super) role: Role,
    /// Says that an object is gone.
    pub(super) gone: fn(&'static str, ObjectKey) -> Delta,
}

/// Where objects lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    Cluster,
    Namespaced,
}

/// Which servers have a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Every one since Kubernetes 1.21.
    Always,
    /// Those where it is installed, as a CustomResourceDefinition or by a server of its own; it may come and go.
    Installed,
}

/// What part a kind plays when a claim is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The pods that the claim is about are read.
    Pod,
    /// Their namespaces are read.
    Namespace,
    /// Those in their namespaces are listed, or all that are not in a namespace.
    Policy,
    /// Where it is about a Service, those in its namespace are listed; where it is about a stranger, all.
    Service,
    /// Where it is about a node, that is read; where it is about a stranger, all are listed.
    Node,
}

/// Everything that is watched.
pub(super) static KINDS: &[Kind] = &[
    Kind {
        kind: "Namespace",
        group: "",
        version: "v1",
        plural: "namespaces",
        scope: Scope::Cluster,
        presence: Presence::Always,
        role: Role::Namespace,
        gone: |_, key| Delta::NamespaceGone(key.name),
    },
    Kind {
        kind: "Node",
        group: "",
        version: "v1",
        plural: "nodes",
        scope: Scope::Cluster,
        presence: Presence::Always,
        role: Role::Node,
        gone: |_, key| Delta::NodeGone(key.name),
    },
    Kind {
        kind: "Pod",
        group: "",
        version: "v1",
        plural: "pods",
        scope: Scope::Namespaced,
        presence: Presence::Always,
        role: Role::Pod,
        gone: |_, key| Delta::PodGone(key),
    },
    Kind {
        kind: "Service",
        group: "",
        version: "v1",
        plural: "services",
        scope: Scope::Namespaced,
        presence: Presence::Always,
        role: Role::Service,
        gone: |_, key| Delta::ServiceGone(key),
    },
    Kind {
        kind: "EndpointSlice",
        group: "discovery.k8s.io",
        version: "v1",
        plural: "endpointslices",
        scope: Scope::Namespaced,
        presence: Presence::Always,
        role: Role::Service,
        gone: |_, key| Delta::EndpointSliceGone(key),
    },
    Kind {
        kind: "NetworkPolicy",
        group: "networking.k8s.io",
        version: "v1",
        plural: "networkpolicies",
        scope: Scope::Namespaced,
        presence: Presence::Always,
        role: Role::Policy,
        gone: policy_gone,
    },
    Kind {
        kind: "ClusterNetworkPolicy",
        group: "policy.networking.k8s.io",
        version: "v1alpha2",
        plural: "clusternetworkpolicies",
        scope: Scope::Cluster,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: policy_gone,
    },
    Kind {
        kind: "AdminNetworkPolicy",
        group: "policy.networking.k8s.io",
        version: "v1alpha1",
        plural: "adminnetworkpolicies",
        scope: Scope::Cluster,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: policy_gone,
    },
    Kind {
        kind: "BaselineAdminNetworkPolicy",
        group: "policy.networking.k8s.io",
        version: "v1alpha1",
        plural: "baselineadminnetworkpolicies",
        scope: Scope::Cluster,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: policy_gone,
    },
    Kind {
        kind: "NetworkPolicy",
        group: "crd.projectcalico.org",
        version: "v1",
        plural: "networkpolicies",
        scope: Scope::Namespaced,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: |_, key| policy_gone("NetworkPolicy.crd.projectcalico.org", key),
    },
    Kind {
        kind: "GlobalNetworkPolicy",
        group: "crd.projectcalico.org",
        version: "v1",
        plural: "globalnetworkpolicies",
        scope: Scope::Cluster,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: |_, key| policy_gone("GlobalNetworkPolicy.crd.projectcalico.org", key),
    },
    Kind {
        kind: "NetworkPolicy",
        group: "projectcalico.org",
        version: "v3",
        plural: "networkpolicies",
        scope: Scope::Namespaced,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: |_, key| policy_gone("NetworkPolicy.projectcalico.org", key),
    },
    Kind {
        kind: "GlobalNetworkPolicy",
        group: "projectcalico.org",
        version: "v3",
        plural: "globalnetworkpolicies",
        scope: Scope::Cluster,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: |_, key| policy_gone("GlobalNetworkPolicy.projectcalico.org", key),
    },
    Kind {
        kind: "CiliumNetworkPolicy",
        group: "cilium.io",
        version: "v2",
        plural: "ciliumnetworkpolicies",
        scope: Scope::Namespaced,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: policy_gone,
    },
    Kind {
        kind: "CiliumClusterwideNetworkPolicy",
        group: "cilium.io",
        version: "v2",
        plural: "ciliumclusterwidenetworkpolicies",
        scope: Scope::Cluster,
        presence: Presence::Installed,
        role: Role::Policy,
        gone: policy_gone,
    },
];

impl Kind {
    /// What metrics call its objects.
    pub(super) fn label(&self) -> &'static str {
        match (self.role, self.kind) {
            (Role::Pod, _) => "pod",
            (Role::Namespace, _) => "namespace",
            (Role::Service, "EndpointSlice") => "endpoint_slice",
            (Role::Service, _) => "service",
            (Role::Node, _) => "node",
            (Role::Policy, _) if self.group.ends_with("networking.k8s.io") => "policy",
            (Role::Policy, _) => "unsupported_policy",
        }
    }

    /// What `kubectl` takes for it: `pods`, or `networkpolicies.networking.k8s.io`.
    pub(super) fn resource(&self) -> String {
        match self.group {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// Whether its policies are evaluated, and not only noticed: what they say depends on their version.
    pub(super) fn is_evaluated(&self) -> bool {
        self.role == Role::Policy && self.label() == "policy"
    }

    /// `v1`, or `networking.k8s.io/v1`.
    pub(super) fn api_version(&self, version: &str) -> String {
        match self.group {
            "" => version.to_owned(),
            group => format!("{group}/{version}"),
        }
    }

    /// Where to look when the server has it and does not give it.
    pub(super) fn remedy(&self, version: &str) -> String {
        let group = self.group;
        format!("see `kubectl describe apiservice {version}.{group}`")
    }

    /// The path of all its objects.
    pub(super) fn path(&self, version: &str) -> String {
        let api = if self.group.is_empty() { "api" } else { "apis" };
        format!("/{api}/{}/{}", self.api_version(version), self.plural)
    }

    /// The path of its objects in a namespace, or of all.
    pub(super) fn path_in(&self, version: &str, namespace: &str) -> String {
        let all = self.path(version);
        match (self.scope, all.rsplit_once('/')) {
            (Scope::Namespaced, Some((api, plural))) if !namespace.is_empty() => {
                format!("{api}/namespaces/{namespace}/{plural}")
            }
            (Scope::Namespaced | Scope::Cluster, _) => all,
        }
    }

    /// What a ClusterRole must say for it, as YAML.
    pub(super) fn rule(&self) -> String {
        let group = self.group;
        let rules = self.grants().into_iter().map(|(resources, verbs)| {
            format!("- apiGroups: [\"{group}\"]\n  resources: [{resources}]\n  verbs: [{verbs}]")
        });
        rules.collect::<Vec<_>>().join("\n")
    }

    /// The same in one line, as whatever is logged is.
    pub(super) fn rule_in_a_line(&self) -> String {
        let group = self.group;
        let rules = self.grants().into_iter().map(|(resources, verbs)| {
            format!("- {{apiGroups: [\"{group}\"], resources: [{resources}], verbs: [{verbs}]}}")
        });
        rules.collect::<Vec<_>>().join(" and ")
    }

    /// Resources and verbs. Calico's own API server shows the policies of those tiers that one may get, and then only to who may
    /// do the same with the tier's (`apiserver/pkg/registry/projectcalico/authorizer/authorizer.go`).
    fn grants(&self) -> Vec<(String, &'static str)> {
        let Self { group, plural, .. } = self;
        let verbs = self.verbs();
        match *group {
            "projectcalico.org" => {
                vec![
                    (format!("{plural}, tier.{plural}"), verbs),
                    ("tiers".to_owned(), "get"),
                ]
            }
            _ => vec![((*plural).to_owned(), verbs)],
        }
    }

    fn verbs(&self) -> &'static str {
        match self.role {
            Role::Pod | Role::Namespace => "get, list, watch",
            Role::Policy | Role::Service | Role::Node => "list, watch",
        }
    }
}

fn policy_gone(kind: &'static str, key: ObjectKey) -> Delta {
    Delta::PolicyGone(PolicyKey {
        kind: kind.into(),
        namespace: key.namespace,
        name: key.name,
    })
}
