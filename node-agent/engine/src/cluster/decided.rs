//! Verdicts that were given before, as long as nothing they rest on has changed.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::blocks::BlockClass;
use super::classes::ClassId;
use crate::connection::Profile;
use crate::model::Protocol;
use crate::verdict::Brief;

/// How many verdicts are kept, in pairs; a power of two. Of three that meet the two latest stay.
const PAIRS: usize = 1 << 16;

/// What a verdict rests on, between pods and addresses outside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) source: Side,
    pub(crate) destination: Side,
    pub(crate) how: How,
}

/// What is asked about two ends: protocol, port and dataplane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct How {
    port: u16,
    protocol: Protocol,
    /// With a bit that says whether there is a port.
    profile: u8,
}

impl How {
    pub(crate) fn new(protocol: Protocol, port: Option<u16>, profile: Profile) -> Self {
        Self {
            port: port.unwrap_or_default(),
            protocol,
            profile: (profile as u8) << 1 | u8::from(port.is_some()),
        }
    }
}

/// One end: what policies can know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Side {
    /// [`ClassId::NONE`] for an address outside the cluster.
    pub(crate) class: ClassId,
    /// The class's; moves with everything that a verdict about it rests on.
    pub(crate) generation: u32,
    /// The same for all when no rule of the other end asks for addresses.
    pub(crate) block: BlockClass,
}

impl Side {
    /// An address outside the cluster.
    pub(crate) const WORLD: Self = Self {
        class: ClassId::NONE,
        generation: 0,
        block: BlockClass::NONE,
    };
}

/// Two verdicts in one line of the processor's cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Pair {
    latest: Option<(Key, Brief)>,
    before: Option<(Key, Brief)>,
}

/// What was decided, in a table of fixed size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    pairs: Vec<Pair>,
}

impl Decided {
    pub(crate) fn get(&self, key: &Key) -> Option<Brief> {
        let Pair { latest, before } = self.pairs.get(place(key))?;
        let mut known = latest.iter().chain(before);
        known
            .find(|(known, _)| known == key)
            .map(|(_, brief)| *brief)
    }

    pub(crate) fn put(&mut self, key: Key, brief: Brief) {
        if self.pairs.is_empty() {
            self.pairs = vec![Pair::default(); PAIRS];
        }
        if let Some(pair) = self.pairs.get_mut(place(&key)) {
            pair.before = pair.latest.replace((key, brief));
        }
    }
}

fn place(key: &Key) -> usize {
    let Key {
        source,
        destination,
        how,
    } = key;
    let two = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let words = (
        two(source.class.number(), destination.class.number()),
        two(source.generation, destination.generation),
        two(source.block.number(), destination.block.number()),
        two(
            how.port.into(),
            (how.protocol as u32) << 8 | u32::from(how.profile),
        ),
    );
    FixedState::default().hash_one(words) as usize % PAIRS
}

const _: () = assert!(size_of::<Pair>() == 64);
