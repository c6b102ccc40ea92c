//! What crosses a pod's interface: the fast path that lets nearly everything go at once, and the rest.

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::generated::bpf_skb_load_bytes;
use aya_ebpf::programs::TcContext;
use node_agent_common::maps::stage;
use node_agent_common::parse::{
    self, ABORT, ACK, Bytes, Content, INIT, INIT_ACK, Packet, RST, SYN, Skipped,
};
use node_agent_common::protocol;

use crate::diagnose::diagnose;
use crate::tables::lose;
use crate::{Place, Way, cache, errors, opened, repeats, udp};

/// Length of an Ethernet header; capture attaches to interfaces that have one, and to no others.
pub(crate) const ETHERNET: usize = 14;

/// The bit of a hardware address's first byte that says it is a group's.
pub(crate) const GROUP: u8 = 1;

/// What the fast path says of a packet.
enum Glance {
    /// Nothing in it that tells of an attempt.
    Leave,
    /// Perhaps something.
    Look,
}

/// Looks at one packet.
#[inline(always)]
pub(crate) fn seen(ctx: &TcContext, way: Way) {
    match glance(ctx) {
        Glance::Leave => {}
        Glance::Look => look(ctx.skb.skb, way),
    }
}

/// One integer of the packet.
///
/// # Safety
///
/// `offset` and the integer's size must lie below a bound that was compared with `data_end`.
#[inline(always)]
unsafe fn at<T: Copy>(start: usize, offset: usize) -> T {
    // SAFETY: the caller's. Packets are not aligned, and need not be on the machines whose verifier lets this pass;
    // `read_unaligned` would become a load for each byte.
    unsafe { ((start + offset) as *const T).read() }
}

/// Reads a few bytes by direct access; what is not plainly there is left to [`look`].
#[inline(always)]
fn glance(ctx: &TcContext) -> Glance {
    const V4: u16 = 0x0800_u16.to_be();
    const V6: u16 = 0x86dd_u16.to_be();
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + ETHERNET + 20 + 8 > end {
        return Glance::Look;
    }
    // SAFETY: below the bound.
    match unsafe { at::<u16>(start, 12) } {
        V4 => glance_v4(start, end),
        V6 => glance_v6(start, end),
        // Tags, ARP, and what is rare.
        _ => Glance::Look,
    }
}

#[inline(always)]
fn glance_v4(start: usize, end: usize) -> Glance {
    const L4: usize = ETHERNET + 20;
    // SAFETY: below the bound of `glance`, and of the comparison with `end`.
    unsafe {
        if at::<u8>(start, ETHERNET) != 0x45 {
            return Glance::Look;
        }
        match at::<u8>(start, ETHERNET + 9) {
            protocol::TCP if start + L4 + 14 <= end => flags(at(start, L4 + 13)),
            protocol::UDP => {
                let addresses = [at::<u32>(start, ETHERNET + 12), at(start, ETHERNET + 16)];
                known(cache::knows_v4(addresses, at(start, L4)))
            }
            protocol::SCTP if start + L4 + 16 <= end => chunk(at(start, L4 + 12)),
            protocol::TCP | protocol::ICMP | protocol::SCTP => Glance::Look,
            // To a group: of these only that is counted.
            _ if at::<u8>(start, ETHERNET + 16) >= 224 => Glance::Look,
            _ => Glance::Leave,
        }
    }
}

#[inline(always)]
fn glance_v6(start: usize, end: usize) -> Glance {
    const L4: usize = ETHERNET + 40;
    if start + L4 + 14 > end {
        return Glance::Look;
    }
    // SAFETY: below the bound.
    unsafe {
        match at::<u8>(start, ETHERNET + 6) {
            protocol::TCP => flags(at(start, L4 + 13)),
            protocol::UDP => known(cache::knows_v6(
                [
                    at::<u32>(start, ETHERNET + 8),
                    at(start, ETHERNET + 12),
                    at(start, ETHERNET + 16),
                    at(start, ETHERNET + 20),
                    at(start, ETHERNET + 24),
                    at(start, ETHERNET + 28),
                    at(start, ETHERNET + 32),
                    at(start, ETHERNET + 36),
                ],
                at(start, L4),
            )),
            protocol::SCTP => chunk(at(start, L4 + 12)),
            _ => Glance::Look,
        }
    }
}

#[inline(always)]
fn flags(flags: u8) -> Glance {
    if flags & (SYN | RST) == 0 {
        Glance::Leave
    } else {
        Glance::Look
    }
}

#[inline(always)]
fn chunk(chunk: u8) -> Glance {
    match chunk {
        INIT | INIT_ACK | ABORT => Glance::Look,
        _ => Glance::Leave,
    }
}

#[inline(always)]
fn known(known: bool) -> Glance {
    if known { Glance::Leave } else { Glance::Look }
}

/// A packet's bytes, in its linear part or not.
struct SkbBytes(*mut __sk_buff);

impl Bytes for SkbBytes {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        // SAFETY: the helper writes `N` bytes, or fails and zeroes them.
        unsafe {
            bpf_skb_load_bytes(self.0.cast(), offset, into.as_mut_ptr().cast(), N as u32) == 0
        }
    }
}

/// A packet's linear part, read in place.
struct Linear {
    start: usize,
    end: usize,
}

impl Bytes for Linear {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32, into: &mut [u8; N]) -> bool {
        // No header lies further in; said so that the verifier knows it too.
        const FURTHEST: u32 = 0x3fff;
        let from = self.start + (offset & FURTHEST) as usize;
        if offset > FURTHEST || from + N > self.end {
            return false;
        }
        let to = into.as_mut_ptr();
        let mut done = 0;
        // SAFETY: between the packet's start and its end, and within `into`. Word by word, see `at`.
        unsafe {
            while done + 4 <= N {
                to.add(done).cast::<u32>().write_unaligned(at(from, done));
                done += 4;
            }
            while done + 2 <= N {
                to.add(done).cast::<u16>().write_unaligned(at(from, done));
                done += 2;
            }
        }
        // No header that is read has an odd length.
        N % 2 == 0
    }
}

/// Reads the headers where they lie, and copies them only when they are not in the linear part: a helper's copy of a
/// few bytes costs as much as a look into a table.
#[inline(always)]
fn parsed(skb: *mut __sk_buff, packet: &mut Packet) -> Result<(), Skipped> {
    // SAFETY: fields of the context.
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    match parse::frame(&Linear { start, end }, packet) {
        Err(Skipped::Unreadable) => copied(skb, packet),
        parsed => parsed,
    }
}

/// Reads the headers through copies of them.
///
/// A function of its own that begins with an empty packet: so all the ways on which the first try can fail lead to one
/// state, and the verifier follows this one once.
#[inline(never)]
fn copied(skb: *mut __sk_buff, packet: &mut Packet) -> Result<(), Skipped> {
    *packet = Packet::empty();
    parse::frame(&SkbBytes(skb), packet)
}

/// Tells whether a frame is for several: the broadcast address of a subnet shows in nothing else.
#[inline(always)]
fn is_to_group(skb: *mut __sk_buff) -> bool {
    // SAFETY: fields of the context, and below the bound.
    unsafe {
        let (start, end) = ((*skb).data as usize, (*skb).data_end as usize);
        start + ETHERNET <= end && at::<u8>(start, 0) & GROUP != 0
    }
}

/// Reads the headers into `packet`; false when there is nothing to look at.
///
/// A function of its own: its loads would fill the stack of 512 bytes that a program shares with what it calls.
#[inline(never)]
fn read(skb: *mut __sk_buff, packet: &mut Packet) -> bool {
    if is_to_group(skb) {
        lose(stage::NOT_UNICAST);
        return false;
    }
    let skipped = match parsed(skb, packet) {
        Ok(()) => return true,
        Err(skipped) => skipped,
    };
    match skipped {
        Skipped::Unreadable => {
            // SAFETY: fields of the context.
            unsafe {
                diagnose!(
                    &TcContext::new(skb),
                    "unreadable headers of {} bytes at interface {}",
                    (*skb).len,
                    (*skb).ifindex
                );
            }
            lose(stage::UNREADABLE);
        }
        Skipped::NotUnicast => lose(stage::NOT_UNICAST),
        Skipped::Uninteresting => {}
    }
    false
}

/// Reads the headers and hands the packet to whom it concerns.
#[inline(never)]
fn look(skb: *mut __sk_buff, way: Way) {
    let mut packet = Packet::empty();
    if !read(skb, &mut packet) {
        return;
    }
    // SAFETY: fields of the context.
    let (ifindex, came_in_at) = unsafe { ((*skb).ifindex, (*skb).ingress_ifindex) };
    let mut place = Place {
        ifindex,
        came_in_at,
        way,
        continues: false,
        skb,
    };
    let Packet { tuple, flags, .. } = &packet;
    match packet.content {
        Content::Tcp if flags & RST != 0 => {
            if way == Way::ToPod {
                // Right behind its SYN.
                repeats::heard(tuple, packet.sequence.wrapping_sub(1));
            }
            if flags & ACK != 0 {
                opened::reset(tuple, packet.answers, &place);
            }
        }
        Content::Tcp if flags & (SYN | ACK) == SYN => {
            opened::syn(tuple, packet.sequence, &place);
        }
        Content::Tcp if flags & SYN != 0 => {
            opened::answer(tuple, packet.answers, &place);
        }
        Content::Tcp => {}
        Content::Sctp => match *flags {
            INIT => opened::syn(tuple, packet.sequence, &place),
            INIT_ACK => opened::answer(tuple, packet.answers, &place),
            _ => opened::reset(tuple, packet.answers, &place),
        },
        // Not from within `seen`: their stacks would add up.
        Content::Udp => match udp::seen(tuple, ifindex, way) {
            part @ (udp::Part::First | udp::Part::Continues) => {
                place.continues = part == udp::Part::Continues;
                opened::begin(tuple, 0, &place);
            }
            udp::Part::Crosses => {
                udp::crossed(tuple, ifindex);
                opened::begin(tuple, 0, &place);
            }
            udp::Part::Reply => udp::replied(tuple, &place),
            udp::Part::Further => {}
        },
        Content::Error => errors::seen(&packet, &place),
    }
}
