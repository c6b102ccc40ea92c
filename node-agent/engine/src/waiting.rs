//! Endings that cannot be judged yet: an address that may become known, a drop that may follow its ICMP
//! error, a claim that must hold.

use std::collections::BTreeMap;

use crate::Moment;
use crate::aggregate::Span;
use crate::counters::CounterKey;
use crate::input::Flow;
use crate::outcome::Ending;

/// Most endings held at a time.
const MOST_WAITING: usize = 65_536;

/// What an ending waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Conntrack to say what translation did to its addresses.
    LookUp,
    /// The kernel to tell the drop behind a rejection, a moment later.
    Drop,
    /// An address to become known.
    Identity,
    /// A claim to hold.
    Claim,
}

/// Whether what a claim rests on was read afresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Confirmation {
    /// It was not, and nobody was asked for it.
    None,
    /// It was asked for.
    Asked,
    /// It was at that time, and is as it was delivered.
    Given(Moment),
}

/// An ending, and the attempts that count with it.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) waits_for: For,
    pub(crate) confirmation: Confirmation,
    /// When a reading of what it rests on was last asked for; none before the first time.
    pub(crate) last_asked: Option<Moment>,
    /// What conntrack was asked about.
    pub(crate) asked: Option<Flow>,
    pub(crate) ending: Ending,
    pub(crate) count: u64,
    pub(crate) span: Span,
    pub(crate) counter: Option<CounterKey>,
    /// It is told before its attempt's deadline, and only if policy denies it: its end is what counts.
    pub(crate) is_early: bool,
}

impl Held {
    /// An ending on its own.
    pub(crate) fn of(ending: Ending, counter: Option<CounterKey>) -> Self {
        Self {
            waits_for: For::Drop,
            confirmation: Confirmation::None,
            last_asked: None,
            asked: None,
            span: Span::at(ending.attempt.first),
            ending,
            count: 1,
            counter,
            is_early: false,
        }
    }
}

/// All endings that wait, in the order in which they fall due.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    next: u64,
    held: BTreeMap<(Moment, u64), Held>,
    by_attempt: BTreeMap<(Flow, Moment), (Moment, u64)>,
    by_number: BTreeMap<u64, Moment>,
    by_tuple: BTreeMap<(Flow, u64), Moment>,
    lost: u64,
}

impl Waiting {
    /// Holds an ending until `due`; gives its number.
    pub(crate) fn hold(&mut self, due: Moment, held: Held) -> Option<u64> {
        if self.held.len() >= MOST_WAITING {
            self.lost += held.count;
            return None;
        }
        self.next += 1;
        let key = (due, self.next);
        self.by_attempt
            .insert((held.ending.key, held.ending.attempt.first), key);
        self.by_number.insert(self.next, due);
        if let (For::LookUp, Some(tuple)) = (held.waits_for, held.asked) {
            self.by_tuple.insert((tuple, self.next), due);
        }
        self.held.insert(key, held);
        Some(self.next)
    }

    /// Counts more attempts with an ending that waits. False when it waits no more.
    pub(crate) fn more(&mut self, number: u64, count: u64, span: Span) -> bool {
        let Some(held) = self.get_mut(number) else {
            return false;
        };
        held.count += count;
        held.span = held.span.join(span);
        true
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Held> {
        let due = self.by_number.get(&number)?;
        self.held.get_mut(&(*due, number))
    }

    /// Takes back an attempt's early ending, because a better one is known.
    pub(crate) fn take_back(&mut self, key: Flow, first: Moment) {
        if let Some(at) = self.by_attempt.get(&(key, first)).copied()
            && self.held.get(&at).is_some_and(|held| held.is_early)
        {
            self.remove(at);
        }
    }

    /// Withdraws an attempt's ending, early or not, because it has ended otherwise; gives how many attempts count with it.
    pub(crate) fn withdraw(&mut self, key: Flow, first: Moment) -> u64 {
        let at = self.by_attempt.get(&(key, first)).copied();
        let held = at.and_then(|at| self.remove(at));
        held.filter(|held| !held.is_early)
            .map_or(0, |held| held.count)
    }

    /// Takes the earliest ending that is due and for which `ready` holds.
    pub(crate) fn take_due(
        &mut self,
        now: Moment,
        ready: impl Fn(&Held) -> bool,
    ) -> Option<(u64, Held)> {
        let due = self
            .held
            .range(..=(now, u64::MAX))
            .find(|(_, held)| ready(held));
        let key = due.map(|(key, _)| *key)?;
        let held = self.remove(key)?;
        Some((key.1, held))
    }

    /// Takes an ending that waits for what conntrack says of a tuple.
    pub(crate) fn take_looked_up(&mut self, tuple: Flow) -> Option<(u64, Held)> {
        let mut waiting = self.by_tuple.range((tuple, 0)..=(tuple, u64::MAX));
        let ((_, number), due) = waiting.next()?;
        let (number, due) = (*number, *due);
        self.by_tuple.remove(&(tuple, number));
        let held = self.remove((due, number))?;
        Some((number, held))
    }

    /// The claims that are due, those first that have been for longest.
    pub(crate) fn claims_due(&mut self, now: Moment) -> impl Iterator<Item = &mut Held> {
        let due = self.held.range_mut(..=(now, u64::MAX));
        due.map(|(_, held)| held)
            .filter(|held| held.waits_for == For::Claim)
    }

    fn remove(&mut self, key: (Moment, u64)) -> Option<Held> {
        let held = self.held.remove(&key)?;
        self.by_number.remove(&key.1);
        if let Some(tuple) = held.asked {
            self.by_tuple.remove(&(tuple, key.1));
        }
        let attempt = (held.ending.key, held.ending.attempt.first);
        if self.by_attempt.get(&attempt) == Some(&key) {
            self.by_attempt.remove(&attempt);
        }
        Some(held)
    }

    /// Attempts that found no room since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }
}
