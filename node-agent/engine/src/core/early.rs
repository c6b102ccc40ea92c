//! What was told of attempts before their deadline: a denial at once, so that nobody waits for it.
//!
//! Told is not counted. What an attempt came to is known at its end, when it is answered, refused or swept; this
//! keeps it from being written a second time then.

use std::collections::BTreeMap;

use crate::Moment;
use crate::aggregate::Kind;
use crate::input::Flow;
use crate::outcome::Ending;

/// An attempt's end is told within its deadline of 3 s and the sweep that follows, once a second. What is older was
/// answered or refused, and counted so.
const FORGET_NS: u64 = 30_000_000_000;

/// What became of an early ending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It waits.
    Waits,
    /// It was written as a kind.
    Kind(Box<Kind>),
}

/// Attempts of which something was told early.
#[derive(Debug, Default)]
pub(crate) struct Early(BTreeMap<(Flow, Moment), (Moment, Told)>);

impl Early {
    /// What was told of an attempt.
    pub(crate) fn get(&self, key: Flow, first: Moment) -> Option<&Told> {
        self.0.get(&(key, first)).map(|(_, told)| told)
    }

    /// Notes what became of an early ending; `None` when it says nothing before its time.
    pub(crate) fn set(&mut self, now: Moment, ending: &Ending, told: Option<Told>) {
        let attempt = (ending.key, ending.attempt.first);
        match told {
            Some(told) => {
                self.0.insert(attempt, (now, told));
            }
            None => {
                self.0.remove(&attempt);
            }
        }
    }

    /// The attempt has ended.
    pub(crate) fn take(&mut self, key: Flow, first: Moment) -> Option<Told> {
        self.0.remove(&(key, first)).map(|(_, told)| told)
    }

    /// Forgets attempts that have ended otherwise.
    pub(crate) fn forget(&mut self, now: Moment) {
        self.0.retain(|_, (told, _)| now.since(*told) < FORGET_NS);
    }
}
