//! What pods claim: their own addresses, or their nodes'.

use std::net::IpAddr;
use std::sync::Arc;

use super::Cluster;
use crate::identity::Claimant;
use crate::input::Moment;
use crate::model::Pod;

impl Cluster {
    pub(super) fn claim_for_pod(&mut self, old: Option<&Pod>, new: Option<&Pod>, now: Moment) {
        let claim = |pod: Option<&Pod>| pod.filter(|pod| !pod.finished).map(claimant_of);
        let (old_claimant, new_claimant) = (claim(old), claim(new));
        let old_claims = old_claimant.as_ref().zip(old.map(|pod| pod.ips.as_slice()));
        let new_claims = new_claimant.as_ref().zip(new.map(|pod| pod.ips.as_slice()));
        self.reclaim(old_claims, new_claims, now);
        self.claim_for_short_pod(old, new, now);
        let host = |pod: Option<&Pod>| pod.filter(|pod| pod.host_network && !pod.finished).cloned();
        let (old_host, new_host) = (host(old), host(new));
        if old_host == new_host {
            return;
        }
        if let Some(pod) = old_host {
            if let Some(pods) = self.host_pods.get_mut(&pod.node) {
                pods.remove(&pod.key);
                if pods.is_empty() {
                    self.host_pods.remove(&pod.node);
                }
            }
            self.nodes_changed.insert(Arc::clone(&pod.node), now);
        }
        if let Some(pod) = new_host {
            self.nodes_changed.insert(Arc::clone(&pod.node), now);
            self.host_pods.entry(pod.node).or_default().insert(pod.key);
        }
    }

    /// A pod may be finished by the time its addresses are told: it had them until then, and what it sent is its own.
    fn claim_for_short_pod(&mut self, old: Option<&Pod>, new: Option<&Pod>, now: Moment) {
        let Some(pod) = new.filter(|pod| pod.finished && !pod.host_network) else {
            return;
        };
        let told = old.filter(|old| old.uid == pod.uid);
        let is_new = |ip: &&IpAddr| told.is_none_or(|old| !old.ips.contains(ip));
        let ips: Vec<_> = pod.ips.iter().filter(is_new).copied().collect();
        self.addresses.note_ended(&claimant_of(pod), &ips, now);
    }
}

fn claimant_of(pod: &Pod) -> Claimant {
    if pod.host_network {
        Claimant::HostPod {
            key: pod.key.clone(),
            node: Arc::clone(&pod.node),
        }
    } else {
        Claimant::Pod {
            key: pod.key.clone(),
            uid: Arc::clone(&pod.uid),
        }
    }
}
