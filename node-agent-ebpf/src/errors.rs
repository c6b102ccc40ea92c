//! ICMP errors: what they quote is the attempt they end.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use node_agent_common::parse::IcmpError;
use node_agent_common::{Event, Tuple, kind, protocol};

use crate::Way;
use crate::tables::{ATTEMPTS, Seen, forget, settle_udp, tell};

/// An error about `tuple`: from a pod it is the pod's own refusal, towards one it came from the way.
#[inline(never)]
pub(crate) fn seen(tuple: &Tuple, error: &IcmpError, ifindex: u32, way: Way) {
    let Some(known) = ATTEMPTS.get_ptr_mut(tuple) else {
        return;
    };
    // SAFETY: a value of the map.
    unsafe {
        if error.sequence.is_some_and(|s| s != (*known).sequence) {
            return;
        }
        let mut seen = Seen {
            now: bpf_ktime_get_ns(),
            ifindex,
            kind: kind::REFUSED,
        };
        if way == Way::FromPod {
            let attempt = *known;
            if tuple.protocol == protocol::UDP {
                settle_udp(tuple, &attempt, seen.now, 0);
            }
            if forget(tuple) {
                tell(&seen, tuple, &attempt, |event| fill(event, tuple, error));
            }
        } else if (*known).rejected == 0 {
            (*known).rejected = 1;
            (*known).icmp_type = error.icmp_type;
            (*known).icmp_code = error.icmp_code;
            seen.kind = kind::UNREACHABLE;
            tell(&seen, tuple, &*known, |event| fill(event, tuple, error));
        }
    }
}

#[inline(always)]
fn fill(event: &mut Event, tuple: &Tuple, error: &IcmpError) {
    event.other.source = error.from;
    event.other.family = tuple.family;
    event.icmp_type = error.icmp_type;
    event.icmp_code = error.icmp_code;
}
