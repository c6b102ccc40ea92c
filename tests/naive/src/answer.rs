//! What the rules say of a connection.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::matching::{Match, selects};
use crate::owner::{Owner, external_addresses};
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
pub(crate) enum TierEnd {
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
    /// Absent when it is not known.
    pub(crate) peer_ip: Option<IpAddr>,
    pub(crate) destination: Owner<'a>,
    from: Option<IpAddr>,
    to: Option<IpAddr>,
    pub(crate) protocol: &'static str,
    pub(crate) port: Option<u16>,
    pub(crate) dataplane: Dataplane,
    through_a_service: bool,
}

/// Who an end is, and its address as far as it is known.
type End<'a> = (Owner<'a>, Option<IpAddr>);

impl Connection<'_> {
    fn is_to_itself(&self) -> bool {
        self.peer == self.subject
    }
}

impl Objects {
    /// Answers a question.
    #[must_use]
    pub fn answer(&self, question: &Question) -> Answer {
        let from = (self.owner(question.from), Some(question.from));
        let Owner::Service(service) = self.owner(question.to) else {
            let to = (self.owner(question.to), Some(question.to));
            return self.answer_between(from, to, question, false);
        };
        // R38: as all its ready backends agree. Where none is known it may be anybody.
        let backends = self.backends(service, question.to, question.protocol, question.port);
        if backends.is_empty() {
            let anybody = Question {
                port: None,
                ..*question
            };
            return self.answer_between(from, (Owner::Unknown, None), &anybody, true);
        }
        let answers: Vec<Answer> = backends
            .into_iter()
            .map(|(to, port)| {
                let port = Some(port);
                self.answer_of_backend(service, from, to, &Question { port, ..*question })
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

    /// R39: what came to an external address may have any node's address by then.
    fn answer_of_backend(
        &self,
        service: &Value,
        from: End<'_>,
        to: IpAddr,
        question: &Question,
    ) -> Answer {
        let owner = self.owner(to);
        let backend = (owner, Some(to));
        let answer = self.answer_between(from, backend, question, true);
        let is_external = external_addresses(service).any(|ip| ip == question.to);
        let is_seen = service["spec"]["externalTrafficPolicy"] == "Local";
        if !is_external || is_seen || !matches!(from.0, Owner::Pod(_) | Owner::World) {
            return answer;
        }
        let own = match owner {
            Owner::Pod(pod) => text(&pod["spec"]["nodeName"]),
            Owner::Node(name) => name,
            Owner::Service(_) | Owner::World | Owner::Unknown => "",
        };
        let differs = |(name, ips): &(String, Vec<IpAddr>)| {
            let same_family = ips.iter().find(|ip| ip.is_ipv4() == to.is_ipv4());
            let node = (Owner::Node(name), same_family.or(ips.first()).copied());
            self.answer_between(node, backend, question, true).ingress != answer.ingress
        };
        Answer {
            ingress: match self.passing_nodes(own).iter().any(differs) {
                true => Says::Unknown,
                false => answer.ingress,
            },
            ..answer
        }
    }

    fn answer_between(
        &self,
        (from, from_ip): End<'_>,
        (to, to_ip): End<'_>,
        question: &Question,
        through_a_service: bool,
    ) -> Answer {
        let side = |direction| {
            let (subject, peer, peer_ip) = match direction {
                Direction::Ingress => (to, from, from_ip),
                Direction::Egress => (from, to, to_ip),
            };
            self.says(&Connection {
                direction,
                subject,
                peer,
                peer_ip,
                destination: to,
                from: from_ip,
                to: to_ip,
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
        let is_loopback = |ip: Option<IpAddr>| ip.is_some_and(|ip| ip.is_loopback());
        if is_loopback(connection.from)
            || is_loopback(connection.to)
            || (connection.is_to_itself() && !connection.through_a_service)
        {
            return Says::Allowed;
        }
        // R57: the first that decides; where all leave it open, it is allowed.
        let mut ends = self.tier("Admin", pod, connection);
        if ends.remove(&TierEnd::Undecided) {
            ends.extend(self.network_policies(pod, connection));
        }
        if ends.remove(&TierEnd::Undecided) {
            ends.extend(self.tier("Baseline", pod, connection));
        }
        let is_decided = ends.iter().any(|end| *end != TierEnd::Undecided);
        // R42: groups are undefined, whatever the rules say.
        if connection.to.is_some_and(is_group) && is_decided {
            return Says::Unknown;
        }
        match (ends.contains(&TierEnd::Denied), ends.len()) {
            (true, 1) => Says::Denied,
            (true, _) => Says::Unknown,
            (false, _) => Says::Allowed,
        }
    }

    /// What `networking.k8s.io/v1` says.
    fn network_policies(&self, pod: &Value, connection: &Connection<'_>) -> BTreeSet<TierEnd> {
        let policies: Vec<&Value> = self
            .of_kind("NetworkPolicy")
            .filter(|policy| isolates(policy, pod, connection.direction))
            .collect();
        // R1.
        if policies.is_empty() {
            return [TierEnd::Undecided].into();
        }
        if own_node_is_allowed(pod, connection) {
            return [TierEnd::Allowed].into();
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
            Match::Yes => [TierEnd::Allowed].into(),
            Match::No if !undefined && !connection.is_to_itself() && is_known => {
                [TierEnd::Denied].into()
            }
            Match::No | Match::Open => [TierEnd::Allowed, TierEnd::Denied].into(),
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
