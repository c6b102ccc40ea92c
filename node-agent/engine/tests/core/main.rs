//! From events to records, through the core alone: what may be claimed from what was seen.

mod bench;
mod claims;
mod counts;
mod folding;
mod measures;
mod notes;
mod outcomes;
