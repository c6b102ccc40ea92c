//! `bpf(2)` itself, for the commands that aya has no call for.

use std::io;
use std::mem::size_of;

/// Does a command.
///
/// # Safety
///
/// `attr` must be laid out as `union bpf_attr` is for the command, and what it points to must live until the call returns and
/// be as large as it says.
pub(super) unsafe fn call<T>(command: libc::c_long, attr: &mut T) -> io::Result<()> {
    let attr: *mut T = attr;
    // SAFETY: the caller's.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
