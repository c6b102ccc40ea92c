//! What is remembered of a UDP conversation that has had its outcome.

/// A UDP conversation that has had its outcome; its packets are no attempts until it was silent.
///
/// Key: [`Tuple::paired`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpFlow {
    /// Monotonic time of the first packet, nanoseconds.
    pub first_ns: u64,
    /// Monotonic time of the latest packet that was looked at, nanoseconds.
    pub last_ns: u64,
    /// 1 when a packet came back.
    pub answered: u8,
    /// 1 when the cache has answered for it: its latest packet may be younger than `last_ns`.
    pub cached: u8,
    /// 1 when its first packet went against the direction of its key.
    pub turned: u8,
    /// 1 when its first packet and the latest one were dropped, and none was answered: what goes the other way answers
    /// none.
    pub stopped: u8,
    /// Always zero.
    pub padding: [u8; 2],
    /// Whose share of the tables it is held in, see [`crate::maps::share`].
    pub slot: u16,
}

const _: () = assert!(size_of::<UdpFlow>() == 24 && align_of::<UdpFlow>() == 8);

impl UdpFlow {
    /// Tells whether it was silent for so long that its next packet is a new attempt.
    #[inline(always)]
    #[must_use]
    pub fn is_silent(&self, now_ns: u64) -> bool {
        let lasted = self.last_ns.saturating_sub(self.first_ns);
        // What the cache let go was not timed: it may have lasted.
        let is_stream =
            self.answered != 0 && (self.cached != 0 || lasted > crate::maps::UDP_STREAM_NS);
        let limit = if is_stream {
            crate::maps::UDP_STREAM_SILENT_NS
        } else {
            crate::maps::UDP_SILENT_NS
        };
        // Another processor may have written a later time than ours.
        now_ns.saturating_sub(self.last_ns) > limit
    }

    /// Tells whether its next packet is an attempt although it was not silent: nobody answers it, and what becomes of it may
    /// have changed.
    #[inline(always)]
    #[must_use]
    pub fn is_due(&self, now_ns: u64) -> bool {
        self.answered == 0 && now_ns.saturating_sub(self.first_ns) > crate::maps::UDP_OPEN_NS
    }
}

#[cfg(test)]
mod tests {
    use super::UdpFlow;

    const SECOND: u64 = 1_000_000_000;

    /// As conntrack: a question and its answer are forgotten after 30 s, a stream after 180 s at most; and 10 s more,
    /// in which the cache may have answered for it.
    #[test]
    fn streams_are_remembered_longer_than_questions() {
        let flow = |lasted: u64, answered, cached| UdpFlow {
            first_ns: SECOND,
            last_ns: SECOND + lasted,
            answered,
            cached,
            turned: 0,
            stopped: 0,
            padding: [0; 2],
            slot: 0,
        };
        for (name, flow, silent_s, is_silent) in [
            ("question", flow(0, 1, 0), 39, false),
            ("question", flow(0, 1, 0), 41, true),
            ("stream", flow(3 * SECOND, 1, 0), 190, false),
            ("stream", flow(3 * SECOND, 1, 0), 201, true),
            (
                "stream that the cache let go",
                flow(SECOND, 1, 1),
                190,
                false,
            ),
            ("one-way stream", flow(60 * SECOND, 0, 0), 41, true),
        ] {
            let now = flow.last_ns + silent_s * SECOND;
            assert_eq!(flow.is_silent(now), is_silent, "{name} after {silent_s} s");
            assert!(!flow.is_silent(0), "{name}: another processor was faster");
        }
    }

    #[test]
    fn what_nobody_answers_is_due_again() {
        let flow = |answered| UdpFlow {
            first_ns: SECOND,
            answered,
            ..UdpFlow::default()
        };
        for (answered, after_s, is_due) in [(0, 60, false), (0, 61, true), (1, 61, false)] {
            let now = (1 + after_s) * SECOND;
            assert_eq!(flow(answered).is_due(now), is_due, "after {after_s} s");
        }
    }
}
