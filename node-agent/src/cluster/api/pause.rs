//! How long to wait before trying again: longer each time, and never in step with others.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Pauses between tries.
pub(super) struct Pause {
    next: Duration,
}

impl Pause {
    /// Before the first failure.
    pub(super) fn new() -> Self {
        Self { next: FIRST }
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// After a failure: half of it is certain, half is chance.
    pub(super) fn next(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        between(pause / 2, pause)
    }

    /// Before something that should be tried again at once.
    pub(super) fn brief(&self) -> Duration {
        between(Duration::ZERO, FIRST)
    }
}

/// A span by chance.
pub(super) fn between(least: Duration, most: Duration) -> Duration {
    // Each state of the standard library's hashing is made from the system's randomness.
    let chance = RandomState::new().hash_one(0_u8) as f64 / u64::MAX as f64;
    least + most.saturating_sub(least).mul_f64(chance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_begin_anew() {
        let mut pause = Pause::new();
        for most in [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000].map(Duration::from_millis) {
            let found = pause.next();
            assert!(found >= most / 2 && found <= most, "{found:?} of {most:?}");
        }
        pause.reset();
        assert!(pause.next() <= FIRST);
    }

    #[test]
    fn agents_do_not_wait_alike() {
        let spans: std::collections::BTreeSet<_> = (0..100)
            .map(|_| between(Duration::ZERO, Duration::from_secs(10)))
            .collect();
        assert!(spans.len() > 90, "{} of 100", spans.len());
    }
}
