//! Attributes the kernel's running totals to what their exemplars turned out to be.
//!
//! The kernel says the first of an outcome of a conversation in an epoch and counts the others; all it counts up to
//! the next event is what the last event was.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::Moment;
use crate::aggregate::Kind;
use crate::input::{Counted, Event, EventKind};
use crate::model::Protocol;

/// The kernel side forgets a conversation only after 300 s without an attempt.
const IDLE_NS: u64 = 200_000_000_000;

/// A counter that saw nothing for so long is forgotten; the kernel side forgets its own after 300 s.
const FORGET_NS: u64 = 600_000_000_000;

/// Most counters held at a time; more than the kernel side holds.
const MOST_COUNTERS: usize = 262_144;

/// Which running total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CounterKey {
    source: IpAddr,
    destination: IpAddr,
    port: u16,
    protocol: Protocol,
    kind: EventKind,
    elsewhere: bool,
}

impl CounterKey {
    pub(crate) fn of(event: &Event) -> Self {
        let flow = &event.flow;
        Self {
            source: flow.source,
            destination: flow.destination,
            port: flow.destination_port,
            protocol: flow.protocol,
            kind: event.kind,
            elsewhere: event.attempt.answered_elsewhere,
        }
    }

    pub(crate) fn of_counted(counted: &Counted) -> Self {
        Self {
            source: counted.source,
            destination: counted.destination,
            port: counted.destination_port,
            protocol: counted.protocol,
            kind: counted.kind,
            elsewhere: counted.elsewhere,
        }
    }
}

/// What a counter's attempts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// They are counted elsewhere, or say nothing.
    Nobody,
    /// The event that would tell of them was lost.
    Lost,
    /// A kind.
    Kind(Box<Kind>),
    /// An ending that waits, by its number.
    Waiting(u64),
}

#[derive(Debug)]
struct Counter {
    counted: u64,
    to: Target,
    last: Moment,
}

/// All counters.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counters: BTreeMap<CounterKey, Counter>,
    lost: u64,
    untold: u64,
}

impl Counters {
    /// Takes a running total that comes after all events: a conversation that none has told of is lost, until one does.
    pub(crate) fn note_untold(&mut self, key: CounterKey, last: Moment) {
        if self.counters.len() < MOST_COUNTERS {
            self.counters.entry(key).or_insert(Counter {
                counted: 0,
                to: Target::Lost,
                last,
            });
        }
    }

    /// Attempts whose event was lost.
    pub(crate) fn lose(&mut self, count: u64) {
        self.untold += count;
    }

    /// Attempts since the last call whose event was lost.
    pub(crate) fn take_untold(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }

    /// Takes the attempts that a running total adds to what was counted; `exemplar` is 1 when the latest of
    /// them is told by an event and counted by the caller.
    pub(crate) fn advance(
        &mut self,
        key: CounterKey,
        total: u64,
        exemplar: u64,
        last: Moment,
    ) -> Option<(Target, u64)> {
        let counter = self.counters.get_mut(&key)?;
        // The kernel side forgets what was idle for long, and begins anew. Otherwise two processors' events came
        // out of order.
        if total < counter.counted && last.since(counter.last) > IDLE_NS {
            counter.counted = 0;
        }
        let more = total
            .saturating_sub(counter.counted)
            .saturating_sub(exemplar);
        counter.counted = counter.counted.max(total);
        counter.last = counter.last.max(last);
        (more > 0).then(|| (counter.to.clone(), more))
    }

    /// Says what the attempts from here on are; gives how many came before anybody said, without the exemplar.
    pub(crate) fn point(&mut self, key: CounterKey, total: u64, to: Target, last: Moment) -> u64 {
        if let Some(counter) = self.counters.get_mut(&key) {
            counter.to = to;
            return 0;
        }
        if self.counters.len() >= MOST_COUNTERS {
            self.lost += 1;
            return 0;
        }
        self.counters.insert(
            key,
            Counter {
                counted: total,
                to,
                last,
            },
        );
        total.saturating_sub(1)
    }

    /// An ending that waited became something.
    pub(crate) fn resolve(&mut self, key: CounterKey, waiting: u64, to: Target) {
        if let Some(counter) = self.counters.get_mut(&key)
            && counter.to == Target::Waiting(waiting)
        {
            counter.to = to;
        }
    }

    /// Forgets what saw nothing for long.
    pub(crate) fn forget(&mut self, now: Moment) {
        self.counters
            .retain(|_, counter| now.since(counter.last) < FORGET_NS);
    }

    /// Conversations that found no room since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}
