//! What the kernel's drop reasons and locations stand for, by their names: their numbers differ from one kernel
//! to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use node_agent_common::maps::{OTHER_REASONS, OVS_REASONS, REASONS, drop_class};

use super::btf::Types;
use super::symbols;

/// The name of no reason at all.
const NOT_SPECIFIED: &str = "NOT_SPECIFIED";

/// Functions whose drops carry no reason, and what such a drop is. Those come first that are needed first, should there be
/// no room for all.
pub(super) const LOCATIONS: &[(&str, u8)] = &[
    ("nfqnl_reinject", drop_class::NFQUEUE),
    ("nf_reinject", drop_class::NFQUEUE),
    ("nf_queue", drop_class::NFQUEUE),
    ("ip_error", drop_class::ROUTE),
    ("ip6_pkt_drop", drop_class::ROUTE),
    ("ip6_pkt_discard", drop_class::ROUTE),
    ("ip6_pkt_prohibit", drop_class::ROUTE),
    // What IPv6 does behind a blackhole route.
    ("dst_discard_out", drop_class::ROUTE),
    ("do_xdp_generic", drop_class::XDP),
    ("netkit_xmit", drop_class::TC),
    ("do_execute_actions", drop_class::OVS),
    ("ovs_dp_process_packet", drop_class::OVS),
    ("ovs_vport_receive", drop_class::OVS),
    ("neigh_invalidate", drop_class::NEIGHBOUR),
    ("ndisc_error_report", drop_class::NEIGHBOUR),
];

/// As [`LOCATIONS`], for kernels before 5.17 that give no reason to any drop.
pub(super) const LOCATIONS_WITHOUT_REASONS: &[(&str, u8)] = &[
    ("nf_hook_slow", drop_class::NETFILTER),
    ("nf_hook_slow_list", drop_class::NETFILTER),
    ("sch_handle_ingress", drop_class::TC),
    ("sch_handle_egress", drop_class::TC),
];

/// What a drop without a reason in a function stands for.
pub(super) fn class_of_location(function: &str) -> Option<u8> {
    let mut known = LOCATIONS.iter().chain(LOCATIONS_WITHOUT_REASONS);
    let (_, class) = known.find(|(name, _)| *name == symbols::stem(function))?;
    Some(*class)
}

/// The running kernel's drop reasons.
pub(super) struct Reasons {
    names: BTreeMap<u32, Arc<str>>,
    not_specified: Arc<str>,
    /// The number of Open vSwitch among the reasons' subsystems, 0 without one.
    pub(super) ovs_subsystem: u32,
}

impl Reasons {
    /// Reads the names from the kernel's own types.
    pub(super) fn read(types: &Types<'_>) -> Self {
        let names = types.enumerators("skb_drop_reason");
        let subsystems = types.enumerators("skb_drop_reason_subsys");
        let ovs = subsystems
            .iter()
            .find(|(_, name)| name.ends_with("_OPENVSWITCH"));
        Self {
            names: names
                .into_iter()
                .map(|(number, name)| (number, Arc::from(stem(&name))))
                .collect(),
            not_specified: Arc::from(NOT_SPECIFIED),
            ovs_subsystem: ovs.map_or(0, |(number, _)| *number),
        }
    }

    /// How many there are; none before Linux 5.17.
    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// The name of a reason, without its prefix.
    pub(super) fn name(&self, reason: u32) -> Arc<str> {
        if let Some(name) = self.names.get(&reason) {
            return Arc::clone(name);
        }
        match reason {
            0 => Arc::clone(&self.not_specified),
            _ if reason >> 16 != 0 && reason >> 16 == self.ovs_subsystem => {
                Arc::from(format!("OVS_{}", reason & 0xffff))
            }
            _ => Arc::from(format!("REASON_{reason}")),
        }
    }

    /// All names by number, without their prefix.
    pub(super) fn names(&self) -> &BTreeMap<u32, Arc<str>> {
        &self.names
    }

    /// The class of each reason, as the kernel side looks it up.
    pub(super) fn classes(&self) -> Vec<u32> {
        (0..REASONS)
            .map(|reason| {
                let class = match self.names.get(&reason) {
                    _ if reason == OVS_REASONS => drop_class::OVS,
                    _ if reason == OTHER_REASONS => drop_class::OTHER,
                    Some(name) => class(name),
                    // Before 5.17 all is 0; a number above the names is never used.
                    None => drop_class::UNSPECIFIED,
                };
                u32::from(class)
            })
            .collect()
    }
}

fn stem(name: &str) -> &str {
    name.strip_prefix("SKB_DROP_REASON_")
        .or_else(|| name.strip_prefix("SKB_"))
        .unwrap_or(name)
}

/// What a reason stands for.
///
/// Only first packets of attempts are looked at, so the reasons for segments of an open TCP connection decide
/// nothing here; what is ignored is what is no loss of the packet: consumed, or a copy that was not meant for the
/// one who got it (a bridge floods, a packet socket is full).
fn class(name: &str) -> u8 {
    match name {
        NOT_SPECIFIED => drop_class::UNSPECIFIED,
        "NETFILTER_DROP" => drop_class::NETFILTER,
        "TC_INGRESS" | "TC_EGRESS" | "TC_COOKIE_ERROR" | "TC_CHAIN_NOTFOUND"
        | "TC_RECLASSIFY_LOOP" => drop_class::TC,
        "XDP" => drop_class::XDP,
        "BPF_CGROUP_EGRESS" => drop_class::CGROUP,
        "NO_SOCKET" => drop_class::NO_SOCKET,
        "NOT_DROPPED_YET" | "CONSUMED" | "QUEUE_PURGE" | "SOCKET_CLOSE" | "OTHERHOST"
        | "PACKET_SOCK_ERROR" | "TAP_FILTER" | "TAP_TXFILTER" | "MAX" | "SUBSYS_MASK" => {
            drop_class::IGNORED
        }
        "IP_INHDR" | "IP_CSUM" | "TCP_CSUM" | "UDP_CSUM" | "ICMP_CSUM" | "IP_LOCALNET"
        | "IP_INVALID_DEST" | "IPV6_BAD_EXTHDR" | "PKT_TOO_SMALL" | "UDP_INVALID_LEN" => {
            drop_class::MALFORMED
        }
        _ if name.starts_with("UNIX_") => drop_class::IGNORED,
        _ if name.starts_with("NEIGH_") => drop_class::NEIGHBOUR,
        // TCP_LISTEN_OVERFLOW, IP_RPFILTER, full queues, no route, a socket's filter: they enforce
        // nothing, and yet the packet is gone.
        _ => drop_class::OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_follow_names() {
        for (name, wanted) in [
            ("SKB_DROP_REASON_NETFILTER_DROP", drop_class::NETFILTER),
            ("SKB_DROP_REASON_NOT_SPECIFIED", drop_class::UNSPECIFIED),
            ("SKB_DROP_REASON_TC_EGRESS", drop_class::TC),
            ("SKB_DROP_REASON_NEIGH_FAILED", drop_class::NEIGHBOUR),
            ("SKB_DROP_REASON_TCP_LISTEN_OVERFLOW", drop_class::OTHER),
            ("SKB_DROP_REASON_IP_INNOROUTES", drop_class::OTHER),
            ("SKB_DROP_REASON_OTHERHOST", drop_class::IGNORED),
            ("SKB_CONSUMED", drop_class::IGNORED),
            ("SKB_NOT_DROPPED_YET", drop_class::IGNORED),
            ("SKB_DROP_REASON_OF_TOMORROW", drop_class::OTHER),
        ] {
            assert_eq!(class(stem(name)), wanted, "{name}");
        }
    }
}
