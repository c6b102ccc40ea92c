//! What hangs on an interface already.

use anyhow::Context;

use super::bpf;

/// How many programs hang by tcx on an interface of this thread's network, in both directions together.
///
/// # Errors
/// When the kernel does not say.
pub fn hanging(interface: u32) -> anyhow::Result<u32> {
    const QUERY: libc::c_long = 16;
    const TCX_INGRESS: u32 = 46;
    let mut total = 0;
    for direction in [TCX_INGRESS, TCX_INGRESS + 1] {
        let mut attr = QueryAttr {
            interface,
            direction,
            ..QueryAttr::default()
        };
        bpf(QUERY, &mut attr).with_context(|| format!("query interface {interface}"))?;
        total += attr.count;
    }
    Ok(total)
}

/// What the kernel is asked for programs at an interface; no room for their numbers, so it only counts.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct QueryAttr {
    interface: u32,
    direction: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
}
