//! Who was at both ends of an attempt, as of its first packet.

use std::collections::BTreeMap;

use crate::Moment;
use crate::cluster::Cluster;
use crate::connection::{Connection, Profile};
use crate::identity::Identity;
use crate::input::Link;
use crate::model::{ObjectKey, Pod};
use crate::outcome::Ending;
use crate::verdict::Verdict;

/// Both ends of an attempt.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) source: Identity,
    pub(crate) destination: Identity,
    connection: Connection,
    /// It is not known who is at one of the ends: nobody owns an address that lies behind a pod's interface,
    /// or several do. It may become known yet.
    pub(crate) unsure: bool,
}

impl Ends {
    pub(crate) fn of(cluster: &Cluster, links: &BTreeMap<u32, Link>, ending: &Ending) -> Self {
        let (flow, at) = (ending.flow, ending.attempt.first);
        let source = cluster.lookup(flow.source, at);
        let destination = cluster.lookup(flow.destination, at);
        let passed = |link: Option<u32>, identity: &Identity| {
            link.is_some_and(|link| links.contains_key(&link))
                && matches!(identity, Identity::World)
        };
        let nobody_behind_interface = passed(ending.attempt.source_link, &source)
            || passed(ending.attempt.destination_link, &destination);
        let unknown =
            |identity: &Identity| matches!(identity, Identity::Unknown | Identity::Ambiguous);
        Self {
            unsure: nobody_behind_interface || unknown(&source) || unknown(&destination),
            connection: Connection {
                source: cluster.party_at(flow.source, at),
                destination: cluster.party_at(flow.destination, at),
                protocol: flow.protocol,
                port: Some(flow.destination_port),
                via_service: false,
            },
            source,
            destination,
        }
    }

    pub(crate) fn verdict(&self, cluster: &Cluster, profile: Profile) -> Verdict {
        cluster.evaluate(&self.connection, profile)
    }

    pub(crate) fn settled_since(&self, cluster: &Cluster) -> Moment {
        cluster.settled_since(&self.connection)
    }

    /// When the younger of the pods at its ends was first heard of.
    pub(crate) fn started(&self, cluster: &Cluster) -> Option<Moment> {
        [&self.source, &self.destination]
            .into_iter()
            .filter_map(|end| cluster.pod_since(pod_key(end)?))
            .max()
    }

    pub(crate) fn source_pod<'a>(&self, cluster: &'a Cluster) -> Option<&'a Pod> {
        cluster.pod(pod_key(&self.source)?)
    }

    pub(crate) fn destination_pod<'a>(&self, cluster: &'a Cluster) -> Option<&'a Pod> {
        cluster.pod(pod_key(&self.destination)?)
    }

    /// Whether the destination is a pod of another node, whose agent sees how the attempt ends.
    pub(crate) fn leads_to_other_node(&self, cluster: &Cluster, node: &str) -> bool {
        self.destination_pod(cluster)
            .is_some_and(|pod| &*pod.node != node)
    }

    /// Whether it went to a Service for which nobody is known to be ready. A Service of which no slice was ever
    /// heard may have backends.
    pub(crate) fn has_no_backend(&self, cluster: &Cluster) -> bool {
        let Identity::Service(key) = &self.destination else {
            return false;
        };
        let mut slices = cluster.slices_of(key).peekable();
        slices.peek().is_some() && slices.all(|slice| slice.ready.is_empty())
    }
}

fn pod_key(identity: &Identity) -> Option<&ObjectKey> {
    match identity {
        Identity::Pod(key) => Some(key),
        Identity::Node(_)
        | Identity::Service(_)
        | Identity::World
        | Identity::Ambiguous
        | Identity::Unknown => None,
    }
}
