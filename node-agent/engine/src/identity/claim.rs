//! Who claims an address, and since when.

use std::sync::Arc;

use super::WATCH_LAG_NS;
use crate::input::Moment;
use crate::model::ObjectKey;

/// What claims an address. A pod is another one when its UID is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Claimant {
    Pod {
        key: ObjectKey,
        uid: Arc<str>,
    },
    HostPod {
        key: ObjectKey,
        node: Arc<str>,
    },
    Node(Arc<str>),
    OwnNode(Arc<str>),
    /// A node's end of a tunnel or bridge, by what nodes usually do: whoever else claims it has it.
    Tunnel(Arc<str>),
    /// A Service, by an address of the cluster.
    Service(ObjectKey),
    /// The same, by one for clients outside: it may be a node's, whose other ports stay that node's.
    Published(ObjectKey),
}

impl Claimant {
    pub(super) fn is_pod(&self) -> bool {
        match self {
            Self::Pod { .. } => true,
            Self::HostPod { .. }
            | Self::Node(_)
            | Self::OwnNode(_)
            | Self::Tunnel(_)
            | Self::Service(_)
            | Self::Published(_) => false,
        }
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self, Self::Tunnel(_))
    }

    pub(super) fn owner(&self) -> Owner<'_> {
        match self {
            Self::Pod { key, uid } => Owner::Pod(key, uid),
            Self::HostPod { node, .. }
            | Self::Node(node)
            | Self::OwnNode(node)
            | Self::Tunnel(node) => Owner::Node(node),
            Self::Service(key) => Owner::Service(key),
            Self::Published(key) => Owner::Published(key),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner<'a> {
    Pod(&'a ObjectKey, &'a str),
    Node(&'a Arc<str>),
    Service(&'a ObjectKey),
    Published(&'a ObjectKey),
}

impl Owner<'_> {
    pub(super) fn is_nameless(self) -> bool {
        match self {
            Self::Node(name) => name.is_empty(),
            Self::Pod(..) | Self::Service(_) | Self::Published(_) => false,
        }
    }
}

/// A claim from its beginning to its end.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) claimant: Claimant,
    pub(super) from: Moment,
    pub(super) until: Option<Moment>,
}

impl Claim {
    pub(super) fn holds_at(&self, at: Moment) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }

    pub(super) fn is_soon_after(&self, at: Moment) -> bool {
        self.from > at && self.from.since(at) <= WATCH_LAG_NS
    }
}
