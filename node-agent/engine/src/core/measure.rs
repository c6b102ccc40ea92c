//! What leaves the core for metrics alone.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use crate::cluster::Cluster;
use crate::delays::{pair, pair_of};
use crate::input::{Output, Port, Span};
use crate::model::{ObjectKey, Pod};
use crate::outcome::Ending;
use crate::record::{Assessment, Connection, Endpoint, EndpointKind, OutcomeKind};
use crate::waiting::{For, Held};

/// Where the manifests and charts of the CNIs that are known put their DaemonSets.
const SYSTEM: [&str; 4] = ["kube-system", "calico-system", "cilium", "kube-flannel"];

impl Core {
    /// What is known of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// How many objects of each kind the cluster has.
    #[must_use]
    pub fn objects(&self) -> [(&'static str, usize); 7] {
        self.cluster.objects()
    }

    /// The DaemonSets of the system that have a pod on this node: anybody may call his own as he likes.
    #[must_use]
    pub fn daemon_sets(&self) -> BTreeSet<Arc<str>> {
        let here = |pod: &&Pod| {
            pod.node == self.options.node && !pod.finished && SYSTEM.contains(&&*pod.key.namespace)
        };
        let workloads = self.cluster.pods().filter(here).map(|pod| &pod.workload);
        workloads
            .filter(|workload| &*workload.kind == "DaemonSet")
            .map(|workload| Arc::clone(&workload.name))
            .collect()
    }

    /// How many policies are of kinds that are not evaluated yet.
    #[must_use]
    pub fn unsupported_policies(&self) -> usize {
        self.cluster.unsupported()
    }

    /// Counts attempts, each once in the whole cluster: for metrics; and for what many of them mean together.
    pub(super) fn say_counted(
        &mut self,
        connection: Arc<Connection>,
        count: u64,
        out: &mut Vec<Output>,
    ) {
        self.note_together(&connection, count);
        let own = &self.options.node;
        if self.agents.count_elsewhere(&connection, own, &self.cluster) {
            return;
        }
        let port = self.port_of(&connection);
        out.push(Output::Counted {
            connection,
            count,
            port,
        });
    }

    /// What many attempts mean together; one that is told before it is counted has no count yet.
    pub(super) fn note_together(&mut self, connection: &Connection, count: u64) {
        let (now, pair) = (self.now, pair_of(connection));
        let window_ns = self.options.window_ns;
        self.scans.note(now, window_ns, pair, connection, count);
        self.enforcing.note(now, pair, connection, count);
    }

    fn port_of(&self, connection: &Connection) -> Port {
        let destination = &connection.destination;
        let is_its_own = match destination.kind {
            EndpointKind::Pod if connection.service.is_some() => true,
            EndpointKind::Pod => key_of(destination)
                .and_then(|key| self.cluster.recalled(&key))
                .is_some_and(|pod| pod.ports.iter().any(|own| own.port == destination.port)),
            EndpointKind::Service => key_of(destination)
                .and_then(|key| self.cluster.service(&key))
                .is_some_and(|service| {
                    let mut ports = service.ports.iter();
                    ports.any(|own| own.port == destination.port)
                }),
            EndpointKind::Node | EndpointKind::World | EndpointKind::Unknown => false,
        };
        if is_its_own {
            Port::Declared
        } else {
            Port::Undeclared
        }
    }

    /// A denied attempt passed, and waits for the claim to hold.
    pub(super) fn note_passed(&mut self, held: &Held) {
        let passed = match held.ending.outcome {
            OutcomeKind::Answered | OutcomeKind::Delivered | OutcomeKind::Refused => true,
            OutcomeKind::Rejected
            | OutcomeKind::Dropped
            | OutcomeKind::Unanswered
            | OutcomeKind::Unknown => false,
        };
        if passed && held.waits_for == For::Claim {
            let change = self.judging().settled(&held.ending);
            let at = held.ending.attempt.first;
            self.delays.passed(pair(&held.ending.flow), change, at);
        }
    }

    pub(super) fn note_stopped(
        &mut self,
        ending: &Ending,
        connection: &Connection,
        out: &mut Vec<Output>,
    ) {
        let pair = pair(&ending.flow);
        if connection.assessment != Assessment::Blocked || !self.delays.is_watched(&pair) {
            return;
        }
        let change = self.judging().settled(ending);
        if let Some(ns) = self.delays.stopped(&pair, change, ending.attempt.first) {
            let span = Span::EnforcementDelay;
            out.push(Output::Measured { span, ns });
        }
    }

    pub(super) fn note_start_window(connection: &Connection, out: &mut Vec<Output>) {
        if let Some(seconds) = connection.start_window_s {
            let span = Span::StartWindow;
            let ns = (seconds * 1e9) as u64;
            out.push(Output::Measured { span, ns });
        }
    }
}

fn key_of(endpoint: &Endpoint) -> Option<ObjectKey> {
    Some(ObjectKey {
        namespace: endpoint.namespace.clone()?,
        name: endpoint.name.clone()?,
    })
}
