//! The contract between the kernel programs and user space: what lies in the maps, byte for byte.
//!
//! Everything here is plain data with a fixed layout: no `bool`, `enum`, `Option` or `usize`, addresses and
//! ports in network byte order, padding written out, size and alignment checked when this compiles.
//! The header parser lives here too, so that it can be fuzzed on the host. This crate decides nothing
//! and depends on nothing.
#![cfg_attr(not(test), no_std)]

mod attempt;
mod caller;
mod event;
pub mod maps;
pub mod parse;
mod repeats;
mod tuple;
mod udp_flow;

pub use attempt::{
    ANSWERED, ANSWERED_AND_HEARD_LATE, Attempt, CONTINUES, Conversation, ConversationKey, Ended,
    HEARD_LATE, Joined, Joint, REFUSED_LATE, SentTo, TRACKED,
};
pub use caller::{CallKey, Caller};
pub use event::{Event, LocationRange, kind};
pub use repeats::{MOST_REPEATS, may_repeat};
pub use tuple::{FAMILY_V4, FAMILY_V6, Tuple, mapped, protocol};
pub use udp_flow::UdpFlow;

#[cfg(feature = "user")]
mod pod;
