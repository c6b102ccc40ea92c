//! Each interface's share of the tables: user space's half of the books.
//!
//! The kernel side counts what it makes and deletes, user space what it does; neither writes the other's numbers.

use std::collections::BTreeMap;

use aya::maps::{Array, MapData};
use node_agent_common::maps::{self, share};

use super::programs::{Error, Programs, Sizes};

/// The books.
pub(super) struct Shares {
    held: Array<MapData, u64>,
    released: Array<MapData, u64>,
    /// What stands in `released`, and what shall stand there.
    written: BTreeMap<u32, u64>,
    wanted: BTreeMap<u32, u64>,
    roles: BTreeMap<u16, u64>,
    udp_flows: u64,
}

impl Shares {
    /// Takes the books over.
    pub(super) fn new(programs: &mut Programs, sizes: Sizes) -> Result<Self, Error> {
        let mut array = |map| {
            let taken = programs.take(map)?;
            Array::try_from(taken).map_err(|source| Error::Map { map, source })
        };
        Ok(Self {
            held: array(maps::HELD)?,
            released: array(maps::RELEASED)?,
            written: BTreeMap::new(),
            wanted: BTreeMap::new(),
            roles: BTreeMap::new(),
            udp_flows: u64::from(share::of(sizes.udp_flows)),
        })
    }

    /// Notes that an entry was deleted.
    pub(super) fn release(&mut self, slot: u16, table: u32) {
        let number = self.wanted.entry(share::index(slot, table)).or_default();
        *number = number.wrapping_add(1);
    }

    /// Notes that a UDP flow was made.
    pub(super) fn take_udp_flow(&mut self, slot: u16) {
        let index = share::index(slot, share::UDP_FLOWS);
        let number = self.wanted.entry(index).or_default();
        *number = number.wrapping_sub(1);
    }

    /// Tells whether a slot may hold one more UDP flow.
    pub(super) fn has_room_for_udp_flow(&self, slot: u16) -> bool {
        let index = share::index(slot, share::UDP_FLOWS);
        let released = self.wanted.get(&index).copied().unwrap_or(0);
        let held = self.held.get(&index, 0).unwrap_or(0);
        // Below zero for a moment, when another entry is made and deleted meanwhile.
        let holds = held.wrapping_sub(released).cast_signed();
        holds < self.udp_flows.cast_signed()
    }

    /// Tells the kernel side what interfaces are: those that see first what comes in, those that lead to known pods, and
    /// those over which no way leads.
    pub(super) fn name(
        &mut self,
        watched: impl Iterator<Item = u32>,
        owned: impl Iterator<Item = u32>,
        asides: impl Iterator<Item = u32>,
    ) {
        let watched = watched.map(|index| (index, share::WATCHED));
        let owned = owned.map(|index| (index, share::OWNED));
        let asides = asides.map(|index| (index, share::ASIDE));
        let mut of: BTreeMap<u32, u64> = BTreeMap::new();
        for (index, role) in watched.chain(owned).chain(asides) {
            *of.entry(index).or_default() |= role;
        }
        let mut roles: BTreeMap<u16, u64> = BTreeMap::new();
        for (index, role) in of {
            // Two interfaces in one place are as good as unknown.
            let role = share::role(index, role);
            roles
                .entry(share::slot(index))
                .and_modify(|both| *both = share::role(0, share::WATCHED))
                .or_insert(role);
        }
        if roles == self.roles {
            return;
        }
        for slot in self.roles.keys().chain(roles.keys()) {
            let role = roles.get(slot).copied().unwrap_or(0);
            self.wanted.insert(share::index(*slot, share::ROLE), role);
        }
        self.roles = roles;
        self.write();
    }

    /// Tells the kernel side what was released.
    pub(super) fn write(&mut self) {
        for (index, number) in &self.wanted {
            if self.written.get(index) == Some(number) {
                continue;
            }
            match self.released.set(*index, number, 0) {
                Ok(()) => drop(self.written.insert(*index, *number)),
                Err(error) => tracing::debug!(%error, "a share is not written"),
            }
        }
    }
}
