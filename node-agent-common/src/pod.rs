//! Leave for user space to move these types in and out of maps.

use crate::{
    Attempt, CallKey, Caller, Conversation, ConversationKey, Event, Joined, Joint, LocationRange,
    Tuple, UdpFlow,
};

// SAFETY: `repr(C)`, made of integers and byte arrays, without implicit padding: every bit pattern is valid.
unsafe impl aya::Pod for Tuple {}
// SAFETY: as above.
unsafe impl aya::Pod for Attempt {}
// SAFETY: as above.
unsafe impl aya::Pod for ConversationKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Conversation {}
// SAFETY: as above.
unsafe impl aya::Pod for UdpFlow {}
// SAFETY: as above.
unsafe impl aya::Pod for Joint {}
// SAFETY: as above.
unsafe impl aya::Pod for Joined {}
// SAFETY: as above.
unsafe impl aya::Pod for Event {}
// SAFETY: as above.
unsafe impl aya::Pod for LocationRange {}
// SAFETY: as above.
unsafe impl aya::Pod for CallKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Caller {}
