//! When a first packet with the numbers of another one can be that one, sent again.

/// How long whoever hears nothing waits before the first time, nanoseconds: 3 s where it is longest (SCTP of Linux, TCP of
/// older systems), and what a timer is late.
const FIRST_NS: u64 = 4_000_000_000;
/// How long it waits at most, nanoseconds: Linux doubles the time between two of them up to 120 s.
const LONGEST_NS: u64 = 130_000_000_000;

/// How often it is sent again at most. Linux sends a SYN ten times more, four of them before it doubles the time between
/// two, and an INIT eight times; some come twice.
pub const MOST_REPEATS: u32 = 12;

/// Tells whether what has been sent again for so long may be sent again after such a silence, both in nanoseconds: the
/// time between two is doubled at most, so the next one is as long as all before together, and the first wait.
#[inline(always)]
#[must_use]
pub const fn may_repeat(lasted_ns: u64, silent_ns: u64) -> bool {
    // A timer of Linux may be late by an eighth.
    let next_ns = FIRST_NS + lasted_ns + lasted_ns / 4;
    silent_ns <= next_ns && silent_ns <= LONGEST_NS
}

#[cfg(test)]
mod tests {
    use super::{MOST_REPEATS, may_repeat};

    const SECOND: u64 = 1_000_000_000;

    /// Each as its documentation says: seconds after the first packet.
    const SCHEDULES: [(&str, &[u64]); 5] = [
        ("Linux, TCP", &[1, 3, 7, 15, 31, 63]),
        (
            "Linux 6.5 and later, TCP",
            &[1, 2, 3, 4, 5, 7, 11, 19, 35, 67],
        ),
        (
            "Linux, TCP, `tcp_syn_retries` 9",
            &[1, 3, 7, 15, 31, 63, 127, 247, 367],
        ),
        ("an RTO of 3 s", &[3, 9, 21, 45]),
        ("Linux, SCTP", &[3, 9, 21, 45, 93, 153, 213, 273]),
    ];

    #[test]
    fn what_waits_ever_longer_repeats() {
        for (name, at) in SCHEDULES {
            assert!(u32::try_from(at.len()).unwrap() <= MOST_REPEATS, "{name}");
            let mut before = 0;
            for at in at {
                let silent = (at - before) * SECOND;
                // The longest granularity of its timers up to 262 s.
                let late = (silent / 8).min(4_096_000_000);
                assert!(may_repeat(before * SECOND, silent + late), "{name}: {at} s");
                before = *at;
            }
        }
    }

    #[test]
    fn what_waits_longer_than_that_is_new() {
        for (lasted, silent) in [(0, 5), (1, 6), (7, 13), (100, 131), (1000, 131)] {
            let may = may_repeat(lasted * SECOND, silent * SECOND);
            assert!(!may, "{silent} s after {lasted} s");
        }
    }
}
