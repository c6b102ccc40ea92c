//! What a drop, a RST or an ICMP error says of an attempt.

use crate::identity::Identity;
use crate::input::{AttemptState, Drop, DropClass, Rejected};
use crate::record::ClientSaw;

/// Whether a drop says how the attempt ended. Inside a pod only what enforces does: a full queue there, or
/// a closed port, is the pod's own affair, and the packet was delivered. A route that makes its host
/// unreachable enforces nothing; the ICMP error, sent before the packet is freed, tells it from the others.
pub(super) fn decides(drop: &Drop, rejected: Option<Rejected>) -> bool {
    match drop.class {
        DropClass::Netfilter
        | DropClass::Tc
        | DropClass::Xdp
        | DropClass::Cgroup
        | DropClass::Nfqueue
        | DropClass::Ovs => true,
        DropClass::Route => {
            !drop.in_pod && rejected.is_none_or(|seen| rejected_saw(seen) != ClientSaw::Unreachable)
        }
        DropClass::Neighbour | DropClass::Other => !drop.in_pod,
        // The node is not to blame, and nobody enforced anything: or the way ends, as silence has it.
        DropClass::NoSocket | DropClass::NoRoute | DropClass::Malformed => false,
    }
}

pub(super) fn rejected_saw(rejected: Rejected) -> ClientSaw {
    match rejected {
        Rejected::Reset => ClientSaw::Reset,
        Rejected::Icmp {
            icmp_type,
            icmp_code,
            ..
        } => client_saw(icmp_type, icmp_code),
    }
}

/// ICMP type 3 codes 3, 9, 10, 13 and ICMPv6 type 1 codes 1, 4, 5, 6 reject; every other code means that
/// the way ends, as silence does.
pub(super) fn client_saw(icmp_type: u8, icmp_code: u8) -> ClientSaw {
    match (icmp_type, icmp_code) {
        (3, 3) | (1, 4) => ClientSaw::PortUnreachable,
        (3, 9 | 10 | 13) | (1, 1 | 5 | 6) => ClientSaw::Prohibited,
        _ => ClientSaw::Unreachable,
    }
}

/// What the client of an attempt heard, to which nothing was seen to come back: its own interface alone shows that.
pub(super) fn unheard(attempt: &AttemptState) -> ClientSaw {
    match attempt.source_link {
        Some(_) => ClientSaw::Nothing,
        None => ClientSaw::Unknown,
    }
}

/// Whether a node speaks under the address of an ICMP error. One among the pods' addresses that no pod has is a node's
/// bridge's, or its end of a tunnel's: no object of the API names those.
pub(super) fn is_of_a_node(sender: &Identity) -> bool {
    match sender {
        Identity::Node(_) | Identity::Service(_) | Identity::NodeService(_) | Identity::Unknown => {
            true
        }
        Identity::Pod(_) | Identity::World | Identity::Ambiguous => false,
    }
}
