//! Who was at both ends of an attempt, as of its first packet.

use std::net::IpAddr;

use crate::Moment;
use crate::cluster::Cluster;
use crate::connection::{Between, Connection, Party, Profile};
use crate::identity::{Identity, Successor};
use crate::input::Link;
use crate::links::Links;
use crate::model::{ObjectKey, Pod};
use crate::options::Options;
use crate::outcome::Ending;
use crate::verdict::{Decision, UnknownBecause, Verdict};

/// Both ends of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) source: Identity,
    pub(crate) destination: Identity,
    pub(crate) connection: Connection,
    /// Whom the destination takes for the source, when that is somebody else.
    seen_from: Option<Party>,
    /// It is not known who is at one of the ends: nobody owns an address that lies behind a pod's interface,
    /// or several do. It may become known yet.
    pub(crate) unsure: bool,
    /// Another pod may have taken over an address, and the cluster has not said so yet.
    pub(crate) may_be_taken_over: bool,
    /// An address that nobody is known to have lies among those of pods: the cluster may not have said whose it is, or it is a
    /// node's end of a tunnel, which no object names.
    pub(crate) may_be_of_cluster: bool,
    /// Such an address, or a private one: pods have those, and the cluster may say whose it is yet.
    pub(crate) may_become_known: bool,
}

/// When a young pod began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    /// When its interface appeared.
    pub(crate) interface: Moment,
    /// When it was first heard of; absent when it does not exist now.
    pub(crate) heard: Option<Moment>,
}

impl Ends {
    pub(crate) fn of(cluster: &Cluster, links: &Links, ending: &Ending) -> Self {
        let (flow, attempt) = (ending.flow, &ending.attempt);
        // When its owner is to be looked up, and whether that may not be known yet.
        let owned = |link: Option<u32>, ip| {
            let left = links.taken_over(link, ip, attempt.first);
            let successor = left.map(|left| cluster.successor(ip, left, attempt.first));
            match successor {
                None | Some(Successor::Unneeded) => (attempt.first, false),
                Some(Successor::Since(began)) => (began, false),
                Some(Successor::Unknown) => (attempt.first, true),
            }
        };
        let (source_at, source_may_be) = owned(attempt.source_link, flow.source);
        let (destination_at, destination_may_be) =
            owned(attempt.destination_link, flow.destination);
        // What lies behind a pod's interface is not outside the cluster, whoever has it, and wherever it was stopped.
        let is_behind = |link: Option<u32>, ip| {
            link.is_some_and(|link| links.get(link).is_some()) || links.lead_to(ip)
        };
        let found = |link, ip, at| match cluster.lookup(ip, at) {
            Identity::World if is_behind(link, ip) || cluster.is_left_by_service(ip, at) => {
                Identity::Unknown
            }
            identity => identity,
        };
        let source = sender(
            flow.source,
            found(attempt.source_link, flow.source, source_at),
        );
        let destination = found(attempt.destination_link, flow.destination, destination_at);
        let unknown = |identity: &Identity| {
            matches!(
                identity,
                Identity::Unknown | Identity::Ambiguous | Identity::NodeService(_)
            )
        };
        let strangers = || {
            let ends = [(&source, flow.source), (&destination, flow.destination)];
            ends.into_iter()
                .filter_map(|(end, ip)| (*end == Identity::World).then_some(ip))
        };
        let may_be_of_cluster = strangers().any(|ip| cluster.is_among_pods(ip));
        Self {
            unsure: unknown(&source) || unknown(&destination),
            may_become_known: may_be_of_cluster || strangers().any(is_private),
            may_be_of_cluster,
            connection: Connection {
                source: Cluster::party(flow.source, &source),
                destination: Cluster::party(flow.destination, &destination),
                protocol: flow.protocol,
                port: Some(flow.destination_port),
                via_service: ending.sent_to.is_some(),
            },
            seen_from: ending
                .seen_from
                .map(|(ip, _)| Cluster::party(ip, &sender(ip, cluster.lookup(ip, attempt.first)))),
            source,
            destination,
            may_be_taken_over: source_may_be || destination_may_be,
        }
    }

    /// What is not known of an end that nobody is known to be. A Service that the node answers for itself, as NodeLocal DNS
    /// does, is no pod; an address that is routed to a pod's interface beside the
    /// pod's own is of a network that the API server does not know.
    pub(crate) fn doubt(
        &self,
        cluster: &Cluster,
        links: &Links,
        ending: &Ending,
    ) -> UnknownBecause {
        let (flow, attempt) = (ending.flow, &ending.attempt);
        let is_pod = |ip: &IpAddr| matches!(cluster.lookup(*ip, attempt.first), Identity::Pod(_));
        let is_second = |end: &Identity, link: Option<u32>, ip| {
            matches!(end, Identity::Unknown)
                && link.and_then(|index| links.get(index)).is_some_and(|link| {
                    link.addresses.contains(&ip) && link.addresses.iter().any(is_pod)
                })
        };
        if is_second(&self.source, attempt.source_link, flow.source)
            || is_second(
                &self.destination,
                attempt.destination_link,
                flow.destination,
            )
        {
            return UnknownBecause::SecondaryNetwork;
        }
        if let Identity::NodeService(_) = self.destination {
            return UnknownBecause::NodeService;
        }
        UnknownBecause::Identity
    }

    pub(crate) fn verdict(&self, cluster: &Cluster, profile: Profile) -> Verdict {
        match &self.seen_from {
            Some(seen_from) => cluster.evaluate_seen_from(&self.connection, seen_from, profile),
            None => cluster.evaluate(&self.connection, profile),
        }
    }

    /// Whether policy allows what was sent back as well, so that it does not matter which of the two opened a conversation. Where
    /// ports tell a reply it does: the record would have its ends the wrong way round.
    pub(crate) fn are_free_both_ways(
        &self,
        cluster: &Cluster,
        options: &Options,
        ending: &Ending,
    ) -> bool {
        if ending.may_be_a_reply() || self.seen_from.is_some() || ending.sent_to.is_some() {
            return false;
        }
        let back = Connection {
            source: self.connection.destination.clone(),
            destination: self.connection.source.clone(),
            protocol: self.connection.protocol,
            port: Some(ending.flow.source_port),
            via_service: false,
        };
        cluster.evaluate(&back, options.profile).verdict == Decision::Allowed
    }

    pub(crate) fn settled_since(&self, cluster: &Cluster) -> Moment {
        let seen_from = self.seen_from.as_ref();
        let seen_from = seen_from.map(|party| cluster.party_settled(party));
        let own = cluster.settled_since(&self.connection);
        own.max(seen_from.unwrap_or_default())
    }

    /// The connection by its addresses, when those have not changed hands since a moment.
    pub(crate) fn between(&self, cluster: &Cluster, since: Moment) -> Option<Between> {
        let between = self.by_addresses()?;
        let is_kept = |ip| cluster.owned_since(ip) <= since;
        (is_kept(between.source) && is_kept(between.destination)).then_some(between)
    }

    /// The same, and until when both were those ends' that had them at a moment.
    pub(crate) fn between_until(&self, cluster: &Cluster, at: Moment) -> Option<(Between, Moment)> {
        let between = self.by_addresses()?;
        let [one, other] =
            [between.source, between.destination].map(|ip| cluster.held_until(ip, at));
        Some((between, one?.min(other?)))
    }

    /// Absent for a connection to a Service, of which it is not known who took it, and for one with a source before
    /// translation and one after.
    fn by_addresses(&self) -> Option<Between> {
        if matches!(self.destination, Identity::Service(_)) || self.seen_from.is_some() {
            return None;
        }
        Some(Between {
            source: self.connection.source.ip?,
            destination: self.connection.destination.ip?,
            protocol: self.connection.protocol,
            port: self.connection.port,
        })
    }

    /// When the younger of its pods was first heard of with an address.
    pub(crate) fn heard_of(&self, cluster: &Cluster) -> Option<Moment> {
        [&self.source, &self.destination]
            .into_iter()
            .filter_map(|end| cluster.heard_of(pod_key(end)?))
            .max()
    }

    /// Whether nothing has changed since an interface appeared, of what a verdict rests on, but that its pod was heard of, or
    /// that it got its address.
    pub(crate) fn are_young(&self, cluster: &Cluster, started: Started, settled: Moment) -> bool {
        let Connection {
            source,
            destination,
            ..
        } = &self.connection;
        let is_news = |change| Some(change) == started.heard;
        let mut changes = [source, destination]
            .into_iter()
            .flat_map(|party| cluster.identity_changes(party));
        is_news(settled) && changes.all(|change| change <= started.interface || is_news(change))
    }

    /// The start of the younger of its pods whose interface appeared after `begin`, as far as the agent saw it
    /// appear: the age of one that was there before is not known.
    pub(crate) fn started(
        &self,
        cluster: &Cluster,
        links: &Links,
        ending: &Ending,
        begin: Moment,
    ) -> Option<Started> {
        let (flow, attempt) = (ending.flow, &ending.attempt);
        let young = |link: &&Link| {
            link.from_birth && begin < link.watched_since && link.watched_since <= attempt.first
        };
        let ends = [
            (&self.source, attempt.source_link, flow.source),
            (
                &self.destination,
                attempt.destination_link,
                flow.destination,
            ),
        ];
        ends.into_iter()
            .filter_map(|(end, index, ip)| {
                let behind = || links.iter().find(|link| link.addresses.contains(&ip));
                let link = index.and_then(|index| links.get(index)).or_else(behind);
                link.filter(young).map(|link| Started {
                    interface: link.watched_since,
                    heard: pod_key(end).and_then(|key| cluster.pod_since(key)),
                })
            })
            .max_by_key(|started| started.interface)
    }

    pub(crate) fn source_pod<'a>(&self, cluster: &'a Cluster) -> Option<&'a Pod> {
        cluster.recalled(pod_key(&self.source)?)
    }

    pub(crate) fn destination_pod<'a>(&self, cluster: &'a Cluster) -> Option<&'a Pod> {
        cluster.recalled(pod_key(&self.destination)?)
    }

    /// Whether the destination is a pod of another node, whose agent sees how the attempt ends.
    pub(crate) fn leads_to_other_node(&self, cluster: &Cluster, node: &str) -> bool {
        self.destination_pod(cluster)
            .is_some_and(|pod| &*pod.node != node)
    }

    /// Whether somebody on this node speaks in the place of whom the source called, as a transparent proxy does: that was not
    /// the node, nor a Service for which the node is ready.
    pub(crate) fn are_answered_for(&self, cluster: &Cluster, node: &str, ending: &Ending) -> bool {
        if !ending.attempt.answered_here {
            return false;
        }
        let is_the_node = matches!(&self.destination, Identity::Node(name) if **name == *node);
        let called = |(ip, _)| match cluster.lookup(ip, ending.attempt.first) {
            Identity::Node(_) => true,
            Identity::Service(key) => {
                let mut slices = cluster.slices_of(&key);
                slices.any(|slice| slice.ready.contains(&ending.flow.destination))
            }
            Identity::Pod(_)
            | Identity::NodeService(_)
            | Identity::World
            | Identity::Ambiguous
            | Identity::Unknown => false,
        };
        !is_the_node || !ending.sent_to.is_none_or(called)
    }

    /// The Service at whose own address it ended, or at a node's with its port there: nobody had led it to a backend.
    pub(crate) fn unled_service(&self, cluster: &Cluster, at: Moment) -> Option<ObjectKey> {
        let Connection {
            destination, port, ..
        } = &self.connection;
        match &self.destination {
            Identity::Service(key) => Some(key.clone()),
            Identity::Node(_) => {
                cluster.service_at(destination.ip?, ((*port)?, self.connection.protocol), at)
            }
            Identity::Pod(_)
            | Identity::NodeService(_)
            | Identity::World
            | Identity::Ambiguous
            | Identity::Unknown => None,
        }
    }
}

/// Whoever sent it. A link-local address is its owner's on one link, and nobody's outside: a pod sees it where the node
/// translates, as Cilium does with a pod that reaches itself through a Service.
fn sender(ip: IpAddr, found: Identity) -> Identity {
    let is_link_local = match ip.to_canonical() {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    match found {
        Identity::World if is_link_local => Identity::Unknown,
        identity => identity,
    }
}

/// Whether an address is of those that networks give out for themselves: RFC 1918, RFC 6598 and RFC 4193.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || first == 100 && second & 0xc0 == 64
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

fn pod_key(identity: &Identity) -> Option<&ObjectKey> {
    match identity {
        Identity::Pod(key) => Some(key),
        Identity::Node(_)
        | Identity::Service(_)
        | Identity::NodeService(_)
        | Identity::World
        | Identity::Ambiguous
        | Identity::Unknown => None,
    }
}
