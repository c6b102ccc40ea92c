//! What ended at a Service's own address, or at a node's with its port there: kube-proxy, or whoever stands in its place, led
//! it to no backend.

use super::Judge;
use crate::connection::PartyKind;
use crate::ends::Ends;
use crate::input::DropClass;
use crate::outcome::Ending;
use crate::record::OutcomeKind;

impl Judge<'_> {
    /// Whether there was nobody to lead it to. What answers is somebody else, and so is what stops it before it leaves
    /// its pod.
    pub(super) fn has_no_backend(&self, ends: &Ends, ending: &Ending) -> bool {
        let cluster = self.cluster;
        let Some(service) = &ends.unled_service(cluster, ending.attempt.first) else {
            return false;
        };
        let by = match &ends.connection.destination.identity {
            PartyKind::Node(name) => name,
            PartyKind::Pod(_) | PartyKind::Service(_) | PartyKind::World | PartyKind::Unknown => {
                &self.options.node
            }
        };
        match ending.outcome {
            OutcomeKind::Rejected | OutcomeKind::Dropped => {
                is_by_network(ending)
                    && (cluster.has_no_backend(&ends.connection, service)
                        || cluster.has_no_backend_on(by, &ends.connection, service))
            }
            OutcomeKind::Refused | OutcomeKind::Unanswered => {
                cluster.has_no_backend(&ends.connection, service)
            }
            OutcomeKind::Answered | OutcomeKind::Delivered | OutcomeKind::Unknown => false,
        }
    }

    /// Whether its Service may have stopped it because it does not take such sources.
    pub(super) fn may_be_shut_out(&self, ends: &Ends, ending: &Ending) -> bool {
        let service = ends.unled_service(self.cluster, ending.attempt.first);
        let limits = |service| self.cluster.limits_sources(&ends.connection, &service);
        is_by_network(ending) && service.is_some_and(limits)
    }
}

/// Whether no one in the pod stopped it.
fn is_by_network(ending: &Ending) -> bool {
    let mut drop = ending.drop.iter();
    drop.all(|drop| !drop.in_pod && drop.class != DropClass::Cgroup)
}
