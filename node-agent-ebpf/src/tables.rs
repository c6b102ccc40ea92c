//! The maps, and what every program does with them: remember, and count.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::btf_maps::{Array, HashMap, PerCpuArray};
use aya_ebpf::macros::btf_map;
use node_agent_common::maps as sizes;
use node_agent_common::maps::stage;
use node_agent_common::{
    Attempt, Conversation, ConversationKey, Event, Joined, Joint, LocationRange, Tuple, UdpFlow,
    protocol,
};

use crate::conntrack;
use crate::counters::add_one;
use crate::kernel::OWN_NETNS;
use crate::shares;

#[btf_map]
pub(crate) static ATTEMPTS: HashMap<Tuple, Attempt, { sizes::ATTEMPTS_ENTRIES as usize }> =
    HashMap::new();
#[btf_map]
static CONVERSATIONS: HashMap<
    ConversationKey,
    Conversation,
    { sizes::CONVERSATIONS_ENTRIES as usize },
> = HashMap::new();
#[btf_map]
pub(crate) static UDP_FLOWS: HashMap<Tuple, UdpFlow, { sizes::UDP_FLOWS_ENTRIES as usize }> =
    HashMap::new();
#[btf_map]
static JOINTS: HashMap<Joint, Joined, { sizes::JOINTS_ENTRIES as usize }> = HashMap::new();
#[btf_map]
static EPOCH: Array<u32, 1> = Array::new();
#[btf_map]
static LOST: PerCpuArray<u64, { stage::COUNT as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static REASON_CLASSES: Array<u32, { sizes::REASONS as usize }> = Array::new();
#[btf_map]
pub(crate) static LOCATIONS: Array<LocationRange, { sizes::LOCATION_SLOTS as usize }> =
    Array::new();
#[btf_map]
static NAMESPACES: HashMap<u32, u32, { sizes::NAMESPACES_ENTRIES as usize }> = HashMap::new();
#[btf_map]
static ADDRESSES: HashMap<[u8; 16], u32, { sizes::ADDRESSES_ENTRIES as usize }> = HashMap::new();
#[btf_map]
pub(crate) static DROPS: PerCpuArray<u64, { sizes::REASONS as usize }> = PerCpuArray::new();

/// `-EEXIST`, as a map update returns it.
const EXISTS: i32 = -17;

/// Counts one at a [`stage`].
#[inline(always)]
pub(crate) fn lose(stage: u32) {
    if let Some(counter) = LOST.get_ptr_mut(stage) {
        // SAFETY: a value of the map.
        unsafe { add_one(counter) };
    }
}

/// The epoch that user space wrote last.
#[inline(always)]
pub(crate) fn epoch() -> u32 {
    EPOCH.get(0).copied().unwrap_or(0)
}

/// Tells whether a network namespace is the node's own or one of its pods'. Most drops are in the node's: no look into
/// a table for those.
#[inline(always)]
pub(crate) fn namespace_is_watched(netns: u32) -> bool {
    namespace_is_own(netns) || NAMESPACES.get_ptr(netns).is_some()
}

/// Tells whether a network namespace is the node's own.
#[inline(always)]
pub(crate) fn namespace_is_own(netns: u32) -> bool {
    netns != 0 && netns == OWN_NETNS.load()
}

/// The interface that leads to a watched network namespace, 0 for the node's own.
#[inline(always)]
pub(crate) fn interface_of(netns: u32) -> Option<u32> {
    if namespace_is_own(netns) {
        return Some(0);
    }
    // SAFETY: a value of the map.
    NAMESPACES.get_ptr(netns).map(|known| unsafe { *known })
}

/// Tells whether an address is one of this node's pods'.
#[inline(always)]
pub(crate) fn is_pod(address: &[u8; 16]) -> bool {
    leads(address).is_some()
}

/// Tells whether an address is a pod's whose interface is watched: what it sends is seen there first.
#[inline(always)]
pub(crate) fn is_watched(address: &[u8; 16]) -> bool {
    leads(address).is_some_and(|to| to != 0)
}

/// Tells whether a packet to `address` goes to its owner's own interface, as far as that is known.
///
/// A bridge floods what it does not know: such a copy at another pod's interface is no sighting.
#[inline(always)]
pub(crate) fn leads_to(address: &[u8; 16], ifindex: u32) -> bool {
    match leads(address) {
        None | Some(0) => true,
        Some(known) => known == ifindex,
    }
}

#[inline(always)]
pub(crate) fn leads(address: &[u8; 16]) -> Option<u32> {
    // SAFETY: a value of the map.
    ADDRESSES.get_ptr(address).map(|known| unsafe { *known })
}

/// Remembers that an attempt was sighted at the server behind address translation; false when there was no room. `nfct` is
/// its packet's, which says what its destination was before; 0 when there is none.
#[inline(never)]
pub(crate) fn join(tuple: &Tuple, sequence: u32, now: u64, nfct: u64) -> bool {
    // SAFETY: zero is valid; `default` would take its room on the stack twice.
    let mut joined: Joined = unsafe { core::mem::zeroed() };
    joined.at_ns = now;
    joined.destination = tuple.destination;
    conntrack::copy_sent_to(nfct, &mut joined.sent_to);
    JOINTS
        .insert(&Joint::of(tuple, sequence), &joined, u64::from(BPF_ANY))
        .is_ok()
}

/// Tells whether an attempt counts at the interface of a pod that its address was translated to: it was sighted there,
/// and ends there.
#[inline(never)]
pub(crate) fn counts_at_backend(tuple: &Tuple, sequence: u32) -> bool {
    if tuple.protocol == protocol::UDP || is_pod(&tuple.destination) {
        return false;
    }
    let joint = Joint::of(tuple, sequence);
    // SAFETY: a value of the map.
    let is_other = |joined: *const Joined| unsafe { (*joined).destination != tuple.destination };
    JOINTS.get_ptr(&joint).is_some_and(is_other) && JOINTS.remove(&joint).is_ok()
}

/// Writes down where the source of an attempt had sent it which has ended behind address translation.
#[inline(always)]
pub(crate) fn tell_sent_to(tuple: &Tuple, sequence: u32, event: &mut Event) {
    let Some(joined) = JOINTS.get_ptr(Joint::of(tuple, sequence)) else {
        return;
    };
    // SAFETY: a value of the map.
    unsafe {
        if (*joined).destination == tuple.destination {
            event.sent_to = (*joined).sent_to;
        }
    }
}

/// What [`count`] found: the running total, and whether it is news.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Counted(u64);

impl Counted {
    /// In a table without room nothing is known to be old: it is news, without a total, and counts as one.
    const UNCOUNTED: Self = Self(1);

    #[inline(always)]
    const fn new(total: u64, news: bool) -> Self {
        Self(total << 1 | news as u64)
    }
    #[inline(always)]
    pub(crate) const fn total(self) -> u64 {
        self.0 >> 1
    }
    #[inline(always)]
    pub(crate) const fn news(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Counts one of `kind` in the tuple's conversation; the first of an epoch is news.
///
/// A function of its own, so that its key does not lie on the callers' stack of 512 bytes.
#[inline(never)]
pub(crate) fn count(tuple: &Tuple, kind: u8, attempt: &Attempt, now: u64) -> Counted {
    let Attempt {
        epoch,
        slot,
        answered_elsewhere,
        ..
    } = *attempt;
    let key = ConversationKey::of(tuple, kind, answered_elsewhere);
    if let Some(known) = CONVERSATIONS.get_ptr_mut(&key) {
        return count_known(known, epoch, now);
    }
    if !shares::CONVERSATIONS.has_room(slot) {
        return Counted::UNCOUNTED;
    }
    let first = Conversation {
        total: 1,
        last_ns: now,
        epoch,
        slot,
        padding: 0,
    };
    match CONVERSATIONS.insert(&key, &first, u64::from(BPF_NOEXIST)) {
        Ok(()) => {
            shares::CONVERSATIONS.take(slot);
            return Counted::new(1, true);
        }
        Err(EXISTS) => {}
        Err(_) => return Counted::UNCOUNTED,
    }
    // Another processor was faster.
    match CONVERSATIONS.get_ptr_mut(&key) {
        Some(known) => count_known(known, epoch, now),
        None => Counted::UNCOUNTED,
    }
}

#[inline(always)]
fn count_known(known: *mut Conversation, epoch: u32, now: u64) -> Counted {
    // SAFETY: a value of the map. A deleted entry may be given to another key at any time: then one is counted
    // in the wrong place, which user space cannot tell from a lost one; it only deletes entries idle for minutes.
    unsafe {
        add_one(&raw mut (*known).total);
        (*known).last_ns = now;
        let news = epoch.wrapping_sub((*known).epoch).cast_signed() > 0;
        if news {
            (*known).epoch = epoch;
        }
        Counted::new((*known).total, news)
    }
}

/// The attempt that has these packets.
#[inline(always)]
pub(crate) fn attempt(tuple: &Tuple) -> Option<*mut Attempt> {
    let (key, turned) = Attempt::key(tuple);
    let known = ATTEMPTS.get_ptr_mut(&key)?;
    // SAFETY: a value of the map.
    unsafe { (*known).turned == turned }.then_some(known)
}

/// Whether an attempt that finds no room is lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is: nothing else tells of it.
    Needed,
    /// It is told of elsewhere.
    Wanted,
}

/// Remembers a new attempt; false when there was no room, or another processor was faster.
#[inline(always)]
pub(crate) fn remember(tuple: &Tuple, attempt: &mut Attempt, room: Room) -> bool {
    let (key, turned) = Attempt::key(tuple);
    attempt.turned = turned;
    let inserted = if shares::ATTEMPTS.has_room(attempt.slot) {
        ATTEMPTS.insert(&key, &*attempt, u64::from(BPF_NOEXIST))
    } else {
        Err(0)
    };
    match inserted {
        Ok(()) => {
            shares::ATTEMPTS.take(attempt.slot);
            return true;
        }
        Err(EXISTS) => {}
        Err(_) if room == Room::Needed => lose(stage::ATTEMPTS),
        Err(_) => {}
    }
    false
}

/// Takes an attempt out, as it was read before; true for one caller only, who may count its outcome.
#[inline(never)]
pub(crate) fn forget(tuple: &Tuple, attempt: &Attempt) -> bool {
    let (key, _) = Attempt::key(tuple);
    let forgotten = ATTEMPTS.remove(&key).is_ok();
    if forgotten {
        shares::ATTEMPTS.give_back(attempt.slot);
    }
    forgotten
}

/// Remembers that a UDP conversation has had its outcome: its packets are no attempts any more.
#[inline(never)]
pub(crate) fn settle_udp(tuple: &Tuple, attempt: &Attempt, now: u64, answered: u8) {
    let (key, turned) = tuple.paired();
    let flow = UdpFlow {
        first_ns: attempt.first_ns,
        last_ns: now,
        answered,
        cached: 0,
        turned: u8::from(turned),
        stopped: 0,
        padding: [0; 2],
        slot: attempt.slot,
    };
    if !shares::UDP_FLOWS.has_room(flow.slot) {
        return lose(stage::UDP_FLOWS);
    }
    match UDP_FLOWS.insert(&key, &flow, u64::from(BPF_NOEXIST)) {
        Ok(()) => shares::UDP_FLOWS.take(flow.slot),
        Err(EXISTS) => settle_again(&key, now, answered),
        Err(_) => lose(stage::UDP_FLOWS),
    }
}

/// A flow that another processor, or an earlier outcome, has settled.
#[inline(always)]
fn settle_again(key: &Tuple, now: u64, answered: u8) {
    if let Some(known) = UDP_FLOWS.get_ptr_mut(key) {
        // SAFETY: a value of the map.
        unsafe {
            (*known).last_ns = now;
            if answered != 0 {
                (*known).answered = 1;
            }
        }
    }
}

/// Forgets a UDP flow that has fallen silent.
#[inline(always)]
pub(crate) fn forget_udp(key: &Tuple, slot: u16) {
    if UDP_FLOWS.remove(key).is_ok() {
        shares::UDP_FLOWS.give_back(slot);
    }
}
