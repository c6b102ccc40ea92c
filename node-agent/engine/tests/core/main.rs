//! From events to records, through the core alone: what may be claimed from what was seen.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed"
)]

mod bench;
mod bypassed;
mod claims;
mod confirmation;
mod counts;
mod denied;
mod folding;
mod gone;
mod led;
mod measures;
mod nodes;
mod notes;
mod orientation;
mod outcomes;
mod seen;
mod senders;
mod sides;
mod translated;
mod unled;
mod young;
