//! Counters that several processors add to.

use core::arch::asm;

/// Adds to a counter that other processors add to as well.
///
/// # Safety
///
/// `counter` must point into a map's value, aligned.
#[inline(always)]
pub(crate) unsafe fn add(counter: *mut u64, number: u64) {
    // SAFETY: the caller's. Written as the instruction itself, because this target has no `fetch_add`, and Linux
    // 5.10 has no atomic that returns a value.
    unsafe { asm!("lock *(u64 *)({} + 0) += {}", in(reg) counter, in(reg) number) };
}

/// As [`add`], for what counts by one.
///
/// # Safety
///
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn add_one(counter: *mut u64) {
    // SAFETY: the caller's.
    unsafe { add(counter, 1) };
}

/// As [`add_one`], for the counters of an attempt.
///
/// # Safety
///
/// `counter` must point into a map's value, aligned.
#[inline(always)]
pub(crate) unsafe fn add_one_u32(counter: *mut u32) {
    // SAFETY: the caller's; see `add`.
    unsafe { asm!("lock *(u32 *)({} + 0) += {}", in(reg) counter, in(reg) 1_u64) };
}
