//! When something that goes on is said again.

use crate::Moment;

const SECOND_NS: u64 = 1_000_000_000;

/// How long after the last time; the first step is the window.
const BACK_OFF_NS: [u64; 3] = [60 * SECOND_NS, 600 * SECOND_NS, 3600 * SECOND_NS];

/// What said nothing for so long begins anew.
const FORGET_NS: u64 = 2 * 3600 * SECOND_NS;

/// What was said of something so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BackOff {
    said: Option<Moment>,
    step: usize,
}

impl BackOff {
    /// When it may be said again; at once when it never was.
    pub(crate) fn due(&self, window_ns: u64) -> Moment {
        let Some(said) = self.said else {
            return Moment::default();
        };
        let wait = match self.step.checked_sub(1) {
            None => window_ns,
            Some(step) => BACK_OFF_NS
                .get(step)
                .or(BACK_OFF_NS.last())
                .copied()
                .unwrap_or(window_ns),
        };
        said.plus(wait)
    }

    /// It is said now.
    pub(crate) fn say(&mut self, now: Moment) {
        if self.said.is_some() {
            self.step += 1;
        }
        self.said = Some(now);
    }

    /// Whether it was said so long ago that nobody remembers.
    pub(crate) fn is_forgotten(&self, now: Moment) -> bool {
        self.said.is_some_and(|said| now.since(said) >= FORGET_NS)
    }
}
