//! What records tell of the ways: which of them were used.

use std::sync::Arc;

use serde::Serialize;

use super::{Asker, Group, Open, PortSpan, Reach, Way, party, spans};
use crate::cluster::Cluster;
use crate::connection::{Party, PartyKind, Profile};
use crate::input::Moment;
use crate::model::ObjectKey;
use crate::record::{Connection, Direction, Endpoint, EndpointKind, Family, OutcomeKind};
use crate::verdict::Decision;

/// Connections that records tell of, and that got through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contacts {
    /// How many.
    pub count: u64,
    /// The first of them, RFC 3339.
    pub first_seen: String,
    /// The last of them, RFC 3339.
    pub last_seen: String,
    /// The ports that were used.
    pub ports: Vec<PortSpan>,
}

impl Reach {
    /// Adds what a record tells, if it is about `subject` and the connection got through. What got through
    /// without a way is a way of its own, with what policy says of it now.
    pub fn add_record(
        &mut self,
        cluster: &Cluster,
        subject: &Party,
        direction: Direction,
        profile: Profile,
        record: &Connection,
    ) {
        let (own, other) = match direction {
            Direction::Egress => (&record.source, &record.destination),
            Direction::Ingress => (&record.destination, &record.source),
        };
        let got_through = match record.outcome.outcome {
            OutcomeKind::Answered | OutcomeKind::Delivered | OutcomeKind::Refused => true,
            OutcomeKind::Rejected
            | OutcomeKind::Dropped
            | OutcomeKind::Unanswered
            | OutcomeKind::Unknown => false,
        };
        if !got_through || !is_subject(subject, own) {
            return;
        }
        let asker = Asker {
            cluster,
            subject,
            direction,
            profile,
        };
        let used = asker.way_used(own, other, record);
        let port = record.destination.port;
        let is_used = |way: &&mut Way| {
            let same = match used.verdict {
                Decision::Denied => way.verdict == Decision::Denied && way.peer == used.peer,
                Decision::Allowed | Decision::Unknown => is_member(&way.peer, &way.pods, other),
            };
            let fits = |span: &PortSpan| span.contains(record.protocol, port);
            let over = |family: Family| family == record.family;
            same && way.family.is_none_or(over) && way.ports.iter().any(fits)
        };
        // Of the world's blocks the smallest that the address lies in.
        let known = self.ways.iter_mut().filter(is_used);
        match known.max_by_key(|way| prefix(&way.peer)) {
            Some(way) => Contacts::add(&mut way.reached, record),
            None => self.ways.push(used.with(record)),
        }
    }
}

impl Way {
    fn with(mut self, record: &Connection) -> Self {
        Contacts::add(&mut self.reached, record);
        self
    }
}

impl Asker<'_> {
    fn way_used(&self, own: &Endpoint, other: &Endpoint, record: &Connection) -> Way {
        let span = PortSpan {
            protocol: record.protocol,
            first: record.destination.port,
            last: record.destination.port,
        };
        let identity = match pod_key(other).filter(|key| self.cluster.pod(key).is_some()) {
            Some(key) => PartyKind::Pod(key),
            None => self.cluster.party_at(other.ip, Moment(u64::MAX)).identity,
        };
        let lines = self.lines(&party(None, identity.clone()));
        let ends = (
            party(Some(own.ip), self.subject.identity.clone()),
            party(Some(other.ip), identity),
        );
        let open = Open {
            family: (lines.len() > 1).then_some(record.family),
            ..Open::of(&self.judge(&ends, &span), span)
        };
        let pods = other
            .name
            .iter()
            .filter(|_| other.kind == EndpointKind::Pod);
        Way::new(&Group::of_endpoint(other), pods.cloned().collect(), open)
    }
}

impl Contacts {
    fn add(contacts: &mut Option<Self>, record: &Connection) {
        let known = contacts.get_or_insert_with(|| Self {
            count: 0,
            first_seen: record.first_seen.clone(),
            last_seen: record.last_seen.clone(),
            ports: Vec::new(),
        });
        known.count += record.count;
        // Times of one format and zone are in the order of their text.
        if record.first_seen < known.first_seen {
            known.first_seen.clone_from(&record.first_seen);
        }
        if record.last_seen > known.last_seen {
            known.last_seen.clone_from(&record.last_seen);
        }
        let port = record.destination.port;
        let is_known = |span: &PortSpan| span.contains(record.protocol, port);
        if !known.ports.iter().any(is_known) {
            let span = PortSpan {
                protocol: record.protocol,
                first: port,
                last: port,
            };
            spans::add(&mut known.ports, span);
        }
    }
}

impl Group {
    fn of_endpoint(endpoint: &Endpoint) -> Self {
        let namespace = endpoint.namespace.as_deref().unwrap_or_default();
        let name = endpoint.name.as_deref().unwrap_or_default();
        match endpoint.kind {
            EndpointKind::Pod => match &endpoint.workload {
                Some(workload) => Self::new(namespace, &workload.kind, &workload.name),
                None => Self::new(namespace, "Pod", name),
            },
            EndpointKind::Node => Self::new("", "Node", name),
            EndpointKind::Service => Self::new(namespace, "Service", name),
            EndpointKind::World => Self::new("", "World", &endpoint.ip.to_string()),
            EndpointKind::Unknown => Self::new("", "Unknown", &endpoint.ip.to_string()),
        }
    }
}

fn is_subject(subject: &Party, endpoint: &Endpoint) -> bool {
    match &subject.identity {
        PartyKind::Pod(key) => pod_key(endpoint).as_ref() == Some(key),
        PartyKind::Node(name) => {
            endpoint.kind == EndpointKind::Node && endpoint.name.as_ref() == Some(name)
        }
        PartyKind::World | PartyKind::Service(_) | PartyKind::Unknown => {
            subject.ip.map(|ip| ip.to_canonical()) == Some(endpoint.ip.to_canonical())
        }
    }
}

fn is_member(group: &Group, pods: &[Arc<str>], endpoint: &Endpoint) -> bool {
    match endpoint.kind {
        EndpointKind::Pod => {
            *group.namespace == *endpoint.namespace.as_deref().unwrap_or_default()
                && endpoint
                    .name
                    .as_ref()
                    .is_some_and(|name| pods.contains(name))
        }
        EndpointKind::Node => {
            &*group.kind == "Node" && endpoint.name.as_deref() == Some(&*group.name)
        }
        EndpointKind::World => block(group).is_some_and(|block| block.contains(&endpoint.ip)),
        EndpointKind::Service | EndpointKind::Unknown => false,
    }
}

fn block(group: &Group) -> Option<ipnet::IpNet> {
    (&*group.kind == "World").then(|| group.name.parse().ok())?
}

fn prefix(group: &Group) -> u8 {
    block(group).map_or(0, |block| block.prefix_len())
}

fn pod_key(endpoint: &Endpoint) -> Option<ObjectKey> {
    if endpoint.kind != EndpointKind::Pod {
        return None;
    }
    Some(ObjectKey {
        namespace: Arc::clone(endpoint.namespace.as_ref()?),
        name: Arc::clone(endpoint.name.as_ref()?),
    })
}
