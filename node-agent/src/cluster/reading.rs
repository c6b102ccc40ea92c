//! What one reading of all files gave.

use std::time::Duration;

use node_agent_engine::model::Delta;

use super::Notice;

/// What one reading of all files gave.
#[derive(Debug, Default)]
pub struct Reading {
    /// What changed since the reading before, in the order of delivery.
    pub deltas: Vec<Delta>,
    /// What the operator should be told.
    pub notices: Vec<Notice>,
    /// Everything could be read: no file stands on an older content. Objects that were refused do not count.
    pub complete: bool,
    /// A file may be in the middle of being written: read again after so long.
    pub again_in: Option<Duration>,
}

impl Reading {
    /// How much of it went wrong: each thing when it is told, and one for as long as a file stands on an older content.
    #[must_use]
    pub fn errors(&self) -> u64 {
        let told = self.notices.iter().filter(|notice| notice.is_error());
        let stands = !self.complete && self.again_in.is_none();
        (told.count() as u64).max(u64::from(stands))
    }

    /// What is there now does not count yet.
    pub(super) fn wait(&mut self, left: Duration) {
        self.complete = false;
        self.again_in = Some(self.again_in.map_or(left, |other| other.min(left)));
    }
}
