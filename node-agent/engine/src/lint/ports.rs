//! Ports that are not the destination's: N08, N14, N26.

use std::cell::OnceCell;
use std::collections::BTreeSet;

use super::overlap::covers;
use super::path::at;
use super::policy::{NetPol, PlacedPort};
use super::rule::{Peer, Peers};
use super::world::{KnownPod, KnownService, Target, World};
use super::{Check, Facts, Finding, Severity};
use crate::model::{PortSpec, Protocol, Selector};
use crate::record::Direction;

/// Ports of which a pod that has both protocols serves UDP first.
const UDP_FIRST: [u16; 3] = [53, 123, 514];

/// Ports where somebody who leaves out the protocol hardly means TCP.
const UDP_PORTS: [u16; 14] = [
    53, 67, 68, 69, 123, 161, 162, 500, 514, 1194, 1812, 4500, 4789, 51820,
];

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for policy in &facts.policies {
        for placed in policy.ports() {
            let place = PortPlace {
                world: &facts.world,
                policy,
                placed,
                destinations: OnceCell::new(),
            };
            findings.extend(place.check());
        }
    }
}

/// The pods that the port is one of, one of each kind; none when they are not known, or not pods alone.
fn destinations<'a>(
    world: &'a World,
    policy: &NetPol<'_>,
    placed: &PlacedPort<'_>,
) -> Option<Vec<&'a KnownPod>> {
    let pods = match placed.direction {
        Direction::Ingress => world.subjects(policy)?,
        Direction::Egress => {
            let Peers::Of(peers) = &placed.rule.peers else {
                return None;
            };
            let mut pods = Vec::new();
            for peer in peers {
                let Peer::Pods {
                    namespaces,
                    pods: selector,
                } = peer
                else {
                    return None;
                };
                pods.extend(world.peer_pods(&policy.key.namespace, namespaces, selector)?);
            }
            pods
        }
    };
    let subjects: Vec<_> = pods
        .into_iter()
        .filter(|pod| !pod.pod.host_network)
        .collect();
    (!subjects.is_empty()).then_some(subjects)
}

struct PortPlace<'a> {
    world: &'a World,
    policy: &'a NetPol<'a>,
    placed: PlacedPort<'a>,
    /// Looked for when a check asks.
    destinations: OnceCell<Option<Vec<&'a KnownPod>>>,
}

impl PortPlace<'_> {
    fn check(&self) -> Option<Finding> {
        match &self.placed.port.port {
            PortSpec::Named(name) => self.unknown_name(name),
            PortSpec::Range { first, last } if first == last => self
                .service_port(*first)
                .or_else(|| self.without_protocol(*first)),
            PortSpec::Range { .. } | PortSpec::Any => None,
        }
    }

    fn destinations(&self) -> Option<&[&KnownPod]> {
        let found = self
            .destinations
            .get_or_init(|| destinations(self.world, self.policy, &self.placed));
        found.as_deref()
    }

    fn protocol(&self) -> Protocol {
        self.placed.port.protocol
    }

    /// N08.
    fn service_port(&self, number: u16) -> Option<Finding> {
        let services = match self.destinations() {
            Some(pods) => self.services_by_pods(pods, number)?,
            None => self.services_by_labels(number)?,
        };
        let (service, targets) = services;
        let finding = self.policy.finding(
            Check::N08,
            Severity::Error,
            format!("{}.port", self.placed.field),
            format!(
                "{number} is the port of {}, its pods listen on {targets}",
                service.shown()
            ),
            "policy sees the pod's port, after the Service's translation, so this port is never used",
        );
        Some(finding.with_fix(match targets.contains(' ') {
            true => format!("write the port of the pods that are meant: {targets}"),
            false => format!("write `port: {targets}`"),
        }))
    }

    /// A Service with that port, and the pods' own port; none when some pod listens on the number.
    fn services_by_pods(&self, pods: &[&KnownPod], number: u16) -> Option<(&KnownService, String)> {
        if pods.iter().any(|pod| pod.declares(number, self.protocol())) {
            return None;
        }
        let mut found = None;
        let mut targets = BTreeSet::new();
        for pod in pods {
            for service in self.world.services_of(pod) {
                for port in service
                    .ports
                    .iter()
                    .filter(|port| port.protocol == self.protocol())
                {
                    if port.target.numbers(pod).contains(&number) {
                        return None;
                    }
                    if port.port == number {
                        found = Some(service);
                        targets.extend(port.target.numbers(pod));
                    }
                }
            }
        }
        let service = found?;
        // Whoever writes both ports knows, or is on the safe side.
        let is_open = |target: &u16| self.placed.rule.ports_have(*target, self.protocol());
        (!targets.iter().all(is_open)).then(|| {
            let targets = targets.iter().map(u16::to_string).collect();
            (service, joined(&targets))
        })
    }

    /// The same where pods are not known: a Service that sends to all the pods which the policy selects.
    fn services_by_labels(&self, number: u16) -> Option<(&KnownService, String)> {
        let subject = match self.placed.direction {
            Direction::Ingress => &self.policy.subject,
            Direction::Egress => return None,
        };
        let sends = |selector: &Selector| covers(selector, subject);
        let own = self.world.services_in(&self.policy.key.namespace);
        let services = own
            .iter()
            .filter(|service| service.selector.as_ref().is_some_and(sends));
        let mut found = None;
        for service in services {
            for port in service
                .ports
                .iter()
                .filter(|port| port.protocol == self.protocol())
            {
                match &port.target {
                    Target::Number(target) if *target == number => return None,
                    Target::Number(target)
                        if self.placed.rule.ports_have(*target, port.protocol) => {}
                    Target::Number(target) if port.port == number => {
                        found = Some((service, target.to_string()));
                    }
                    Target::Number(_) => {}
                    Target::Name(_) => return None,
                }
            }
        }
        found
    }

    /// N14.
    fn unknown_name(&self, name: &str) -> Option<Finding> {
        let protocol = self.protocol();
        let wrong = match self.destinations() {
            Some(pods) => {
                if pods
                    .iter()
                    .any(|pod| pod.named(name).any(|port| port.protocol == protocol))
                {
                    return None;
                }
                self.not_there(name, pods)
            }
            None if self.leads_outside_only() => {
                format!("`{name}` is a port's name, and addresses have none")
            }
            None => return None,
        };
        let finding = self.policy.finding(
            Check::N14,
            Severity::Error,
            format!("{}.port", self.placed.field),
            wrong,
            "a name is looked up on the destination pod with its protocol, so this port is never matched",
        );
        Some(finding.with_fix("write the number, or the name that the container gives its port"))
    }

    fn not_there(&self, name: &str, pods: &[&KnownPod]) -> String {
        let protocol = self.protocol();
        let other: BTreeSet<String> = pods
            .iter()
            .flat_map(|pod| pod.named(name))
            .map(|port| port.protocol.to_string())
            .collect();
        if !other.is_empty() {
            return format!("port `{name}` is {} there, not {protocol}", joined(&other));
        }
        let names: BTreeSet<String> = pods
            .iter()
            .flat_map(|pod| pod.pod.ports.iter())
            .filter(|port| !port.name.is_empty() && port.protocol == protocol)
            .map(|port| port.name.to_string())
            .collect();
        let whose = pods.first().map(|pod| pod.shown()).unwrap_or_default();
        if names.is_empty() {
            return format!("{whose} has no {protocol} port with a name, and not `{name}`");
        }
        format!(
            "{whose} has no {protocol} port `{name}`, but {}",
            joined(&names)
        )
    }

    /// An egress rule to addresses, none of them a known pod's (R18).
    fn leads_outside_only(&self) -> bool {
        let Peers::Of(peers) = &self.placed.rule.peers else {
            return false;
        };
        let outside = |peer: &Peer| match peer {
            Peer::Block { cidr, .. } => {
                let inside = |pod: &KnownPod| pod.addresses().iter().any(|ip| cidr.contains(ip));
                !self.world.pods().any(inside)
            }
            Peer::Pods { .. } => false,
        };
        self.placed.direction == Direction::Egress && peers.iter().all(outside)
    }

    /// N26.
    fn without_protocol(&self, number: u16) -> Option<Finding> {
        let written = at(self.policy.written, &self.placed.field)?;
        if written
            .get("protocol")
            .is_some_and(|protocol| !protocol.is_null())
        {
            return None;
        }
        let has_udp = self.placed.rule.ports_have(number, Protocol::Udp);
        let declared = |protocol| {
            self.destinations()
                .is_some_and(|pods| pods.iter().any(|pod| pod.declares(number, protocol)))
        };
        let is_udp = declared(Protocol::Udp) || UDP_PORTS.contains(&number);
        let is_tcp =
            declared(Protocol::Tcp) && !(declared(Protocol::Udp) && UDP_FIRST.contains(&number));
        if has_udp || is_tcp || !is_udp {
            return None;
        }
        let wrong = if declared(Protocol::Udp) && !declared(Protocol::Tcp) {
            format!("port {number} is UDP there, and no protocol is written")
        } else {
            format!("port {number}, usually of UDP, without a protocol")
        };
        let finding = self.policy.finding(
            Check::N26,
            Severity::Warning,
            &self.placed.field,
            wrong,
            format!("without a protocol it is TCP, and UDP to {number} is not allowed"),
        );
        Some(finding.with_fix(format!("write `{{protocol: UDP, port: {number}}}`")))
    }
}

fn joined(texts: &BTreeSet<String>) -> String {
    texts.iter().cloned().collect::<Vec<_>>().join(" or ")
}
