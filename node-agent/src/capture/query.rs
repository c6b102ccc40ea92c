//! Which programs hang on an interface by tcx. aya opens each of them to describe it, which takes CAP_SYS_ADMIN; their
//! numbers take CAP_NET_ADMIN, which the agent has.

use std::io;

use aya::programs::TcAttachType;

use super::bpf;

/// `BPF_PROG_QUERY`.
const PROG_QUERY: libc::c_long = 16;
/// `BPF_TCX_INGRESS` and `BPF_TCX_EGRESS` of `enum bpf_attach_type`.
const TCX_INGRESS: u32 = 46;
const TCX_EGRESS: u32 = 47;
/// `BPF_MPROG_MAX`: more cannot hang there.
const MOST: usize = 64;

/// `union bpf_attr`, as the command reads it.
#[repr(C)]
struct QueryAttr {
    target_ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    count: u32,
    padding: u32,
    prog_attach_flags: u64,
    link_ids: u64,
    link_attach_flags: u64,
    revision: u64,
}

/// The numbers of the programs at one side of an interface, in the order in which they run.
///
/// # Errors
/// When the kernel has no tcx (before 6.6), or there is no such interface.
pub(super) fn tcx(index: u32, direction: TcAttachType) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST];
    let mut attr = QueryAttr {
        target_ifindex: index,
        attach_type: match direction {
            TcAttachType::Egress => TCX_EGRESS,
            TcAttachType::Ingress | TcAttachType::Custom(_) => TCX_INGRESS,
        },
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        count: MOST as u32,
        padding: 0,
        prog_attach_flags: 0,
        link_ids: 0,
        link_attach_flags: 0,
        revision: 0,
    };
    // SAFETY: there is room for as many numbers as it says.
    unsafe { bpf::call(PROG_QUERY, &mut attr)? };
    Ok(ids.into_iter().take(attr.count as usize).collect())
}
