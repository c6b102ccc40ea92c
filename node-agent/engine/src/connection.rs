//! The question that policy is asked.

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::{ObjectKey, Protocol};

/// A new connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Who opens it.
    pub source: Party,
    /// Whom it is opened to.
    pub destination: Party,
    /// Protocol.
    pub protocol: Protocol,
    /// The destination's port; absent for ICMP.
    pub port: Option<u16>,
    /// It came to the destination through a Service.
    pub via_service: bool,
}

/// A new connection between two addresses, whoever has them now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Between {
    /// Who opens it.
    pub source: IpAddr,
    /// Whom it is opened to.
    pub destination: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// The destination's port; absent for ICMP.
    pub port: Option<u16>,
}

impl Between {
    /// The same, with no IPv4 address written as an IPv6 one.
    pub(crate) fn canonical(self) -> Self {
        Self {
            source: self.source.to_canonical(),
            destination: self.destination.to_canonical(),
            ..self
        }
    }
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Party {
    /// The address that is used. A pod without it uses its first one that the other end's family allows.
    pub ip: Option<IpAddr>,
    /// Who it is.
    pub identity: PartyKind,
}

/// Who an end of a connection is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PartyKind {
    /// A pod; one that shares its node's network is judged as the node (R31).
    Pod(ObjectKey),
    /// A node.
    Node(Arc<str>),
    /// Outside the cluster.
    World,
    /// A Service whose backend is not known.
    Service(ObjectKey),
    /// Nobody knows.
    Unknown,
}

/// The dataplane, which decides what the specification leaves open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// Nothing is known of it.
    #[default]
    Generic,
    /// kube-router, as in K3s and k0s.
    KubeRouter,
    /// Calico.
    Calico,
    /// Cilium.
    Cilium,
    /// One of several, Cilium among them: what Cilium does otherwise is open.
    Disputed,
}
