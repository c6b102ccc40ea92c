//! Each interface's share of the tables: what one pod floods, the others still have room for.

use aya_ebpf::Global;
use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use node_agent_common::maps::share;

use crate::counters::add;
use crate::kernel::{SHARE_ATTEMPTS, SHARE_CONVERSATIONS, SHARE_UDP_FLOWS};

#[btf_map]
static HELD: Array<u64, { share::NUMBERS as usize }> = Array::new();
#[btf_map]
static RELEASED: Array<u64, { share::NUMBERS as usize }> = Array::new();

/// A table that is shared.
pub(crate) struct Shared {
    column: u32,
    limit: &'static Global<u32>,
}

/// The attempts without an outcome.
pub(crate) const ATTEMPTS: Shared = Shared {
    column: share::ATTEMPTS,
    limit: &SHARE_ATTEMPTS,
};
/// The conversations.
pub(crate) const CONVERSATIONS: Shared = Shared {
    column: share::CONVERSATIONS,
    limit: &SHARE_CONVERSATIONS,
};
/// The UDP tuples that have had their outcome.
pub(crate) const UDP_FLOWS: Shared = Shared {
    column: share::UDP_FLOWS,
    limit: &SHARE_UDP_FLOWS,
};

impl Shared {
    /// Tells whether a slot may hold one more.
    #[inline(always)]
    pub(crate) fn has_room(&self, slot: u16) -> bool {
        let index = share::index(slot, self.column);
        match (HELD.get(index), RELEASED.get(index)) {
            (Some(held), Some(released)) => {
                held.wrapping_sub(*released).cast_signed() < i64::from(self.limit.load())
            }
            _ => true,
        }
    }

    /// Notes that a slot holds one more.
    #[inline(always)]
    pub(crate) fn take(&self, slot: u16) {
        self.add(slot, 1);
    }

    /// Notes that a slot holds one less.
    #[inline(always)]
    pub(crate) fn give_back(&self, slot: u16) {
        self.add(slot, u64::MAX);
    }

    #[inline(always)]
    fn add(&self, slot: u16, number: u64) {
        if let Some(held) = HELD.get_ptr_mut(share::index(slot, self.column)) {
            // SAFETY: a value of the map.
            unsafe { add(held, number) };
        }
    }
}

/// Tells whether an attempt that nobody remembers was counted as lost where it came in, at a watched interface whose
/// share is used up: then it must not be counted again further on, nor fill the share of the pod that it goes to.
#[inline(always)]
pub(crate) fn was_lost_at(ifindex: u32) -> bool {
    let slot = share::slot(ifindex);
    ifindex != 0 && role(ifindex) & share::WATCHED != 0 && !ATTEMPTS.has_room(slot)
}

/// What an interface of the node is, see [`share::ROLE`]; of two in one slot only that they are watched.
#[inline(always)]
pub(crate) fn role(ifindex: u32) -> u64 {
    let role = RELEASED.get(share::index(share::slot(ifindex), share::ROLE));
    match role.copied().unwrap_or(0) {
        role if (role >> 32) as u32 == ifindex || role >> 32 == 0 => role & u64::from(u32::MAX),
        _ => 0,
    }
}
