//! What objects were before they changed, as far back as it is kept.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;

use super::Cluster;
use crate::input::Moment;
use crate::model::{Delta, ObjectKey, PolicyKey};

/// How much of the past is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// How far back.
    pub ns: u64,
    /// How much memory it may take, by an estimate that is rather too high.
    pub bytes: usize,
}

impl Default for Kept {
    /// Five minutes, in 8 MiB.
    fn default() -> Self {
        Self {
            ns: 300_000_000_000,
            bytes: 8 << 20,
        }
    }
}

/// Written, an object takes less than this part of the memory that it takes as it is.
const MEMORY_TO_WRITTEN: usize = 3;

/// What names an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Namespace(Arc<str>),
    Pod(ObjectKey),
    Node(Arc<str>),
    Service(ObjectKey),
    Slice(ObjectKey),
    Policy(PolicyKey),
}

impl Key {
    pub(super) fn of(delta: &Delta) -> Self {
        match delta {
            Delta::Namespace(namespace) => Self::Namespace(Arc::clone(&namespace.name)),
            Delta::NamespaceGone(name) => Self::Namespace(Arc::clone(name)),
            Delta::Pod(pod) => Self::Pod(pod.key.clone()),
            Delta::PodGone(key) => Self::Pod(key.clone()),
            Delta::Node(node) => Self::Node(Arc::clone(&node.name)),
            Delta::NodeGone(name) => Self::Node(Arc::clone(name)),
            Delta::Service(service) => Self::Service(service.key.clone()),
            Delta::ServiceGone(key) => Self::Service(key.clone()),
            Delta::EndpointSlice(slice) => Self::Slice(slice.key.clone()),
            Delta::EndpointSliceGone(key) => Self::Slice(key.clone()),
            Delta::Policy(policy) => Self::Policy(policy.key.clone()),
            Delta::PolicyGone(key) => Self::Policy(key.clone()),
        }
    }
}

/// The changes of a time that ends now.
#[derive(Clone, Debug)]
pub(super) struct Past {
    kept: Kept,
    /// In the order in which they happened.
    changes: VecDeque<Before>,
    bytes: usize,
    /// Whatever changed after this is there.
    since: Moment,
}

/// The cluster between two changes: by how many of those that are kept had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State(usize);

/// An object before a change.
#[derive(Clone, Debug)]
pub(super) struct Before {
    /// When it changed.
    pub(super) at: Moment,
    pub(super) was: Delta,
    bytes: usize,
}

impl Past {
    pub(super) fn new(since: Moment, kept: Kept) -> Self {
        Self {
            kept,
            changes: VecDeque::new(),
            bytes: 0,
            since,
        }
    }

    /// Forgets everything: what has changed now is not kept object by object.
    pub(super) fn begin_again(&mut self, now: Moment) {
        *self = Self::new(now, self.kept);
    }

    pub(super) fn note(&mut self, now: Moment, was: Delta) {
        let bytes = size_of::<Before>() + memory_of(&was);
        self.bytes += bytes;
        self.changes.push_back(Before {
            at: now,
            was,
            bytes,
        });
        let Kept { ns, bytes } = self.kept;
        while let Some(first) = self.changes.front()
            && (self.bytes > bytes || now.since(first.at) > ns)
        {
            self.since = self.since.max(first.at);
            self.bytes -= first.bytes;
            self.changes.pop_front();
        }
    }

    /// How many of the changes kept had happened at a moment; `None` when what changed since is not kept any more.
    pub(super) fn state_at(&self, at: Moment) -> Option<State> {
        let happened = self.changes.partition_point(|before| before.at <= at);
        (at >= self.since).then_some(State(happened))
    }

    /// What has changed since, in the order in which it did, each with the state that it led to.
    pub(super) fn since(
        &self,
        State(happened): State,
    ) -> impl DoubleEndedIterator<Item = (State, &Before)> {
        let changes = self.changes.iter().enumerate().skip(happened);
        changes.map(|(index, before)| (State(index + 1), before))
    }
}

impl Cluster {
    /// One whose first picture comes, until [`Cluster::keep_past`]: who is in it has had his addresses since before
    /// anybody looked.
    #[must_use]
    pub(crate) fn in_first_picture() -> Self {
        let mut cluster = Self::default();
        cluster.addresses.set_first_picture(true);
        cluster
    }

    /// Begins to keep the past: what is asked of later is known from now on.
    pub fn keep_past(&mut self, now: Moment, kept: Kept) {
        self.addresses.set_first_picture(false);
        self.past = Some(Past::new(now, kept));
    }

    /// An object as it is, or that it is not there.
    pub(super) fn object(&self, key: &Key) -> Delta {
        match key {
            Key::Namespace(name) => match self.namespaces.get(name) {
                Some(state) if state.explicit => Delta::Namespace(state.namespace.clone()),
                Some(_) | None => Delta::NamespaceGone(Arc::clone(name)),
            },
            Key::Pod(key) => match self.pod(key) {
                Some(pod) => Delta::Pod(pod.clone()),
                None => Delta::PodGone(key.clone()),
            },
            Key::Node(name) => match self.node(name) {
                Some(node) => Delta::Node(node.clone()),
                None => Delta::NodeGone(Arc::clone(name)),
            },
            Key::Service(key) => match self.service(key) {
                Some(service) => Delta::Service(service.clone()),
                None => Delta::ServiceGone(key.clone()),
            },
            Key::Slice(key) => match self.slices.get(key) {
                Some(slice) => Delta::EndpointSlice(slice.clone()),
                None => Delta::EndpointSliceGone(key.clone()),
            },
            Key::Policy(key) => match self.policy(key) {
                Some(policy) => Delta::Policy(policy.clone()),
                None => Delta::PolicyGone(key.clone()),
            },
        }
    }
}

fn memory_of(delta: &Delta) -> usize {
    let mut written = Length(0);
    // Writing into a length does not fail, and an object that cannot be written weighs nothing.
    let _ = serde_json::to_writer(&mut written, delta);
    written.0 * MEMORY_TO_WRITTEN
}

/// How much was written.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
