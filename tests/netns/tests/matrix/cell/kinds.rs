//! The words that a cell is written in.

use netns::pair::Way;
use netns::scenario::Family;
use serde::Deserialize;

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Ground {
    /// Host routes, as Calico; what stops is set up while the agent watches.
    #[default]
    Routed,
    /// One bridge, as flannel on K3s.
    Bridged,
    /// Routed, and all of it is there before the agent comes.
    Before,
    /// Routed, and the agent hangs on clsact.
    Clsact,
    /// Routed, clsact, and all of it is there before the agent comes.
    BeforeClsact,
    /// Routed, and the agent watches the calls of processes.
    Calls,
    /// Routed, and whatever stops one stops all.
    Crowded,
    /// The server is a pod of another node, with an agent of its own.
    Across,
    /// The same, through a tunnel.
    AcrossVxlan,
}

impl Ground {
    /// How packets come to the other node, if there are two.
    pub(crate) fn way(self) -> Option<Way> {
        match self {
            Self::Across => Some(Way::Routed),
            Self::AcrossVxlan => Some(Way::Vxlan),
            Self::Routed
            | Self::Bridged
            | Self::Before
            | Self::Clsact
            | Self::BeforeClsact
            | Self::Calls
            | Self::Crowded => None,
        }
    }
}

/// Who counts an attempt in the metrics.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Counts {
    Source,
    Destination,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum From {
    #[default]
    Pod,
    Node,
    World,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum To {
    #[default]
    Pod,
    /// The pod, through its Service's address (`$vip`).
    Service,
    /// The pod, through a port of the node (`$node_port`).
    NodePort,
    /// The client itself, through its Service's address.
    Itself,
    Node,
    World,
    /// An address outside that nobody has.
    Nobody,
    /// A Service's address that the node itself has (`$vip`).
    NodeService,
    /// The address of a Service whose backend is not ready (`$vip`).
    EmptyService,
    /// An address among those of Services that none has (`$vip`).
    Unallocated,
    /// An address that the API does not know (`$second`).
    Second,
    /// The pod, through an address that its Service has outside (`$lb`).
    LoadBalancer,
    /// The pod, by the address that a name of its headless Service stands for.
    Headless,
    /// The other node itself.
    FarNode,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Pods {
    /// Those of all cells.
    #[default]
    Shared,
    /// The cell's own.
    Own,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    #[serde(rename = "TCP")]
    Tcp,
    #[serde(rename = "UDP")]
    Udp,
    #[serde(rename = "SCTP")]
    Sctp,
    #[serde(rename = "ICMP")]
    Icmp,
}

impl Transport {
    /// As the record writes it.
    pub(crate) fn name(self, family: Family) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp if family == Family::V6 => "ICMPv6",
            Self::Icmp => "ICMP",
        }
    }
}

/// A program at an interface, which drops what goes to the attempt's port.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Attach {
    /// At the client's interface, on the node.
    Client(Hook),
    /// At the server's interface, on the node.
    Server(Hook),
    /// At the node's way out.
    Uplink(Hook),
    /// Hands packets straight to the other pod, and drops those to the port on its way.
    RedirectPeer,
    /// A program behind NFQUEUE, number `$queue`, which says drop.
    QueueReader,
    /// Forbids the client's cgroup to connect to the port.
    Cgroup,
    /// Forbids it to send there without a connection.
    CgroupSend,
    /// Fills the node's conntrack table.
    FullTable,
    /// Leads it from the port of a Service to the pod.
    SocketBalancer,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Hook {
    TcxIngress,
    TcxEgress,
    ClsactIngress,
    ClsactEgress,
    Xdp,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Serves {
    #[default]
    Answering,
    /// Takes datagrams and says nothing.
    Silent,
    /// No socket.
    Closed,
    /// Listens, and its queue is full.
    Full,
}

/// How the client goes about it.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClientWay {
    #[default]
    Connects,
    /// Its packets may pass no router.
    HopsOne,
    /// Its first datagram is too long for what comes.
    Long,
    /// A SYN with a wrong checksum, from no socket.
    BadChecksum,
    /// Out of a cgroup of its own.
    InCgroup,
    /// As `in_cgroup`, without a connection.
    SendsInCgroup,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Saw {
    Answer,
    Refused,
    Unreachable,
    TooLong,
    Forbidden,
    Nothing,
}

/// What policy says, and who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Policy {
    Allowed,
    Denied,
    DeniedEgress,
    DeniedBoth,
}

impl Policy {
    /// The pod that policy treats so.
    pub(crate) fn pod(self) -> &'static str {
        match self {
            Self::Allowed => "friend",
            Self::Denied => "stranger",
            Self::DeniedEgress => "captive",
            Self::DeniedBoth => "locked",
        }
    }

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Denied => "denied",
            Self::DeniedEgress => "denied in egress",
            Self::DeniedBoth => "denied on both sides",
        }
    }

    /// The first side that denies, as the record writes it.
    pub(crate) fn direction(self) -> Option<&'static str> {
        match self {
            Self::Allowed => None,
            Self::Denied => Some("ingress"),
            Self::DeniedEgress | Self::DeniedBoth => Some("egress"),
        }
    }
}
