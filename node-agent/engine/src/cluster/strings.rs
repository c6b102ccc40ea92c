//! Strings that many objects have in common, kept once.

use std::collections::HashSet;
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::model::Labels;

/// Below this many strings nothing is swept out.
const LEAST_SWEPT: usize = 1024;

/// Strings by their text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strings {
    known: HashSet<Arc<str>, FixedState>,
    sweep_at: usize,
}

impl Strings {
    /// The string that everybody else with this text has.
    pub(crate) fn share(&mut self, text: &Arc<str>) -> Arc<str> {
        if let Some(known) = self.known.get(text) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.sweep_at.max(LEAST_SWEPT) {
            self.known.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = self.known.len() * 2;
        }
        self.known.insert(Arc::clone(text));
        Arc::clone(text)
    }

    /// The same labels with shared strings.
    pub(crate) fn share_all(&mut self, labels: &Labels) -> Labels {
        labels
            .iter()
            .map(|(key, value)| (self.share(key), self.share(value)))
            .collect()
    }
}
