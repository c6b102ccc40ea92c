//! Blocks of addresses that are not what they look like: N09, N10, N21.

use std::net::IpAddr;

use ipnet::IpNet;

use super::overlap::overlap;
use super::policy::{NetPol, PlacedPeer};
use super::rule::{Peer, Peers};
use super::world::{KnownPod, KnownService, World};
use super::{Check, Facts, Finding, Severity};
use crate::model::{Node, Protocol};
use crate::record::Direction;

const METADATA: &str = "169.254.169.254/32";
const PRIVATE: [&str; 3] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];

pub(super) fn check(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for policy in &facts.policies {
        for placed in policy.peers() {
            let Peer::Block { cidr, except } = placed.peer else {
                continue;
            };
            let place = BlockPlace {
                world: &facts.world,
                policy,
                placed: &placed,
                cidr,
                except,
            };
            findings.extend(place.services());
            findings.extend(place.pods());
            findings.extend(place.too_much());
            findings.extend(place.one_family());
        }
    }
}

struct BlockPlace<'a> {
    world: &'a World,
    policy: &'a NetPol<'a>,
    placed: &'a PlacedPeer<'a>,
    cidr: &'a IpNet,
    except: &'a [IpNet],
}

impl BlockPlace<'_> {
    /// N09. A wide block may be meant for anything; one with pods or nodes in it does something.
    fn services(&self) -> Option<Finding> {
        if !self.is_narrow() || self.pods_inside().next().is_some() || self.nodes_inside() {
            return None;
        }
        let inside = |service: &&KnownService| service.cluster_ips.iter().any(|ip| self.has(ip));
        let service = self.world.services().find(inside)?;
        let finding = self.policy.finding(
            Check::N09,
            Severity::Error,
            format!("{}.ipBlock.cidr", self.placed.field),
            format!("{} holds the address of {}", self.cidr, service.shown()),
            "policy sees the address of the pod behind it, not the Service's, so this block matches nothing on most networks",
        );
        Some(match &service.selector {
            Some(selector) => finding.with_fix(format!(
                "select its pods: `namespaceSelector` for namespace {}, `podSelector` for {selector}",
                service.key.namespace
            )),
            None => finding.with_fix("write the addresses of its endpoints"),
        })
    }

    /// N10.
    fn pods(&self) -> Option<Finding> {
        if !self.is_narrow() || self.nodes_inside() {
            return None;
        }
        let in_range = |node: &Node| {
            node.pod_ranges
                .iter()
                .any(|range| range.contains(self.cidr))
        };
        let range = self.world.nodes.iter().any(in_range);
        let pod = self.pods_inside().next();
        if pod.is_none() && !range {
            return None;
        }
        let whose = pod.map_or_else(
            || "a node's range of pods".to_owned(),
            |pod| format!("the address of {}", pod.shown()),
        );
        let cidr = self.cidr;
        let wrong = if range {
            format!("{cidr} is inside {whose}")
        } else {
            format!("{cidr} holds {whose}")
        };
        let finding = self.policy.finding(
            Check::N10,
            Severity::Warning,
            format!("{}.ipBlock.cidr", self.placed.field),
            wrong,
            "pods change their addresses, and Cilium never matches a pod by address",
        );
        Some(finding.with_fix("select the pods by labels"))
    }

    /// N21: what nobody thinks of when writing `0.0.0.0/0`.
    fn too_much(&self) -> Option<Finding> {
        if self.placed.direction != Direction::Egress || !self.is_all_of(Family::V4) {
            return None;
        }
        let is_cut = |text: &str| {
            text.parse::<IpNet>()
                .is_ok_and(|net| self.except.iter().any(|hole| overlap(hole, &net)))
        };
        let is_cut_from_private = PRIVATE.iter().any(|net| is_cut(net));
        let metadata = !is_cut(METADATA) && self.placed.rule.ports_have(80, Protocol::Tcp);
        let (severity, wrong, fix) = match (metadata, is_cut_from_private, is_cut(METADATA)) {
            (true, true, _) => (
                Severity::Warning,
                "takes in 169.254.169.254, where clouds hand out credentials",
                "except: [169.254.0.0/16], besides those there are",
            ),
            (true, false, _) => (
                Severity::Warning,
                "takes in 169.254.169.254, where clouds hand out credentials, and all private networks",
                "except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]",
            ),
            (false, false, false) => (
                Severity::Info,
                "takes in all private networks, pods and nodes among them",
                "except: [10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, 169.254.0.0/16]",
            ),
            (false, _, _) => return None,
        };
        let finding = self.policy.finding(
            Check::N21,
            severity,
            format!("{}.ipBlock.cidr", self.placed.field),
            format!("{} {wrong}", self.cidr),
            "it is every address of IPv4, not only the internet's",
        );
        Some(finding.with_fix(format!("if only the internet is meant: `{fix}`")))
    }

    /// N21: pods with addresses of both families, and all of one family only.
    fn one_family(&self) -> Option<Finding> {
        let (family, other, counterpart) = if self.is_all_of(Family::V4) {
            ("IPv4", Family::V6, "::/0")
        } else if self.is_all_of(Family::V6) {
            ("IPv6", Family::V4, "0.0.0.0/0")
        } else {
            return None;
        };
        let has_other = |ip: &IpAddr| ip.is_ipv6() == (other == Family::V6);
        let subjects = self.world.subjects(self.policy)?;
        let pod = subjects
            .iter()
            .find(|pod| pod.addresses().iter().any(has_other))?;
        let rules = self.policy.rules(self.placed.direction);
        let is_counterpart = |peer: &Peer| match peer {
            Peer::Block { cidr, .. } => is_all(cidr) == Some(other),
            Peer::Pods { .. } => false,
        };
        let is_there = rules.iter().any(|rule| match &rule.peers {
            Peers::Any => true,
            Peers::Of(peers) => peers.iter().any(is_counterpart),
        });
        if is_there {
            return None;
        }
        let finding = self.policy.finding(
            Check::N21,
            Severity::Warning,
            format!("{}.ipBlock.cidr", self.placed.field),
            format!(
                "{} is {family} only, and {} has both",
                self.cidr,
                pod.shown()
            ),
            "whatever goes the other way is denied, which shows as slow or flaky connections",
        );
        Some(finding.with_fix(format!("add a peer `ipBlock: {{cidr: \"{counterpart}\"}}`")))
    }

    fn has(&self, ip: &IpAddr) -> bool {
        self.cidr.contains(ip) && !self.except.iter().any(|hole| hole.contains(ip))
    }

    /// Too small to be a site's whole network.
    fn is_narrow(&self) -> bool {
        let least = match self.cidr {
            IpNet::V4(_) => 12,
            IpNet::V6(_) => 48,
        };
        self.cidr.prefix_len() >= least
    }

    fn pods_inside(&self) -> impl Iterator<Item = &KnownPod> {
        self.world
            .pods()
            .filter(|pod| pod.addresses().iter().any(|ip| self.has(ip)))
    }

    fn nodes_inside(&self) -> bool {
        let mut nodes = self.world.nodes.iter().flat_map(|node| &node.ips);
        nodes.any(|ip| self.has(ip))
    }

    fn is_all_of(&self, family: Family) -> bool {
        is_all(self.cidr) == Some(family)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

fn is_all(cidr: &IpNet) -> Option<Family> {
    match (cidr, cidr.prefix_len()) {
        (IpNet::V4(_), 0) => Some(Family::V4),
        (IpNet::V6(_), 0) => Some(Family::V6),
        (IpNet::V4(_) | IpNet::V6(_), _) => None,
    }
}
