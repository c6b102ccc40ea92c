//! A cell of the matrix, as its file says it, and the attempts that it stands for.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, anyhow, ensure};
use netns::paths;
use netns::scenario::Family;
use serde::Deserialize;

/// The files, in the order in which they are printed, each with its heading.
pub(crate) const FILES: [(&str, &str); 4] = [
    ("enforced", "Stopped by something that enforces"),
    ("not_policy", "Stopped by something else, or not at all"),
    ("paths", "Ways through the node"),
    ("protocols", "Other protocols"),
];
/// The first attempt's port; each has its own, and is known by it.
const FIRST_PORT: u16 = 2000;
/// From an attempt's port to the port of the node that leads there.
pub(crate) const NODE_PORTS: u16 = 28_000;

/// One mechanism at one place, and what becomes of connections that meet it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Cell {
    pub(crate) mechanism: String,
    pub(crate) place: String,
    #[serde(default)]
    pub(crate) ground: Ground,
    #[serde(default)]
    pub(crate) from: From,
    #[serde(default)]
    pub(crate) to: To,
    #[serde(default)]
    pub(crate) pods: Pods,
    pub(crate) protocols: Vec<Transport>,
    #[serde(default = "both_families")]
    pub(crate) families: Vec<Family>,
    /// Commands that must be there.
    #[serde(default)]
    pub(crate) needs: Vec<String>,
    /// Why no machine of ours can run it.
    pub(crate) skip: Option<String>,
    /// Shell, once for each attempt, in the namespace that it is named after.
    pub(crate) node: Option<String>,
    pub(crate) server_pod: Option<String>,
    pub(crate) client_pod: Option<String>,
    pub(crate) world: Option<String>,
    /// What is attached that no shell command attaches.
    #[serde(default)]
    pub(crate) attach: Vec<Attach>,
    #[serde(default)]
    pub(crate) server: Serves,
    #[serde(default)]
    pub(crate) client: ClientWay,
    /// What the client sees.
    pub(crate) saw: Saw,
    /// As in a record; `none` is no record at all.
    pub(crate) outcome: String,
    pub(crate) reason: Option<String>,
    #[serde(rename = "where")]
    pub(crate) place_of_drop: Option<String>,
    /// Not looked at where it is not given.
    pub(crate) client_saw: Option<String>,
    pub(crate) cause: Option<String>,
    /// Not looked at where it is not given.
    pub(crate) evidence: Option<Vec<String>>,
    #[serde(default = "both_sides")]
    pub(crate) reporter: String,
    /// Kind of the record's destination, where it is not what the client connects to.
    pub(crate) destination: Option<String>,
    /// Kind of the record's source, where it is not who connects.
    pub(crate) source: Option<String>,
    /// A Service is named.
    #[serde(default)]
    pub(crate) names_service: bool,
    pub(crate) allowed: Option<Claim>,
    /// Denied by the destination's policies.
    pub(crate) denied: Option<Claim>,
    /// Denied by the source's policies.
    pub(crate) denied_egress: Option<Claim>,
    /// Denied by both.
    pub(crate) denied_both: Option<Claim>,
}

/// What may be claimed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub(crate) struct Claim {
    /// The assessment.
    pub(crate) is: Option<String>,
    /// `unknown_because`.
    pub(crate) because: Option<String>,
    /// Of each side that denies, whether it was kept.
    #[serde(default)]
    pub(crate) kept: BTreeMap<String, String>,
    /// netverdict does not say so yet, and why: the test fails as soon as it does.
    pub(crate) falls_short: Option<String>,
}

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
    /// An address that the API does not know (`$second`).
    Second,
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

/// One attempt of a cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    /// Which cell, of all.
    pub(crate) cell: usize,
    pub(crate) transport: Transport,
    pub(crate) family: Family,
    pub(crate) policy: Policy,
    pub(crate) port: u16,
}

impl Cell {
    pub(crate) fn claims(&self) -> impl Iterator<Item = (Policy, &Claim)> {
        [
            (Policy::Allowed, &self.allowed),
            (Policy::Denied, &self.denied),
            (Policy::DeniedEgress, &self.denied_egress),
            (Policy::DeniedBoth, &self.denied_both),
        ]
        .into_iter()
        .filter_map(|(policy, claim)| Some((policy, claim.as_ref()?)))
    }

    pub(crate) fn claim(&self, policy: Policy) -> Option<&Claim> {
        self.claims()
            .find_map(|(of, claim)| (of == policy).then_some(claim))
    }

    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            self.claims().next().is_some(),
            "it says nothing of any policy"
        );
        for (_, claim) in self.claims() {
            let told = self.outcome != "none";
            ensure!(
                claim.is.is_some() == told,
                "a record has an assessment, no record has none"
            );
        }
        let by_port = |transport| matches!(transport, &Transport::Tcp | &Transport::Udp);
        ensure!(
            self.pods == Pods::Own || self.protocols.iter().all(by_port),
            "SCTP and ICMP want `pods: own`: what comes back is told apart by the addresses"
        );
        Ok(())
    }
}

fn both_families() -> Vec<Family> {
    vec![Family::V4, Family::V6]
}

fn both_sides() -> String {
    "both".to_owned()
}

/// All cells by file.
pub(crate) fn read() -> anyhow::Result<Vec<(&'static str, Vec<Cell>)>> {
    FILES
        .into_iter()
        .map(|(name, heading)| {
            let file = paths::own("matrix").join(name).with_extension("yaml");
            let text =
                fs::read_to_string(&file).with_context(|| format!("read `{}`", file.display()))?;
            let cells: Vec<Cell> = serde_saphyr::from_str(&text)
                .map_err(|error| anyhow!("`{}`: {error}", file.display()))?;
            for cell in &cells {
                cell.check()
                    .with_context(|| format!("`{}`: {}", file.display(), cell.mechanism))?;
            }
            ensure!(!cells.is_empty(), "`{}` has no cell", file.display());
            Ok((heading, cells))
        })
        .collect()
}

/// What the cells stand for, one by one.
pub(crate) fn attempts(cells: &[Cell]) -> Vec<Attempt> {
    let mut all = Vec::new();
    let mut port = FIRST_PORT;
    for (index, cell) in cells.iter().enumerate() {
        for transport in &cell.protocols {
            for family in &cell.families {
                for (policy, _) in cell.claims() {
                    all.push(Attempt {
                        cell: index,
                        transport: *transport,
                        family: *family,
                        policy,
                        port,
                    });
                    port += 1;
                }
            }
        }
    }
    all
}
