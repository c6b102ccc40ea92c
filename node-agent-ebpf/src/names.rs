//! Names of the kernel's functions, for whoever may not read addresses in `/proc/kallsyms`: that takes CAP_SYSLOG, and the
//! kernel prints them for a program without it (Linux 5.13).

use aya_ebpf::btf_maps::Array;
use aya_ebpf::helpers::generated::bpf_snprintf;
use aya_ebpf::macros::btf_map;
use node_agent_common::maps::{SYMBOL_BYTES, UNPLACED_ENTRIES};

/// What was printed last.
#[btf_map]
static SYMBOL: Array<[u8; SYMBOL_BYTES], 1> = Array::new();
/// Places at which packets were dropped without a reason, and that are in no range.
#[btf_map]
static UNPLACED: Array<u64, { UNPLACED_ENTRIES as usize }> = Array::new();

/// `name+0xoffset/0xsize`, and the module behind it.
static FORMAT: [u8; 4] = *b"%pS\0";

/// Prints the symbol that an address lies in.
#[inline(always)]
pub(crate) fn print(address: u64) {
    let Some(symbol) = SYMBOL.get_ptr_mut(0) else {
        return;
    };
    let data = [address];
    // SAFETY: the value of the map has so many bytes, the data eight.
    unsafe {
        bpf_snprintf(
            symbol.cast(),
            SYMBOL_BYTES as u32,
            FORMAT.as_ptr().cast_mut().cast(),
            data.as_ptr().cast_mut().cast(),
            size_of_val(&data) as u32,
        );
    }
}

/// Notes a place, for user space to find out what lies there.
#[inline(always)]
pub(crate) fn note(location: u64) {
    let slot = (location >> 4) as u32 % UNPLACED_ENTRIES;
    if let Some(unplaced) = UNPLACED.get_ptr_mut(slot) {
        // SAFETY: a value of the map; of two processors that write either may win.
        unsafe { *unplaced = location };
    }
}
