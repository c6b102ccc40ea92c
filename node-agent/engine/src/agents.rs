//! Which agent counts an attempt that two of them see: each is counted once, by the one that knows its end.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cluster::Cluster;
use crate::model::{Delta, ObjectKey, Pod, Protocol};
use crate::record::{Assessment, Connection, EndpointKind, Evidence, Reporter};
use crate::verdict::UnknownBecause;

/// Label and value by which the agent's own pods are known.
const NAME: (&str, &str) = ("app.kubernetes.io/name", "netverdict");

/// The pods in which agents run, with their nodes.
#[derive(Debug, Default)]
pub(crate) struct Agents(BTreeMap<ObjectKey, Arc<str>>);

impl Agents {
    /// Takes in a change of the cluster.
    pub(crate) fn note(&mut self, delta: &Delta) {
        match delta {
            Delta::Pod(pod) if is_agent(pod) => {
                self.0.insert(pod.key.clone(), Arc::clone(&pod.node));
            }
            Delta::Pod(Pod { key, .. }) | Delta::PodGone(key) => {
                self.0.remove(key);
            }
            Delta::Namespace(_)
            | Delta::NamespaceGone(_)
            | Delta::Node(_)
            | Delta::NodeGone(_)
            | Delta::Service(_)
            | Delta::ServiceGone(_)
            | Delta::EndpointSlice(_)
            | Delta::EndpointSliceGone(_)
            | Delta::Policy(_)
            | Delta::PolicyGone(_) => {}
        }
    }

    /// Whether another agent counts these attempts, or this one at another sighting: they reached the destination's
    /// node, or its agent says that they did not. What was stopped on `own` node, or lost on the way as far as anybody
    /// can tell, counts there.
    pub(crate) fn count_elsewhere(
        &self,
        connection: &Connection,
        own: &str,
        cluster: &Cluster,
    ) -> bool {
        let destination = &connection.destination;
        let is_away = |node: &str| !node.is_empty() && node != own && self.is_at(node);
        connection.reporter == Reporter::Source
            && connection.outcome.drop_reason.is_none()
            && connection.assessment != Assessment::Unanswered
            && !is_passed_by(connection)
            && match destination.kind {
                EndpointKind::Pod => destination.node.as_deref().is_some_and(is_away),
                EndpointKind::Service => self.are_at_a_backend(connection, is_away, cluster),
                EndpointKind::Node => {
                    let is_own = destination.name.as_deref() == Some(own);
                    // Another node sends what came to its port as its own: whoever gets it, here too, sees a first sighting.
                    let comes_back = |node: &str| !is_own && node == own;
                    let is_told = |node: &str| is_away(node) || comes_back(node);
                    self.are_at_a_backend(connection, is_told, cluster)
                }
                EndpointKind::World | EndpointKind::Unknown => false,
            }
    }

    /// Whether they came to a backend that nobody named, where they are told of. Had it been a pod of this node that this
    /// one sent them to they would be told of there, but for datagrams; or it was the client itself. Of refused connections
    /// conntrack knows nothing any more.
    fn are_at_a_backend(
        &self,
        connection: &Connection,
        is_told: impl Fn(&str) -> bool,
        cluster: &Cluster,
    ) -> bool {
        let Some(service) = &connection.service else {
            return false;
        };
        let client = connection.source.ip;
        let mut pods = cluster
            .backend_pods(&service.key)
            .filter_map(|key| cluster.pod(&key))
            .map(|pod| is_told(&pod.node) || pod.ips.contains(&client))
            .peekable();
        if connection.protocol == Protocol::Udp {
            pods.peek().is_some() && pods.all(|is_told| is_told)
        } else {
            pods.any(|is_told| is_told)
        }
    }

    /// Whether a node has an agent. Where none runs in a pod they are run in another way, on every node.
    fn is_at(&self, node: &str) -> bool {
        self.0.is_empty() || self.0.values().any(|at| **at == *node)
    }
}

/// Whether what came back, or would have, passes by the interface of its source: it is the same where it went, and nobody
/// sees it come there.
fn is_passed_by(connection: &Connection) -> bool {
    let evidence = &connection.outcome.evidence;
    evidence.contains(&Evidence::SocketEstablished)
        || connection.unknown_because == Some(UnknownBecause::HookBypassed)
}

fn is_agent(pod: &Pod) -> bool {
    let (label, value) = NAME;
    !pod.finished && pod.labels.get(label).is_some_and(|name| **name == *value)
}
