//! The rules of a NetworkPolicy.
//!
//! Narrower than the form that holds the rules of every kind of policy, so that no check has to say what it makes
//! of an action or a peer that a NetworkPolicy cannot have.

use ipnet::IpNet;

use crate::model::{self, NamespaceMatch, PortSpec, Protocol, Selector};

/// Ports and peers, both must match.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) peers: Peers,
    pub(super) ports: Ports,
}

/// The peers of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peers {
    /// No list, or an empty one: everybody (R10).
    Any,
    Of(Vec<Peer>),
}

/// One peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Pods {
        namespaces: NamespaceMatch,
        pods: Selector,
    },
    Block {
        cidr: IpNet,
        except: Vec<IpNet>,
    },
}

/// The ports of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ports {
    /// No list, or an empty one: every port of every protocol (R19).
    Any,
    Of(Vec<Port>),
}

/// One item of a rule's ports.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Port {
    pub(super) protocol: Protocol,
    pub(super) port: PortSpec,
}

impl From<model::Rule> for Rule {
    fn from(rule: model::Rule) -> Self {
        Self {
            peers: match rule.peers {
                model::Peers::Any => Peers::Any,
                model::Peers::Of(peers) => Peers::Of(peers.into_iter().filter_map(peer).collect()),
            },
            ports: rule.ports.into(),
        }
    }
}

fn peer(peer: model::Peer) -> Option<Peer> {
    match peer {
        model::Peer::Pods { namespaces, pods } => Some(Peer::Pods { namespaces, pods }),
        model::Peer::Block { cidr, except } => Some(Peer::Block { cidr, except }),
        // No NetworkPolicy has these.
        model::Peer::OwnNetworkPods { .. }
        | model::Peer::Nodes(_)
        | model::Peer::Networks(_)
        | model::Peer::Domains(_) => None,
    }
}

impl From<model::Ports> for Ports {
    fn from(ports: model::Ports) -> Self {
        match ports {
            model::Ports::Any => Self::Any,
            model::Ports::Of(ports) => {
                Self::Of(ports.into_iter().flat_map(of_each_protocol).collect())
            }
        }
    }
}

/// A port without a protocol is that of every one (R54); a NetworkPolicy's always has one (R20).
fn of_each_protocol(port: model::PortMatch) -> Vec<Port> {
    let protocols = match port.protocol {
        Some(protocol) => vec![protocol],
        None => vec![Protocol::Tcp, Protocol::Udp, Protocol::Sctp],
    };
    let of = |protocol| Port {
        protocol,
        port: port.port.clone(),
    };
    protocols.into_iter().map(of).collect()
}
