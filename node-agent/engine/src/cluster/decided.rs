//! Verdicts that were given before, as long as nothing they rest on has changed.

use std::hash::BuildHasher;

use foldhash::fast::FixedState;

use super::blocks::BlockClass;
use super::classes::ClassId;
use crate::connection::Profile;
use crate::model::Protocol;
use crate::verdict::Brief;

/// How many verdicts are kept; a power of two. Where two meet, the later one stays.
const PLACES: usize = 1 << 16;

/// What a verdict rests on, between pods and addresses outside the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) source: Side,
    pub(crate) destination: Side,
    pub(crate) protocol: Protocol,
    pub(crate) port: Option<u16>,
    pub(crate) profile: Profile,
}

/// One end: what policies can know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// What was decided, in a table of fixed size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Decided {
    places: Vec<Option<(Key, Brief)>>,
}

impl Decided {
    pub(crate) fn get(&self, key: &Key) -> Option<Brief> {
        let (known, brief) = self.places.get(place(key))?.as_ref()?;
        (known == key).then_some(*brief)
    }

    pub(crate) fn put(&mut self, key: Key, brief: Brief) {
        if self.places.is_empty() {
            self.places = vec![None; PLACES];
        }
        if let Some(place) = self.places.get_mut(place(&key)) {
            *place = Some((key, brief));
        }
    }
}

fn place(key: &Key) -> usize {
    FixedState::default().hash_one(key) as usize % PLACES
}
