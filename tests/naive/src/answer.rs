//! What the rules say of a connection.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::matching::{Match, selects};
use crate::owner::Owner;
use crate::{Dataplane, Objects, Question, list, namespace_of, text};

/// What is said of a connection, or of one side of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It may pass.
    Allowed,
    /// It must not.
    Denied,
    /// The rules, or what is known, do not say.
    Unknown,
}

/// The answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the policies of who opens it say.
    pub egress: Says,
    /// What the policies of whom it is opened to say.
    pub ingress: Says,
}

impl Answer {
    /// Both sides must allow it; one denies it for both.
    #[must_use]
    pub fn verdict(self) -> Says {
        match (self.egress, self.ingress) {
            (Says::Denied, _) | (_, Says::Denied) => Says::Denied,
            (Says::Unknown, _) | (_, Says::Unknown) => Says::Unknown,
            (Says::Allowed, Says::Allowed) => Says::Allowed,
        }
    }
}

/// How a tier of policies may end, as far as what is known goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Allowed,
    Denied,
    /// The next tier decides.
    Undecided,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Ingress,
    Egress,
}

/// A connection between its real ends, seen from one side.
pub(crate) struct Connection<'a> {
    pub(crate) direction: Direction,
    subject: Owner<'a>,
    pub(crate) peer: Owner<'a>,
    pub(crate) peer_ip: IpAddr,
    pub(crate) destination: Owner<'a>,
    from: IpAddr,
    to: IpAddr,
    pub(crate) protocol: &'static str,
    pub(crate) port: Option<u16>,
    pub(crate) dataplane: Dataplane,
    through_a_service: bool,
}

impl Connection<'_> {
    fn is_to_itself(&self) -> bool {
        self.peer == self.subject
    }
}

impl Objects {
    /// Answers a question.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Answer {
        let Owner::Service(service) = self.owner(question.to) else {
            return self.answer_between_real_ends(question, false);
        };
        // R38: as all its ready backends agree.
        let backends = self.backends(service, question.to, question.protocol, question.port);
        let answers: Vec<Answer> = backends
            .into_iter()
            .map(|(to, port)| {
                let question = Question {
                    to,
                    port: Some(port),
                    ..*question
                };
                self.answer_between_real_ends(&question, true)
            })
            .collect();
        let agreed = |side: fn(&Answer) -> Says| match answers.split_first() {
            Some((first, others)) if others.iter().all(|other| side(other) == side(first)) => {
                side(first)
            }
            Some(_) | None => Says::Unknown,
        };
        Answer {
            egress: agreed(|answer| answer.egress),
            ingress: agreed(|answer| answer.ingress),
        }
    }

    fn answer_between_real_ends(&self, question: &Question, through_a_service: bool) -> Answer {
        let (from, to) = (self.owner(question.from), self.owner(question.to));
        let side = |direction| {
            let (subject, peer, peer_ip) = match direction {
                Direction::Ingress => (to, from, question.from),
                Direction::Egress => (from, to, question.to),
            };
            self.says(&Connection {
                direction,
                subject,
                peer,
                peer_ip,
                destination: to,
                from: question.from,
                to: question.to,
                protocol: question.protocol,
                port: question.port,
                dataplane: question.dataplane,
                through_a_service,
            })
        };
        Answer {
            egress: side(Direction::Egress),
            ingress: side(Direction::Ingress),
        }
    }

    fn says(&self, connection: &Connection<'_>) -> Says {
        // R28: only pods can be isolated.
        let pod = match connection.subject {
            Owner::Pod(pod) => pod,
            Owner::Node(_) | Owner::World => return Says::Allowed,
            Owner::Service(_) | Owner::Unknown => return Says::Unknown,
        };
        // R32, R42, R44.
        if connection.from.is_loopback()
            || connection.to.is_loopback()
            || (connection.is_to_itself() && !connection.through_a_service)
        {
            return Says::Allowed;
        }
        // R57: the first that decides; where all leave it open, it is allowed.
        let mut ends = self.tier("Admin", pod, connection);
        if ends.remove(&End::Undecided) {
            ends.extend(self.network_policies(pod, connection));
        }
        if ends.remove(&End::Undecided) {
            ends.extend(self.tier("Baseline", pod, connection));
        }
        let is_decided = ends.iter().any(|end| *end != End::Undecided);
        // R42: groups are undefined, whatever the rules say.
        if is_group(connection.to) && is_decided {
            return Says::Unknown;
        }
        match (ends.contains(&End::Denied), ends.len()) {
            (true, 1) => Says::Denied,
            (true, _) => Says::Unknown,
            (false, _) => Says::Allowed,
        }
    }

    /// What `networking.k8s.io/v1` says.
    fn network_policies(&self, pod: &Value, connection: &Connection<'_>) -> BTreeSet<End> {
        let policies: Vec<&Value> = self
            .of_kind("NetworkPolicy")
            .filter(|policy| isolates(policy, pod, connection.direction))
            .collect();
        // R1.
        if policies.is_empty() {
            return [End::Undecided].into();
        }
        if own_node_is_allowed(pod, connection) {
            return [End::Allowed].into();
        }
        // R37: what a rule for all protocols (R19) does not cover is defined by some dataplanes only.
        let undefined = match connection.dataplane {
            Dataplane::Generic | Dataplane::KubeRouter => connection.protocol.starts_with("ICMP"),
            Dataplane::Calico | Dataplane::Cilium => false,
        };
        let is_known = match connection.peer {
            Owner::Pod(_) | Owner::Node(_) | Owner::World => true,
            Owner::Service(_) | Owner::Unknown => false,
        };
        match self.allows(&policies, connection) {
            Match::Yes => [End::Allowed].into(),
            Match::No if !undefined && !connection.is_to_itself() && is_known => {
                [End::Denied].into()
            }
            Match::No | Match::Open => [End::Allowed, End::Denied].into(),
        }
    }

    /// R4: the union of what the policies allow.
    fn allows(&self, policies: &[&Value], connection: &Connection<'_>) -> Match {
        let (rules, peers) = match connection.direction {
            Direction::Ingress => ("ingress", "from"),
            Direction::Egress => ("egress", "to"),
        };
        policies
            .iter()
            .flat_map(|policy| {
                list(&policy["spec"][rules])
                    .iter()
                    .map(|rule| self.rule_matches(policy, rule, peers, connection))
            })
            .max()
            .unwrap_or(Match::No)
    }
}

/// R2, R3: it selects the pod and has this direction.
fn isolates(policy: &Value, pod: &Value, direction: Direction) -> bool {
    let spec = &policy["spec"];
    let types = list(&spec["policyTypes"]);
    let has = |name: &str| types.iter().any(|own| text(own) == name);
    let covers = match direction {
        Direction::Ingress => types.is_empty() || has("Ingress"),
        Direction::Egress if types.is_empty() => !list(&spec["egress"]).is_empty(),
        Direction::Egress => has("Egress"),
    };
    covers
        && namespace_of(policy) == namespace_of(pod)
        && selects(&spec["podSelector"], &pod["metadata"]["labels"])
}

/// R29: from the own node always; to it as the text says, but Calico and Cilium ask the policies.
fn own_node_is_allowed(pod: &Value, connection: &Connection<'_>) -> bool {
    let own = text(&pod["spec"]["nodeName"]);
    let asks_policies = match connection.dataplane {
        Dataplane::Generic | Dataplane::KubeRouter => false,
        Dataplane::Calico | Dataplane::Cilium => connection.direction == Direction::Egress,
    };
    !own.is_empty() && connection.peer == Owner::Node(own) && !asks_policies
}

fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::from([255, 255, 255, 255])
}
