//! A call that a program of its process's cgroups did not let through: no packet tells of it.

use super::Ending;
use crate::input::DropClass;
use crate::record::{ClientSaw, Evidence, OutcomeKind};
use crate::verdict::UnknownBecause;

impl Ending {
    /// Stopped by whoever denies; what fails in another way, as a Service without a backend does, was not.
    pub(super) fn denied(mut self) -> Self {
        let is_denial = self
            .attempt
            .drop
            .as_ref()
            .is_some_and(|drop| drop.class == DropClass::Cgroup);
        self.drop = self.attempt.drop.clone();
        // The socket had no address yet, and it is not known which one it would have had.
        if self.flow.source.is_unspecified() {
            self.doubt = Some(UnknownBecause::Identity);
        } else if self.may_be_a_reply() {
            // A server sends its replies by the same call as a client its questions.
            self.doubt = Some(UnknownBecause::Orientation);
        }
        if is_denial {
            self.with(
                OutcomeKind::Dropped,
                ClientSaw::NotPermitted,
                Evidence::DeniedAtSocket,
            )
        } else {
            self.with(
                OutcomeKind::Unanswered,
                ClientSaw::Unreachable,
                Evidence::DeniedAtSocket,
            )
        }
    }
}
