//! Whom one endpoint can reach, and who can reach it, by workload.
//!
//! Ports are not tried one by one: between the numbers that a policy or the destination names, policy says the
//! same of all, so one of each span is judged. The same holds of addresses outside the cluster and the blocks
//! that policies name. ICMP is left out: policies do not name it.

mod contacts;
mod families;
mod spans;
mod world;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::Serialize;

pub use contacts::Contacts;
pub use spans::{PortSpan, in_words as ports_in_words};

use crate::cluster::Cluster;
use crate::connection::{Connection, Party, PartyKind, Profile};
use crate::model::{ObjectKey, Pod};
use crate::record::{Direction, Family};
use crate::verdict::{Decision, Reason, RuleRef, Side, UnknownBecause, Verdict};
use crate::words;

/// What an endpoint reaches, or who reaches it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Workloads by namespace and name, then nodes, then the world.
    pub ways: Vec<Way>,
    /// Those there is no way at all to, or from.
    pub closed: Vec<Group>,
}

/// A way that policy leaves open between the endpoint and a group of others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Way {
    /// The others.
    pub peer: Group,
    /// Which of its pods, by name; empty for nodes and the world.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<Arc<str>>,
    /// How many other pods of the workload there are.
    #[serde(skip)]
    pub pods_left_out: usize,
    /// On which of the destination's ports.
    pub ports: Vec<PortSpan>,
    /// Over which addresses; absent where it is the same over all families that both ends have (R36).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
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
    /// Name. Of the world it is a block of addresses, less the cluster's own addresses.
    pub name: Arc<str>,
    /// The blocks inside the world's block of which policies say something of their own; each is a group itself.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<IpNet>,
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
    family: Option<Family>,
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
            closed: Vec::new(),
        };
        for (group, members) in asker.workloads() {
            reach.add(group, members);
        }
        for node in self.nodes() {
            let party = party(None, PartyKind::Node(Arc::clone(&node.name)));
            let group = Group::new("", "Node", &node.name);
            reach.add(group, Members::nameless(asker.open(&party)));
        }
        for block in asker.blocks() {
            let party = party(Some(block.ip), PartyKind::World);
            let group = Group {
                except: block.except,
                ..Group::new("", "World", &block.block.to_string())
            };
            reach.add(group, Members::nameless(asker.open(&party)));
        }
        reach
    }
}

/// What is open to or from the members of a group.
#[derive(Default)]
struct Members {
    /// Each with the pods of which it holds, by name.
    open: Vec<(Open, Vec<Arc<str>>)>,
    /// How many pods there are.
    pods: usize,
}

impl Members {
    /// Of a group that has no pods.
    fn nameless(open: Vec<Open>) -> Self {
        let open = open.into_iter().map(|open| (open, Vec::new()));
        Self {
            open: open.collect(),
            pods: 0,
        }
    }

    fn add(&mut self, pod: &Arc<str>, open: Vec<Open>) {
        self.pods += 1;
        for open in open {
            match self.open.iter_mut().find(|(other, _)| *other == open) {
                Some((_, names)) => names.push(Arc::clone(pod)),
                None => self.open.push((open, vec![Arc::clone(pod)])),
            }
        }
    }
}

impl Reach {
    fn add(&mut self, group: Group, members: Members) {
        if members.open.is_empty() {
            self.closed.push(group);
            return;
        }
        for (open, pods) in members.open {
            let pods_left_out = members.pods.saturating_sub(pods.len());
            self.ways.push(Way {
                pods_left_out,
                ..Way::new(&group, pods, open)
            });
        }
    }
}

impl Way {
    fn new(group: &Group, pods: Vec<Arc<str>>, open: Open) -> Self {
        let Open {
            verdict,
            egress,
            ingress,
            unknown_because,
            family,
            ports,
        } = open;
        Self {
            peer: group.clone(),
            pods,
            pods_left_out: 0,
            ports,
            family,
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
            except: Vec::new(),
        }
    }

    fn of_pod(pod: &Pod) -> Self {
        Self {
            namespace: Arc::clone(&pod.key.namespace),
            kind: Arc::clone(&pod.workload.kind),
            name: Arc::clone(&pod.workload.name),
            except: Vec::new(),
        }
    }
}

/// `shop/Deployment api`, `shop/web-0` for a pod that stands alone, `Node node-1`,
/// `World 0.0.0.0/0 except 10.0.0.0/8`.
impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        match &*self.kind {
            "Pod" => f.write_str(&self.name),
            kind => write!(f, "{kind} {}", self.name),
        }?;
        for (index, block) in self.except.iter().enumerate() {
            let before = if index == 0 { " except " } else { ", " };
            write!(f, "{before}{block}")?;
        }
        Ok(())
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
            members.add(&pod.key.name, open);
        }
        workloads
    }

    fn is_subject(&self, key: &ObjectKey) -> bool {
        matches!(&self.subject.identity, PartyKind::Pod(own) if own == key)
    }

    /// What is open between the subject and another, ports with the same answer together.
    fn open(&self, other: &Party) -> Vec<Open> {
        let lines = self.lines(other);
        let mut found: Vec<Open> = Vec::new();
        for span in self.spans(other) {
            for open in self.over(&lines, span) {
                match found.iter_mut().find(|other| other.same_but_ports(&open)) {
                    Some(known) => spans::add(&mut known.ports, span),
                    None => found.push(open),
                }
            }
        }
        found
    }

    fn judge(&self, (own, other): &(Party, Party), span: &PortSpan) -> Verdict {
        let (source, destination) = match self.direction {
            Direction::Egress => (own, other),
            Direction::Ingress => (other, own),
        };
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
            family: None,
            ports: vec![span],
        }
    }

    fn same_but_ports(&self, other: &Self) -> bool {
        self.verdict == other.verdict
            && self.egress == other.egress
            && self.ingress == other.ingress
            && self.unknown_because == other.unknown_because
            && self.family == other.family
    }
}

fn party(ip: Option<IpAddr>, identity: PartyKind) -> Party {
    Party { ip, identity }
}
