//! What is written of a judged ending.

use std::sync::Arc;

use super::{Case, Judge};
use crate::assessment::{Local, direction, keep};
use crate::ends::Ends;
use crate::input::Flow;
use crate::model::Pod;
use crate::outcome::Ending;
use crate::record::{
    Connection, Endpoint, Outcome, OutcomeKind, PolicyState, Process, ProcessPod, Reporter,
    ServiceRef,
};
use crate::render::{community_id, conversation_id, endpoint, family};

const SECOND_NS: u64 = 1_000_000_000;

impl Judge<'_> {
    pub(super) fn write(&self, case: Case, ending: &Ending) -> Connection {
        let Case {
            ends,
            mut verdict,
            assessed: (assessment, unknown_because),
            settled,
            start_window_s,
            cause,
        } = case;
        let flow = ending.flow;
        let local = Local {
            source: ending.attempt.source_link.is_some()
                || ends
                    .source_pod(self.cluster)
                    .is_some_and(|pod| pod.is_local_to(&self.options.node)),
            destination: ending.attempt.destination_link.is_some()
                || ends
                    .destination_pod(self.cluster)
                    .is_some_and(|pod| pod.is_local_to(&self.options.node)),
        };
        let direction = direction(&verdict);
        keep(&mut verdict, assessment, ending, local);
        let time = |moment| self.options.clock_base.print(moment);
        let (source, destination) = self.endpoints(&ends, ending);
        // What the other node's agent can know of it.
        let joining = match ends.leads_to_other_node(self.cluster, &self.options.node) {
            true => ending.behind(),
            false => flow,
        };
        Connection {
            assessment,
            unknown_because,
            direction,
            reporter: reporter(local),
            protocol: flow.protocol,
            family: family(flow.destination),
            service: self.service(ending),
            process: self.process(&ends, ending),
            source,
            destination,
            verdict,
            outcome: outcome(ending),
            cause,
            drops: if ending.outcome == OutcomeKind::Answered {
                ending.attempt.drops
            } else {
                0
            },
            start_window_s,
            acknowledged: None,
            policy_state: PolicyState {
                as_of: time(self.heard),
                settled_s: ending.at.since(settled) / SECOND_NS,
            },
            conversation_id: conversation_id(&joining),
            community_id: community_id(&joining),
            count: 1,
            first_seen: time(ending.attempt.first),
            last_seen: time(ending.attempt.first),
            lost: if self
                .lost_at
                .is_some_and(|lost| lost >= ending.attempt.first)
            {
                self.lost_total
            } else {
                0
            },
        }
    }

    fn endpoints(&self, ends: &Ends, ending: &Ending) -> (Endpoint, Endpoint) {
        let flow = ending.flow;
        let source = endpoint(
            self.cluster,
            &ends.source,
            flow.source,
            flow.source_port,
            None,
        );
        let port = flow.destination_port;
        let destination = endpoint(
            self.cluster,
            &ends.destination,
            flow.destination,
            port,
            Some(flow.protocol),
        );
        (source, destination)
    }

    /// Who opened it. Only a pod on its node's network has to be looked for: another one is the source.
    fn process(&self, ends: &Ends, ending: &Ending) -> Option<Process> {
        let process = ending.attempt.process.as_ref()?;
        let pod = process.pod_uid.as_ref().map(|uid| {
            let is_it = |pod: &&Pod| pod.uid == *uid;
            let own = ends.source_pod(self.cluster).filter(is_it);
            let found = own.or_else(|| {
                let on_node = self.cluster.host_pods(&self.options.node);
                on_node.map(|state| &state.pod).find(is_it)
            });
            ProcessPod {
                namespace: found.map(|pod| Arc::clone(&pod.key.namespace)),
                name: found.map(|pod| Arc::clone(&pod.key.name)),
                uid: Arc::clone(uid),
            }
        });
        Some(Process {
            pid: process.pid,
            command: Arc::clone(&process.command),
            pod,
            container: process.container.clone(),
        })
    }

    /// The Service that its source sent it to.
    fn service(&self, ending: &Ending) -> Option<ServiceRef> {
        let Flow {
            destination,
            destination_port,
            protocol,
            ..
        } = ending.flow;
        let (ip, port) = ending.sent_to.unwrap_or((destination, destination_port));
        let how = (port, protocol);
        let key = self.cluster.service_at(ip, how, ending.attempt.first)?;
        Some(ServiceRef { key, ip, port })
    }
}

fn reporter(local: Local) -> Reporter {
    match (local.source, local.destination) {
        (true, true) => Reporter::Both,
        (false, true) => Reporter::Destination,
        (true | false, false) => Reporter::Source,
    }
}

fn outcome(ending: &Ending) -> Outcome {
    let drop = ending.drop.as_ref();
    Outcome {
        outcome: ending.outcome,
        drop_reason: drop.map(|drop| Arc::clone(&drop.reason)),
        location: drop
            .map(|drop| Arc::clone(&drop.location))
            .filter(|location| !location.is_empty()),
        client_saw: ending.client_saw,
        evidence: ending.evidence.clone(),
    }
}
