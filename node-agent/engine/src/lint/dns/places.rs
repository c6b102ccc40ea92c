//! Where the cluster's DNS is, and whether a rule may lead there.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::lint::overlap::overlap;
use crate::lint::rule::{Peer, Peers, Port, Ports, Rule};
use crate::lint::world::{KnownPod, KnownService, NAME_LABEL, World};
use crate::model::{NamedPort, Namespace, NamespaceMatch, Operator, PortSpec, Protocol, Selector};

const NAMESPACES: [&str; 2] = ["kube-system", "openshift-dns"];
const SERVICES: [&str; 4] = [
    "kube-dns",
    "coredns",
    "rke2-coredns-rke2-coredns",
    "dns-default",
];
/// What DNS pods listen on when theirs are not known; the second is OpenShift's.
const PORTS: [u16; 2] = [53, 5353];
const NODE_LOCAL: &str = "169.254.20.10";
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// Where the cluster's DNS is.
pub(super) struct Dns<'a> {
    world: &'a World,
    /// Its pods; empty when they are not known.
    pods: Vec<&'a KnownPod>,
    /// Addresses at which it answers; empty when they are not known.
    addresses: Vec<IpAddr>,
    /// What its pods listen on.
    ports: Vec<u16>,
}

impl<'a> Dns<'a> {
    pub(super) fn of(world: &'a World) -> Self {
        let services: Vec<_> = world
            .services()
            .filter(|service| is_dns_service(service))
            .collect();
        let is_dns = |pod: &&KnownPod| {
            let served = services.iter().any(|service| service.selects(pod));
            NAMESPACES.contains(&&*pod.pod.key.namespace)
                && !pod.pod.host_network
                && (served || is_resolver(pod))
        };
        let pods: Vec<_> = world.pods().filter(is_dns).collect();
        let pod_ips = pods.iter().flat_map(|pod| pod.addresses());
        let service_ips = services.iter().flat_map(|service| &service.cluster_ips);
        let mut addresses: Vec<IpAddr> = pod_ips.chain(service_ips).copied().collect();
        let is_node_local = |pod: &KnownPod| has_app(pod, &["node-local-dns"]);
        if world.pods().any(is_node_local) {
            addresses.extend(NODE_LOCAL.parse::<IpAddr>());
        }
        Self {
            world,
            ports: ports_of(&pods),
            pods,
            addresses,
        }
    }

    /// The port that a rule has to name.
    pub(super) fn port(&self) -> u16 {
        self.ports.first().copied().unwrap_or(53)
    }

    /// A rule that allows DNS.
    pub(super) fn rule(&self) -> String {
        let namespace = self
            .pods
            .first()
            .map_or(NAMESPACES[0], |pod| &*pod.pod.key.namespace);
        let label = self
            .pods
            .first()
            .and_then(|pod| {
                pod.pod
                    .labels
                    .iter()
                    .find(|(key, _)| key.ends_with("k8s-app"))
            })
            .map_or_else(
                || "k8s-app: kube-dns".to_owned(),
                |(key, value)| format!("{key}: {value}"),
            );
        let port = self.port();
        format!(
            "- to: [{{namespaceSelector: {{matchLabels: {{{NAME_LABEL}: {namespace}}}}}, podSelector: \
             {{matchLabels: {{{label}}}}}}}]\n  ports: [{{protocol: UDP, port: {port}}}, {{protocol: TCP, \
             port: {port}}}]"
        )
    }

    /// Whether a rule of a policy in namespace `own` leads there, or may.
    pub(super) fn may_be_reached(&self, own: &str, rule: &Rule, protocol: Protocol) -> bool {
        let Some(port) = self.port_fits(&rule.ports, protocol) else {
            return false;
        };
        match &rule.peers {
            Peers::Any => true,
            Peers::Of(peers) => peers.iter().any(|peer| self.peer_fits(own, peer, port)),
        }
    }

    fn port_fits(&self, ports: &Ports, protocol: Protocol) -> Option<Meant> {
        let Ports::Of(ports) = ports else {
            return Some(Meant::Anything);
        };
        let fits = |port: &&Port| {
            port.protocol == protocol
                && match &port.port {
                    PortSpec::Any => true,
                    PortSpec::Range { first, last } => {
                        self.ports.iter().any(|port| (first..=last).contains(&port))
                    }
                    PortSpec::Named(name) if self.pods.is_empty() => name.contains("dns"),
                    PortSpec::Named(name) => self
                        .pods
                        .iter()
                        .any(|pod| pod.named(name).any(|port| port.protocol == protocol)),
                }
        };
        let is_wide = |port: &Port| match &port.port {
            PortSpec::Any => true,
            PortSpec::Range { first, last } => first != last,
            PortSpec::Named(_) => false,
        };
        let mut fitting = ports.iter().filter(fits).peekable();
        fitting.peek()?;
        Some(if fitting.all(is_wide) {
            Meant::Anything
        } else {
            Meant::Dns
        })
    }

    fn peer_fits(&self, own: &str, peer: &Peer, meant: Meant) -> bool {
        match peer {
            Peer::Pods { namespaces, pods } => {
                self.pods_fit(own, namespaces, pods)
                    || self.is_another(own, namespaces, pods, meant)
            }
            Peer::Block { cidr, except } => self.block_fits(cidr, except, meant),
        }
    }

    fn pods_fit(&self, own: &str, namespaces: &NamespaceMatch, pods: &Selector) -> bool {
        if self.pods.is_empty() {
            return NAMESPACES
                .iter()
                .any(|name| self.namespace_fits(own, name, namespaces));
        }
        self.pods.iter().any(|pod| {
            self.namespace_fits(own, &pod.pod.key.namespace, namespaces) && pod.fits(pods)
        })
    }

    /// Whether a namespace is among those meant; of one without an object only the name is known.
    fn namespace_fits(&self, own: &str, name: &str, namespaces: &NamespaceMatch) -> bool {
        let selector = match namespaces {
            NamespaceMatch::Own => return own == name,
            NamespaceMatch::Matching(selector) => selector,
        };
        if let Some(labels) = self.world.listed_labels(name) {
            return selector.matches(labels);
        }
        let labels = Namespace::known_by_name(&name.into()).labels;
        selector
            .requirements
            .iter()
            .all(|requirement| &*requirement.key != NAME_LABEL || requirement.matches(&labels))
    }

    /// Whether somebody runs a resolver of their own there: its pods say so, or the rule is for DNS and they are
    /// not known. Whoever asks for `kube-dns` means the cluster's.
    fn is_another(
        &self,
        own: &str,
        namespaces: &NamespaceMatch,
        pods: &Selector,
        meant: Meant,
    ) -> bool {
        match self.world.peer_pods(&own.into(), namespaces, pods) {
            Some(found) => found.iter().any(|pod| {
                !pod.pod.host_network && PORTS.iter().any(|port| pod.declares(*port, Protocol::Udp))
            }),
            None => {
                meant == Meant::Dns && !means_cluster_dns(pods) && !self.is_nowhere(own, namespaces)
            }
        }
    }

    /// Whether no namespace is meant at all, as N01 says.
    fn is_nowhere(&self, own: &str, namespaces: &NamespaceMatch) -> bool {
        let matched = self.world.peer_namespaces(&own.into(), namespaces);
        matched.is_some_and(|matched| matched.is_empty())
    }

    fn block_fits(&self, cidr: &IpNet, except: &[IpNet], meant: Meant) -> bool {
        let allows =
            |ip: &IpAddr| cidr.contains(ip) && !except.iter().any(|hole| hole.contains(ip));
        if meant == Meant::Dns || self.addresses.iter().any(allows) {
            return true;
        }
        if !self.addresses.is_empty() {
            return false;
        }
        let node_local = |ip: IpAddr| cidr.prefix_len() >= 16 && allows(&ip);
        let private = PRIVATE.iter().filter_map(|net| net.parse::<IpNet>().ok());
        let open =
            |net: IpNet| overlap(cidr, &net) && !except.iter().any(|hole| hole.contains(&net));
        NODE_LOCAL.parse().is_ok_and(node_local) || private.into_iter().any(open)
    }
}

fn is_dns_service(service: &KnownService) -> bool {
    NAMESPACES.contains(&&*service.key.namespace) && SERVICES.contains(&&*service.key.name)
}

/// Whether a pod of the system says that it answers DNS.
fn is_resolver(pod: &KnownPod) -> bool {
    has_app(pod, &["kube-dns", "coredns"])
        || pod
            .pod
            .labels
            .contains_key("dns.operator.openshift.io/daemonset-dns")
        || PORTS.iter().any(|port| pod.declares(*port, Protocol::Udp))
}

fn has_app(pod: &KnownPod, names: &[&str]) -> bool {
    let app = pod.pod.labels.get("k8s-app");
    app.is_some_and(|app| names.contains(&&**app))
}

/// What the cluster's DNS pods listen on; what is usual when they do not say.
fn ports_of(pods: &[&KnownPod]) -> Vec<u16> {
    let is_dns = |port: &&NamedPort| {
        port.protocol == Protocol::Udp
            && (port.name.starts_with("dns") || PORTS.contains(&port.port))
    };
    let declared = pods
        .iter()
        .flat_map(|pod| pod.pod.ports.iter())
        .filter(is_dns);
    let ports: Vec<u16> = declared.map(|port| port.port).collect();
    match (ports.is_empty(), pods.is_empty()) {
        (false, _) => ports,
        (true, true) => PORTS.to_vec(),
        (true, false) => vec![53],
    }
}

/// What a rule is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    /// Its ports are those of DNS.
    Dns,
    /// Its ports are many.
    Anything,
}

fn means_cluster_dns(pods: &Selector) -> bool {
    pods.requirements.iter().any(|requirement| {
        matches!(&requirement.operator, Operator::In(values)
            if values.iter().any(|value| ["kube-dns", "coredns"].contains(&&**value)))
    })
}
