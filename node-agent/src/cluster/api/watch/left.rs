//! Why a stream is left, and what it was telling.

use super::super::problem::Problem;

/// Nobody listens any more.
pub(super) struct Closed;

/// Why a stream is left.
pub(super) enum Left {
    /// The server ended it, as it does from time to time.
    Ended,
    /// It has told all, and nothing for long: perhaps its connection is dead.
    Quiet,
    Broken(Problem),
    Closed,
}

impl From<Closed> for Left {
    fn from(Closed: Closed) -> Self {
        Self::Closed
    }
}

impl From<Problem> for Left {
    fn from(problem: Problem) -> Self {
        Self::Broken(problem)
    }
}

/// What a stream is telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Listing,
    Following,
}

impl Phase {
    /// What silence means.
    pub(super) fn silent(self) -> Left {
        match self {
            Self::Listing => Problem::Silent.into(),
            Self::Following => Left::Quiet,
        }
    }
}
