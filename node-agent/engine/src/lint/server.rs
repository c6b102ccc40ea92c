//! The API server, which is neither a pod that selectors see nor at its Service's address: N17.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::Value;

use super::overlap::is_disjoint;
use super::policy::{NetPol, PlacedPeer};
use super::rule::{Peer, Peers, Rule};
use super::world::{KnownPod, Token, World, kind, text_at};
use super::{Check, Facts, Finding, Severity};
use crate::model::{Operator, Protocol, Selector};
use crate::record::Direction::Egress;

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    if facts.world.has_other_allowances() {
        return;
    }
    let server = Server::of(&facts.world);
    for policy in &facts.policies {
        let before = findings.len();
        for placed in policy.peers() {
            if placed.direction == Egress && !server.is_open_to(facts, policy) {
                findings.extend(server.by_selector(&facts.world, policy, &placed));
                findings.extend(server.by_address(policy, &placed));
            }
        }
        if findings.len() == before {
            findings.extend(server.forgotten(facts, policy));
        }
    }
}

/// Whether a selector looks for the API server's pods.
pub(super) fn means_server(pods: &Selector) -> bool {
    pods.requirements.iter().any(|requirement| {
        matches!(&requirement.operator, Operator::In(values)
            if values.iter().any(|value| value.contains("apiserver")))
    })
}

/// Where the API server is.
struct Server {
    /// The address of the Service `kubernetes`; empty when it is not known.
    service: Vec<IpAddr>,
    /// Where it really answers; empty when that is not known.
    endpoints: Vec<(IpAddr, u16)>,
}

impl Server {
    fn of(world: &World) -> Self {
        let is_it = |namespace: &str, name: &str| namespace == "default" && name == "kubernetes";
        let service = world
            .services()
            .filter(|service| is_it(&service.key.namespace, &service.key.name))
            .flat_map(|service| service.cluster_ips.iter().copied())
            .collect();
        let slices = world
            .slices
            .iter()
            .filter(|slice| is_it(&slice.key.namespace, &slice.service));
        let endpoints = slices
            .flat_map(|slice| {
                let ports: Vec<u16> = slice.ports.iter().map(|port| port.port).collect();
                slice
                    .ready
                    .iter()
                    .flat_map(move |ip| ports.clone().into_iter().map(move |port| (*ip, port)))
            })
            .collect();
        Self { service, endpoints }
    }

    /// Whether some egress rule leads to it from all that the policy selects: from one of each known pod's.
    fn is_open_to(&self, facts: &Facts<'_>, policy: &NetPol<'_>) -> bool {
        let leads =
            |other: &&NetPol<'_>| other.rules(Egress).iter().any(|rule| self.is_led_to(rule));
        let own = facts.policies_in(&policy.key.namespace);
        let opening: Vec<_> = own.filter(leads).collect();
        match facts.world.subjects(policy) {
            Some(pods) if !pods.is_empty() => pods
                .iter()
                .all(|pod| opening.iter().any(|other| pod.fits(&other.subject))),
            Some(_) | None => opening
                .iter()
                .any(|other| !is_disjoint(&other.subject, &policy.subject)),
        }
    }

    fn is_led_to(&self, rule: &Rule) -> bool {
        self.endpoints.iter().any(|(ip, port)| {
            rule.ports_have(*port, Protocol::Tcp)
                && match &rule.peers {
                    Peers::Any => true,
                    Peers::Of(peers) => peers.iter().any(|peer| has_address(peer, ip)),
                }
        })
    }

    /// By labels of its pods, which are on the host network.
    fn by_selector(
        &self,
        world: &World,
        policy: &NetPol<'_>,
        placed: &PlacedPeer<'_>,
    ) -> Option<Finding> {
        let Peer::Pods { namespaces, pods } = placed.peer else {
            return None;
        };
        if !means_server(pods) {
            return None;
        }
        let found = world.peer_pods(&policy.key.namespace, namespaces, pods);
        let has_own_network = |pods: Vec<&KnownPod>| pods.iter().any(|pod| pod.is_subject());
        if found.is_some_and(has_own_network) {
            return None;
        }
        Some(self.finding(
            policy,
            &placed.field,
            format!("{pods} selects the API server's pods, which are on the host network"),
            "selectors do not see such pods, so the API server is not reached by this rule",
        ))
    }

    /// By the address of its Service, or with the Service's port.
    fn by_address(&self, policy: &NetPol<'_>, placed: &PlacedPeer<'_>) -> Option<Finding> {
        let Peer::Block { cidr, .. } = placed.peer else {
            return None;
        };
        let is_single = |cidr: &IpNet| cidr.prefix_len() == cidr.max_prefix_len();
        if is_single(cidr) && self.service.iter().any(|ip| cidr.contains(ip)) {
            return Some(self.finding(
                policy,
                &placed.field,
                format!("{cidr} is the address of Service default/kubernetes"),
                "policy sees the API server's own address and port, so this rule does not reach it",
            ));
        }
        let (_, port) = self.endpoints.iter().find(|(ip, _)| cidr.contains(ip))?;
        let is_meant = is_single(cidr) && placed.rule.ports_have(443, Protocol::Tcp);
        (is_meant && *port != 443).then(|| {
            self.finding(
                policy,
                &placed.field,
                format!("443 is the port of Service default/kubernetes, the API server listens on {port}"),
                "policy sees the port after the Service's translation, so this rule does not reach it",
            )
        })
    }

    /// Pods with a token that no rule leads there; said once, by the first policy of theirs. The default account's
    /// token counts where the account has rights: every pod has that one.
    fn forgotten(&self, facts: &Facts<'_>, policy: &NetPol<'_>) -> Option<Finding> {
        if self.endpoints.is_empty() || policy.rules(Egress).is_empty() {
            return None;
        }
        let is_cut_off = |pod: &KnownPod| {
            let own = facts.policies_in(&policy.key.namespace);
            let mut theirs =
                own.filter(|other| !other.rules(Egress).is_empty() && pod.fits(&other.subject));
            let is_first = theirs
                .next()
                .is_some_and(|first| std::ptr::eq(first, policy));
            let leads = |other: &NetPol<'_>| {
                let mut rules = other.rules(Egress).iter();
                rules.any(|rule| self.is_led_to(rule))
            };
            is_first && !leads(policy) && !theirs.any(leads)
        };
        let pods = facts.world.subjects(policy)?;
        let has_rights = |pod: &KnownPod| facts.world.others.iter().any(|other| binds(other, pod));
        let is_talking = |pod: &KnownPod| match pod.token {
            Token::None => false,
            Token::Default => has_rights(pod),
            Token::Own => true,
        };
        let mut talking = pods
            .iter()
            .filter(|pod| pod.is_subject() && is_talking(pod));
        let pod = talking.find(|pod| is_cut_off(pod))?;
        let account = &pod.pod.service_account;
        let wrong = format!(
            "{} has a token of the account {account}, and no rule lets it reach the API server",
            pod.shown()
        );
        let effect = "if it talks to the API server, that fails";
        let mut finding = self.finding(policy, "spec.egress", wrong, effect);
        finding.severity = if has_rights(pod) {
            Severity::Error
        } else {
            Severity::Info
        };
        Some(finding)
    }

    fn finding(&self, policy: &NetPol<'_>, field: &str, wrong: String, effect: &str) -> Finding {
        let finding = policy.finding(Check::N17, Severity::Error, field, wrong, effect);
        match self.endpoints.first() {
            Some((ip, port)) => {
                let length = if ip.is_ipv4() { 32 } else { 128 };
                finding.with_fix(format!(
                    "write `to: [{{ipBlock: {{cidr: {ip}/{length}}}}}]` with `ports: [{{protocol: TCP, port: \
                     {port}}}]`, for each endpoint"
                ))
            }
            None => finding.with_fix(
                "write ipBlocks with what `kubectl get endpointslices -n default` shows for kubernetes, and its \
                 port, usually 6443",
            ),
        }
    }
}

fn has_address(peer: &Peer, ip: &IpAddr) -> bool {
    match peer {
        Peer::Block { cidr, except } => {
            cidr.contains(ip) && !except.iter().any(|hole| hole.contains(ip))
        }
        Peer::Pods { .. } => false,
    }
}

/// Whether a binding gives rights to a pod's account.
fn binds(object: &Value, pod: &KnownPod) -> bool {
    let namespace = text_at(object, &["metadata", "namespace"]).unwrap_or_default();
    let is_binding = kind(object).1.ends_with("RoleBinding");
    let subjects = object.get("subjects").and_then(Value::as_array);
    is_binding
        && subjects.into_iter().flatten().any(|subject| {
            let text = |field: &str| subject.get(field).and_then(Value::as_str);
            text("kind") == Some("ServiceAccount")
                && text("name") == Some(&*pod.pod.service_account)
                && text("namespace").unwrap_or(namespace) == &*pod.pod.key.namespace
        })
}
