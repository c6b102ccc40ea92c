//! ICMP errors: what they quote is the attempt they end.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use node_agent_common::parse::Packet;
use node_agent_common::{Event, kind, protocol};

use crate::Way;
use crate::opened::speaks_for_peer;
use crate::tables::{ATTEMPTS, Seen, forget, settle_udp, tell};

/// An error about the tuple that it quotes: from a pod it is the pod's own refusal, towards one it came from the way.
#[inline(never)]
pub(crate) fn seen(error: &Packet, ifindex: u32, way: Way) {
    let tuple = &error.tuple;
    let Some(known) = ATTEMPTS.get_ptr_mut(tuple) else {
        return;
    };
    // SAFETY: a value of the map.
    unsafe {
        if error.sequence_known && error.sequence != (*known).sequence {
            return;
        }
        let mut seen = Seen {
            now: bpf_ktime_get_ns(),
            ifindex,
            kind: kind::REFUSED,
        };
        if way == Way::FromPod {
            if !speaks_for_peer(known, tuple, ifindex, way) {
                return;
            }
            let attempt = *known;
            if tuple.protocol == protocol::UDP {
                settle_udp(tuple, &attempt, seen.now, 0);
            }
            if forget(tuple) {
                tell(&seen, tuple, &attempt, |event| fill(event, error));
            }
        } else if (*known).rejected == 0 {
            (*known).rejected = 1;
            (*known).icmp_type = error.icmp_type;
            (*known).icmp_code = error.icmp_code;
            seen.kind = kind::UNREACHABLE;
            tell(&seen, tuple, &*known, |event| fill(event, error));
        }
    }
}

#[inline(always)]
fn fill(event: &mut Event, error: &Packet) {
    event.other.source = error.sender;
    event.other.family = error.tuple.family;
    event.icmp_type = error.icmp_type;
    event.icmp_code = error.icmp_code;
}
