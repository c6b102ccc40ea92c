//! Attempts that have been told of and stay in the kernel side's table: that their first packet is sent again is no new
//! attempt, and what comes back to them late is told.

use std::collections::{BTreeSet, HashMap};

use node_agent_common::maps::drop_class::is_by_rule;
use node_agent_common::maps::{OPEN_NS, UDP_OPEN_NS, UDP_SILENT_NS, share};
use node_agent_common::{Attempt, MOST_REPEATS, Tuple, may_repeat, protocol};
use node_agent_engine::input::Moment;

/// All of them.
pub(super) struct Staying {
    /// Most of one slot, and of all.
    most: (usize, usize),
    attempts: HashMap<Tuple, Stays>,
    /// How many each slot has.
    of_slots: HashMap<u16, usize>,
    /// Number of the sweep.
    round: u64,
}

/// One of them.
struct Stays {
    first_ns: u64,
    slot: u16,
    /// How often it was sent again.
    repeats: u32,
    /// When that was last seen to have grown.
    since: Moment,
    /// Of a datagram: all were stopped by then.
    was_stopped: bool,
    /// How often it was sent again and dropped, as the last sweep saw it.
    seen: (u32, u32),
    /// Nothing came back by then, and if something does, here is where it is told.
    is_open: bool,
    /// The sweep that found it last.
    round: u64,
}

/// One of them that a sweep has found.
pub(super) struct Found {
    /// It has been answered or refused since it was told of.
    pub(super) is_answered: bool,
    /// When its latest packet was seen.
    pub(super) since: Moment,
    pub(super) next: Next,
}

/// What is to be done with an attempt that was told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It stays.
    Stay,
    /// It is forgotten: another first packet is a new attempt.
    Forget,
    /// The same, of a datagram; its further packets are no attempts until it was silent, or due.
    Settle,
    /// The same, and its next packet is due: what becomes of it has changed.
    Again {
        /// It was stopped before.
        was_stopped: bool,
    },
}

impl Staying {
    /// Half of a table of that many attempts, and of each share of it, is left to those that have not ended.
    pub(super) fn new(attempts: u32) -> Self {
        let half = |entries: u32| usize::try_from(entries / 2).unwrap_or(usize::MAX);
        Self {
            most: (half(share::of(attempts)), half(attempts)),
            attempts: HashMap::new(),
            of_slots: HashMap::new(),
            round: 0,
        }
    }

    /// Begins a sweep: what it does not find stays no longer.
    pub(super) fn begin(&mut self) {
        self.round += 1;
    }

    /// Ends a sweep.
    pub(super) fn end(&mut self) {
        let Self {
            attempts,
            of_slots,
            round,
            ..
        } = self;
        of_slots.clear();
        attempts.retain(|_, stays| stays.round == *round);
        for stays in attempts.values() {
            *of_slots.entry(stays.slot).or_default() += 1;
        }
    }

    /// What has become of an attempt; `None` when it was not told of before.
    pub(super) fn find(&mut self, tuple: &Tuple, attempt: &Attempt, now: Moment) -> Option<Found> {
        let stays = self.attempts.get_mut(tuple)?;
        if stays.first_ns != attempt.first_ns {
            return None;
        }
        let repeats = repeats(attempt);
        if stays.repeats != repeats {
            (stays.repeats, stays.since) = (repeats, now);
        }
        let is_answered = attempt.answered != 0 && std::mem::take(&mut stays.is_open);
        let next = stays.next(tuple.protocol, attempt, now);
        stays.seen = seen(attempt);
        if next == Next::Stay {
            stays.round = self.round;
        }
        Some(Found {
            is_answered,
            since: stays.since,
            next,
        })
    }

    /// Lets one stay that is told of now; false when there is no room, or nothing more to come.
    pub(super) fn admit(&mut self, tuple: &Tuple, attempt: &Attempt, now: Moment) -> bool {
        let is_udp = tuple.protocol == protocol::UDP;
        // Datagrams need no answer, and there may be many: they leave room for what is sent again.
        let part = if is_udp { 2 } else { 1 };
        let (most_of_slot, most) = self.most;
        let of_slot = self.of_slots.entry(attempt.slot).or_default();
        let has_room = *of_slot < most_of_slot / part && self.attempts.len() < most / part;
        if !has_room || is_udp && attempt.answered != 0 {
            return false;
        }
        *of_slot += 1;
        let stays = Stays {
            first_ns: attempt.first_ns,
            slot: attempt.slot,
            repeats: repeats(attempt),
            since: now,
            was_stopped: is_stopped_by_rule(attempt),
            seen: seen(attempt),
            is_open: false,
            round: self.round,
        };
        self.attempts.insert(*tuple, stays);
        true
    }

    /// Notes that one was told of here, if it stays: so will be what comes back to it.
    pub(super) fn open(&mut self, tuple: &Tuple, attempt: &Attempt) {
        if let Some(stays) = self.attempts.get_mut(tuple) {
            stays.is_open = attempt.answered == 0;
        }
    }

    /// Tells whether an attempt is one of them.
    pub(super) fn has(&self, tuple: &Tuple, first_ns: u64) -> bool {
        let stays = self.attempts.get(tuple);
        stays.is_some_and(|stays| stays.first_ns == first_ns)
    }

    /// Takes out the datagrams from and to these addresses; gives each with its slot.
    pub(super) fn take_udp_of(&mut self, addresses: &BTreeSet<[u8; 16]>) -> Vec<(Tuple, u16)> {
        let is_theirs = |tuple: &Tuple, _: &mut Stays| {
            let is_end = |address| addresses.contains(address);
            tuple.protocol == protocol::UDP && (is_end(&tuple.source) || is_end(&tuple.destination))
        };
        let taken = self.attempts.extract_if(is_theirs);
        taken.map(|(tuple, stays)| (tuple, stays.slot)).collect()
    }
}

impl Stays {
    fn next(&self, protocol: u8, attempt: &Attempt, now: Moment) -> Next {
        let silent_ns = now.since(self.since);
        if protocol == protocol::UDP {
            return if attempt.answered == 0 && self.has_changed(attempt) {
                Next::Again {
                    was_stopped: self.was_stopped,
                }
            } else if silent_ns >= UDP_SILENT_NS {
                Next::Forget
            } else if attempt.answered != 0 || now.since(Moment(self.first_ns)) >= UDP_OPEN_NS {
                Next::Settle
            } else {
                Next::Stay
            };
        }
        let stays = if attempt.answered != 0 || attempt.is_stopped() {
            // Without another first packet nothing more comes of it.
            let lasted_ns = self.since.since(Moment(self.first_ns));
            attempt.retransmissions <= MOST_REPEATS && may_repeat(lasted_ns, silent_ns)
        } else {
            silent_ns < OPEN_NS
        };
        if stays { Next::Stay } else { Next::Forget }
    }

    /// Whether datagrams come through that were stopped, or all that came since the last sweep were stopped.
    fn has_changed(&self, attempt: &Attempt) -> bool {
        if self.was_stopped {
            // One that is on its way has been seen, and is not dropped yet.
            return attempt.retransmissions > attempt.drops.saturating_add(1);
        }
        let (sent, dropped) = self.seen;
        let sent = attempt.retransmissions.wrapping_sub(sent);
        let dropped = attempt.drops.wrapping_sub(dropped);
        is_by_rule(attempt.drop_class) && dropped != 0 && dropped >= sent
    }
}

/// Whether all of it was dropped, and as enforcers do.
pub(super) fn is_stopped_by_rule(attempt: &Attempt) -> bool {
    attempt.is_stopped() && is_by_rule(attempt.drop_class)
}

fn seen(attempt: &Attempt) -> (u32, u32) {
    (attempt.retransmissions, attempt.drops)
}

fn repeats(attempt: &Attempt) -> u32 {
    attempt.retransmissions.wrapping_add(attempt.drops)
}

#[cfg(test)]
mod tests {
    use node_agent_common::maps::drop_class;
    use node_agent_common::{ANSWERED, Attempt, REFUSED_LATE, protocol};
    use node_agent_engine::input::Moment;

    use super::{Next, Stays, is_stopped_by_rule, seen};

    const SECOND: u64 = 1_000_000_000;

    /// How long an attempt stays is told by what may still come of it.
    #[test]
    fn what_may_come_to_something_stays() {
        use Next::{Forget, Settle, Stay};
        let stopped = Attempt {
            drops: 1,
            ..Attempt::default()
        };
        let silent = Attempt::default();
        let answered = |answered| Attempt {
            answered,
            ..Attempt::default()
        };
        let (tcp, sctp, udp) = (protocol::TCP, protocol::SCTP, protocol::UDP);
        for (name, protocol, attempt, lasted_s, silent_s, expected) in [
            ("a SYN may come again", tcp, stopped, 63, 64, Stay),
            ("it comes no more", tcp, stopped, 3, 10, Forget),
            ("an INIT may come again", sctp, stopped, 213, 60, Stay),
            ("an answer may come", tcp, silent, 3, 100, Stay),
            ("it comes no more", tcp, silent, 3, 131, Forget),
            ("it has come", tcp, answered(ANSWERED), 3, 10, Forget),
            ("a datagram's answer may come", udp, silent, 20, 30, Stay),
            (
                "nothing would be claimed of it",
                udp,
                silent,
                50,
                10,
                Settle,
            ),
            ("it has come", udp, answered(ANSWERED), 3, 1, Settle),
            ("it was refused", udp, answered(REFUSED_LATE), 3, 1, Settle),
            ("it is forgotten", udp, stopped, 3, 40, Forget),
        ] {
            let since = Moment((1000 + lasted_s) * SECOND);
            let stays = Stays {
                first_ns: 1000 * SECOND,
                slot: 0,
                repeats: 0,
                since,
                was_stopped: is_stopped_by_rule(&attempt),
                seen: seen(&attempt),
                is_open: true,
                round: 0,
            };
            let now = Moment(since.0 + silent_s * SECOND);
            let next = stays.next(protocol, &attempt, now);
            assert!(
                next == expected,
                "{name}, after {lasted_s} s and {silent_s} s"
            );
        }
    }

    /// A stream of datagrams that nobody answers is another attempt when it is stopped, or is no more.
    #[test]
    fn what_is_stopped_or_is_no_more_begins_again() {
        let (netfilter, other) = (drop_class::NETFILTER, drop_class::OTHER);
        let attempt = |(retransmissions, drops), drop_class| Attempt {
            retransmissions,
            drops,
            drop_class,
            ..Attempt::default()
        };
        let (stopped, passes) = (
            Next::Again { was_stopped: false },
            Next::Again { was_stopped: true },
        );
        for (name, told, now, class, expected) in [
            ("it goes on", (4, 0), (9, 0), 0, Next::Stay),
            ("one is dropped", (4, 0), (9, 1), netfilter, Next::Stay),
            ("all are from now on", (4, 0), (9, 5), netfilter, stopped),
            ("they are too many", (4, 0), (9, 5), other, Next::Stay),
            ("all are dropped", (4, 5), (9, 10), netfilter, Next::Stay),
            ("one is on its way", (4, 5), (10, 10), netfilter, Next::Stay),
            ("they pass", (4, 5), (12, 10), netfilter, passes),
            ("some are dropped", (4, 2), (9, 4), netfilter, Next::Stay),
        ] {
            let (before, after) = (attempt(told, class), attempt(now, class));
            let stays = Stays {
                first_ns: SECOND,
                slot: 0,
                repeats: 0,
                since: Moment(9 * SECOND),
                was_stopped: is_stopped_by_rule(&before),
                seen: seen(&before),
                is_open: true,
                round: 0,
            };
            let next = stays.next(protocol::UDP, &after, Moment(10 * SECOND));
            assert_eq!(next, expected, "{name}");
        }
    }
}
