//! What watches say.

use std::sync::Arc;

use node_agent_engine::k8s::Sent;

use super::problem::Problem;

/// What is known of a kind now.
#[derive(Debug)]
pub(super) struct Said {
    /// Its place in the table of kinds.
    pub(super) kind: usize,
    /// What is known.
    pub(super) what: What,
}

/// What a watch says.
#[derive(Debug)]
pub(super) enum What {
    /// The server has the kind in this version, from here on.
    Served(Arc<str>),
    /// All objects follow, up to [`What::Listed`].
    Listing,
    /// An object as it is now.
    There(Box<Sent>),
    /// An object is gone.
    Gone(Box<Sent>),
    /// All objects were told: what was not among them is gone.
    Listed,
    /// Versions told before say nothing any more: the server counts anew.
    SetBack,
    /// Changes are told as they come.
    Following,
    /// The server does not have that kind.
    Absent,
    /// Changes are not told until the next [`What::Following`].
    Broken(Problem),
}

impl What {
    /// Whether the server has just told it, rather than the watch found it out.
    pub(super) fn is_of_server(&self) -> bool {
        match self {
            Self::Served(_)
            | Self::Listing
            | Self::There(_)
            | Self::Gone(_)
            | Self::Listed
            | Self::Following => true,
            Self::SetBack | Self::Absent | Self::Broken(_) => false,
        }
    }
}
