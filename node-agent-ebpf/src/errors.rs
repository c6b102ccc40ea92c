//! ICMP errors: what they quote is the attempt they end.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use node_agent_common::parse::Packet;
use node_agent_common::{REFUSED_LATE, kind, protocol};

use crate::opened::{ended, is_late, is_left_to_backend, note_forged, speaks_for_peer, stopped};
use crate::tables::{attempt, forget, settle_udp};
use crate::{Place, Way, conntrack};

/// An error about the tuple that it quotes: from a pod it is the pod's own refusal, towards one it came from the way.
#[inline(never)]
pub(crate) fn seen(error: &Packet, place: &Place) {
    let Place { ifindex, way, .. } = *place;
    let tuple = &error.tuple;
    let Some(known) = attempt(tuple) else {
        return;
    };
    // SAFETY: a value of the map.
    unsafe {
        if !quotes(error, (*known).sequence) {
            return;
        }
        if way == Way::FromPod {
            if !speaks_for_peer(known, tuple, ifindex) {
                return note_forged(known, ifindex);
            }
            let now = bpf_ktime_get_ns();
            if tuple.protocol == protocol::UDP {
                settle_udp(tuple, &*known, now, 0);
            }
            if is_late(known, REFUSED_LATE, now) {
                return;
            }
            let refused = *known;
            if forget(tuple, &refused) {
                ended(tuple, &refused, ifindex, kind::REFUSED, |event| {
                    event.icmp_type = error.icmp_type;
                    event.icmp_code = error.icmp_code;
                });
            }
            return;
        }
        if (*known).rejected != 0 || (*known).forged != 0 || is_left_to_backend(tuple, &*known) {
            return;
        }
        (*known).rejected = 1;
        (*known).icmp_type = error.icmp_type;
        (*known).icmp_code = error.icmp_code;
        (*known).rejected_by = error.sender;
        conntrack::note_led_to(place.skb, tuple, known);
        stopped(known, tuple, ifindex, kind::UNREACHABLE);
    }
}

/// Tells whether an error quotes the attempt with this number. Of TCP every error has it, 8 bytes of the segment being
/// the least (RFC 792); SCTP's tag lies further in, and UDP has none.
#[inline(always)]
fn quotes(error: &Packet, sequence: u32) -> bool {
    if error.sequence_known {
        error.sequence == sequence
    } else {
        error.tuple.protocol != protocol::TCP
    }
}
