//! Manifests to the engine as deltas, objects that an API server would refuse included: whatever they say,
//! every connection between the pods has an answer, and it rests on what there is, not on what there was.

#![expect(clippy::panic, reason = "a difference ends the run")]

use std::net::IpAddr;

use node_agent_engine::k8s::items;
use node_agent_engine::model::{Delta, Protocol};
use node_agent_engine::verdict::Verdict;
use node_agent_engine::{Cluster, Connection, Moment, Profile};

use crate::yaml;

/// More than this many of anything only take time.
const MOST: usize = 24;

const LATER: Moment = Moment(3_600_000_000_000);

/// Reads bytes as manifests and asks the engine about what they describe.
///
/// # Panics
///
/// When an answer depends on how the cluster came about.
pub fn run(bytes: &[u8]) {
    let documents = yaml::documents(bytes);
    let deltas: Vec<Delta> = documents
        .iter()
        .flat_map(items)
        .flat_map(|object| yaml::deltas(&object))
        .take(MOST)
        .collect();
    let mut lived = Cluster::new();
    for (second, delta) in (1..).zip(deltas.iter().chain(&deltas).chain(deltas.iter().rev())) {
        lived.apply(delta, Moment(second));
    }
    let mut fresh = Cluster::new();
    // The first word on each object was the last one above.
    for delta in deltas.iter().rev() {
        fresh.apply(delta, Moment(0));
    }
    if let Some(difference) = difference(&lived, &fresh) {
        panic!("{difference}");
    }
}

fn difference(lived: &Cluster, fresh: &Cluster) -> Option<String> {
    let mut ends: Vec<IpAddr> = lived.pods().flat_map(|pod| &pod.ips).copied().collect();
    ends.extend(lived.services().flat_map(|service| &service.ips).take(2));
    ends.truncate(MOST);
    ends.push(IpAddr::from([203, 0, 113, 7]));
    for (from, to) in ends
        .iter()
        .flat_map(|from| ends.iter().map(move |to| (*from, *to)))
    {
        for (profile, protocol, port) in [
            (Profile::Generic, Protocol::Tcp, Some(80)),
            (Profile::Cilium, Protocol::Udp, Some(53)),
            (Profile::Calico, Protocol::Icmp, None),
        ] {
            let ask = |cluster: &Cluster| -> Verdict {
                let connection = Connection {
                    source: cluster.party_at(from, LATER),
                    destination: cluster.party_at(to, LATER),
                    protocol,
                    port,
                    via_service: false,
                };
                cluster.evaluate(&connection, profile)
            };
            let (old, new) = (ask(lived), ask(fresh));
            if old != new {
                return Some(format!("{from} to {to}: {old:?}, built afresh {new:?}"));
            }
        }
    }
    None
}
