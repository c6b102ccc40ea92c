//! Whether a file has stood still: writers write in several steps, and a part of a file is often valid too.

use std::time::{Duration, SystemTime};

/// How long a content, or the absence of a file, must stand before it counts.
pub(super) const STILL: Duration = Duration::from_secs(1);

/// Something that differs from what counts, and since when it has stood.
#[derive(Debug)]
pub(super) struct Unsettled<T> {
    what: T,
    since: SystemTime,
}

impl<T: PartialEq> Unsettled<T> {
    /// Looks at what is there now, after what was there at the last look. `written` is when it was last written,
    /// as far as that is known; a time that lies ahead says nothing.
    pub(super) fn look(
        before: Option<Self>,
        what: T,
        written: Option<SystemTime>,
        now: SystemTime,
    ) -> Self {
        let written = written.filter(|written| *written <= now);
        let seen = before
            .filter(|before| before.what == what)
            .map_or(now, |before| before.since.min(now));
        let since = written.map_or(seen, |written| written.min(seen));
        Self { what, since }
    }

    /// How long it must stand yet; absent when it has stood long enough.
    pub(super) fn remaining(&self, now: SystemTime) -> Option<Duration> {
        let stood = now.duration_since(self.since).unwrap_or_default();
        STILL.checked_sub(stood).filter(|left| !left.is_zero())
    }

    /// What stood still.
    pub(super) fn settled(self) -> T {
        self.what
    }
}
