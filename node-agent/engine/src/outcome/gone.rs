//! Whether nobody is there for a packet.

use super::{Ending, Surroundings};
use crate::identity::Identity;
use crate::input::DropClass;
use crate::model::ObjectKey;

impl Surroundings<'_> {
    /// Whether a packet found no neighbour, or no way, because nobody is there: the pod is gone or its interface is, the node
    /// of another one may be, and where pods' addresses are routed in blocks (Calico) what no pod has leads nowhere. A pod is
    /// listed for minutes after it, or its node, went.
    pub(super) fn is_peer_gone(&self, ending: &Ending, class: DropClass) -> bool {
        let ip = ending.flow.destination;
        let at = |moment| self.cluster.lookup(ip, moment);
        let is_owned = match (at(ending.attempt.first), at(ending.at)) {
            (Identity::Pod(first), Identity::Pod(last)) if first == last => {
                self.links.lead_to(ip) || class == DropClass::Route && !self.is_local(&first)
            }
            (_, Identity::World) => class == DropClass::Route && !self.cluster.is_among_pods(ip),
            (_, Identity::Node(_) | Identity::Service(_) | Identity::NodeService(_)) => {
                class == DropClass::Route
            }
            (_, Identity::Pod(_) | Identity::Ambiguous | Identity::Unknown) => false,
        };
        matches!(class, DropClass::Neighbour | DropClass::Route) && !is_owned
    }

    fn is_local(&self, key: &ObjectKey) -> bool {
        let pod = self.cluster.recalled(key);
        pod.is_some_and(|pod| pod.is_local_to(self.node))
    }
}
