//! Whom one endpoint can reach, and who can reach it, by workload.
//!
//! Ports are not tried one by one: between the numbers that a policy or the destination names, policy says the
//! same of all, so one of each span is judged. The same holds of addresses outside the cluster and the blocks
//! that policies name. ICMP is left out: policies do not name it.

mod contacts;
mod spans;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

pub use contacts::Contacts;
pub use spans::{PortSpan, in_words as ports_in_words};

use crate::cluster::Cluster;
use crate::connection::{Connection, Party, PartyKind, Profile};
use crate::model::{ObjectKey, Pod};
use crate::record::Direction;
use crate::verdict::{Decision, Reason, RuleRef, Side, UnknownBecause, Verdict};
use crate::words;

/// What an endpoint reaches, or who reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Workloads by namespace and name, then nodes, then the world.
    pub ways: Vec<Way>,
    /// How many of those there are no way at all to, or from.
    pub closed: usize,
}

/// A way that policy leaves open between the endpoint and a group of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The others.
    pub peer: Group,
    /// Which of its pods, by name; empty for nodes and the world.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Arc<str>>,
    /// On which of the destination's ports.
    pub ports: Vec<PortSpan>,
    /// Allowed or unknown; denied only where it was reached all the same.
    pub verdict: Decision,
    /// What opens it on the source's side.
    pub egress: Opening,
    /// What opens it on the destination's side.
    pub ingress: Opening,
    /// Why it is unknown; only with [`Decision::Unknown`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown_because: Option<UnknownBecause>,
    /// What records tell of it; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reached: Option<Contacts>,
}

/// Others that are known by one name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Group {
    /// Namespace; empty for nodes and the world.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: Arc<str>,
    /// Kind of the workload, `Node`, or `World`.
    pub kind: Arc<str>,
    /// Name. Of the world it is a block of addresses, less those blocks in it that policies name too, and less
    /// the cluster's own addresses.
    pub name: Arc<str>,
}

/// What opens a way on one side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Opening {
    /// What this side says.
    pub verdict: Decision,
    /// Why.
    pub reason: Reason,
    /// The rule that allows it; only with [`Reason::Rule`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_by: Option<RuleRef>,
    /// The rule that denies it; only with [`Reason::RuleDenied`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied_by: Option<RuleRef>,
}

/// What holds between the endpoint and one other, on some ports.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Open {
    verdict: Decision,
    egress: Opening,
    ingress: Opening,
    unknown_because: Option<UnknownBecause>,
    ports: Vec<PortSpan>,
}

/// Whose reach is asked, and which way.
#[derive(Clone, Copy)]
struct Asker<'a> {
    cluster: &'a Cluster,
    subject: &'a Party,
    direction: Direction,
    profile: Profile,
}

impl Cluster {
    /// Whom `subject` can reach, with [`Direction::Egress`], or who can reach it, with [`Direction::Ingress`].
    #[must_use]
    pub fn reach(&self, subject: &Party, direction: Direction, profile: Profile) -> Reach {
        let asker = Asker {
            cluster: self,
            subject,
            direction,
            profile,
        };
        let mut reach = Reach {
            ways: Vec::new(),
            closed: 0,
        };
        for (group, members) in asker.workloads() {
            reach.add(&group, members);
        }
        for node in self.nodes() {
            let party = party(None, PartyKind::Node(Arc::clone(&node.name)));
            let group = Group::new("", "Node", &node.name);
            reach.add(&group, vec![(Vec::new(), asker.open(&party))]);
        }
        for (block, ip) in asker.blocks() {
            let party = party(Some(ip), PartyKind::World);
            let group = Group::new("", "World", &block.to_string());
            reach.add(&group, vec![(Vec::new(), asker.open(&party))]);
        }
        reach
    }
}

/// Pods to or from which the same is open, by name.
type Members = Vec<(Vec<Arc<str>>, Vec<Open>)>;

impl Reach {
    fn add(&mut self, group: &Group, members: Members) {
        let before = self.ways.len();
        for (pods, open) in members {
            self.ways
                .extend(open.into_iter().map(|open| Way::new(group, &pods, open)));
        }
        self.closed += usize::from(self.ways.len() == before);
    }
}

impl Way {
    fn new(group: &Group, pods: &[Arc<str>], open: Open) -> Self {
        let Open {
            verdict,
            egress,
            ingress,
            unknown_because,
            ports,
        } = open;
        Self {
            peer: group.clone(),
            pods: pods.to_vec(),
            ports,
            verdict,
            egress,
            ingress,
            unknown_because,
            reached: None,
        }
    }
}

impl Group {
    fn new(namespace: &str, kind: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            kind: kind.into(),
            name: name.into(),
        }
    }

    fn of_pod(pod: &Pod) -> Self {
        Self {
            namespace: Arc::clone(&pod.key.namespace),
            kind: Arc::clone(&pod.workload.kind),
            name: Arc::clone(&pod.workload.name),
        }
    }
}

/// `shop/Deployment api`, `shop/web-0` for a pod that stands alone, `Node node-1`, `World 0.0.0.0/0`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        match &*self.kind {
            "Pod" => f.write_str(&self.name),
            kind => write!(f, "{kind} {}", self.name),
        }
    }
}

impl Opening {
    /// In a few words.
    #[must_use]
    pub fn in_words(&self) -> String {
        words::reason(
            self.reason,
            self.allowed_by.as_ref().or(self.denied_by.as_ref()),
        )
    }

    fn of(side: &Side) -> Self {
        let whole = |rule: &RuleRef| RuleRef {
            peer: None,
            port: None,
            ..rule.clone()
        };
        Self {
            verdict: side.verdict,
            reason: side.reason,
            allowed_by: side.allowed_by.as_ref().map(whole),
            denied_by: side.denied_by.as_ref().map(whole),
        }
    }
}

impl Asker<'_> {
    /// Every other pod that is not finished, by workload.
    fn workloads(&self) -> BTreeMap<Group, Members> {
        let mut workloads: BTreeMap<Group, Members> = BTreeMap::new();
        let others = self
            .cluster
            .pods()
            .filter(|pod| !pod.finished && !self.is_subject(&pod.key));
        for pod in others {
            let open = self.open(&party(None, PartyKind::Pod(pod.key.clone())));
            let members = workloads.entry(Group::of_pod(pod)).or_default();
            match members.iter_mut().find(|(_, other)| *other == open) {
                Some((names, _)) => names.push(Arc::clone(&pod.key.name)),
                None => members.push((vec![Arc::clone(&pod.key.name)], open)),
            }
        }
        workloads
    }

    fn is_subject(&self, key: &ObjectKey) -> bool {
        matches!(&self.subject.identity, PartyKind::Pod(own) if own == key)
    }

    /// What is open between the subject and another, ports with the same answer together.
    fn open(&self, other: &Party) -> Vec<Open> {
        let mut found: Vec<Open> = Vec::new();
        for span in self.spans(other) {
            let verdict = self.judge(other, &span);
            if verdict.verdict == Decision::Denied {
                continue;
            }
            let open = Open::of(&verdict, span);
            match found.iter_mut().find(|other| other.same_but_ports(&open)) {
                Some(known) => spans::add(&mut known.ports, span),
                None => found.push(open),
            }
        }
        found
    }

    fn judge(&self, other: &Party, span: &PortSpan) -> Verdict {
        let (source, destination) = self.ends(other);
        let connection = Connection {
            source: source.clone(),
            destination: destination.clone(),
            protocol: span.protocol,
            port: Some(span.first),
            via_service: false,
        };
        self.cluster.evaluate(&connection, self.profile)
    }

    fn ends<'p>(&'p self, other: &'p Party) -> (&'p Party, &'p Party) {
        match self.direction {
            Direction::Egress => (self.subject, other),
            Direction::Ingress => (other, self.subject),
        }
    }
}

impl Open {
    fn of(verdict: &Verdict, span: PortSpan) -> Self {
        Self {
            verdict: verdict.verdict,
            egress: Opening::of(&verdict.egress),
            ingress: Opening::of(&verdict.ingress),
            unknown_because: verdict.unknown_because,
            ports: vec![span],
        }
    }

    fn same_but_ports(&self, other: &Self) -> bool {
        self.verdict == other.verdict
            && self.egress == other.egress
            && self.ingress == other.ingress
            && self.unknown_because == other.unknown_because
    }
}

fn party(ip: Option<IpAddr>, identity: PartyKind) -> Party {
    Party { ip, identity }
}
