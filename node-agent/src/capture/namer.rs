//! Names of the kernel's functions where `/proc/kallsyms` shows no addresses, which takes CAP_SYSLOG: a program of ours has
//! the kernel print them (Linux 5.13).

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::maps::{Array, MapData};
use aya::programs::RawTracePoint;
use node_agent_common::maps::{self, SYMBOL_BYTES};

use super::bpf;
use super::programs::{Error, Programs, SYMBOL};

/// `BPF_PROG_TEST_RUN`.
const PROG_TEST_RUN: libc::c_long = 10;

/// `union bpf_attr`, as the command reads it.
#[repr(C)]
#[derive(Default)]
struct RunAttr {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// A function, and where in it an address lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) name: String,
    /// Where it begins, and how long it is.
    pub(super) start: u64,
    pub(super) size: u64,
}

/// Has the kernel print names.
pub(super) struct Namer {
    program: OwnedFd,
    printed: Array<MapData, [u8; SYMBOL_BYTES]>,
}

impl Namer {
    /// Loads the program; where the kernel cannot print there is none.
    pub(super) fn load(programs: &mut Programs) -> Result<Self, Error> {
        let failed = |source| Error::Program {
            program: SYMBOL,
            source,
        };
        let program: &mut RawTracePoint = programs.program(SYMBOL)?;
        program.load().map_err(failed)?;
        let fd = program.fd().map_err(failed)?.as_fd().try_clone_to_owned();
        let map = maps::SYMBOL;
        let printed = Array::try_from(programs.take(map)?);
        Ok(Self {
            program: fd.map_err(|error| failed(error.into()))?,
            printed: printed.map_err(|source| Error::Map { map, source })?,
        })
    }

    /// The function that an address lies in.
    pub(super) fn symbol(&self, address: u64) -> Option<Symbol> {
        self.run(address).ok()?;
        let printed = self.printed.get(&0, 0).ok()?;
        let text = printed.split(|byte| *byte == 0).next()?;
        parse(std::str::from_utf8(text).ok()?, address)
    }

    fn run(&self, address: u64) -> io::Result<()> {
        let arguments = [address];
        let mut attr = RunAttr {
            prog_fd: self.program.as_raw_fd().cast_unsigned(),
            ctx_size_in: size_of::<[u64; 1]>() as u32,
            ctx_in: arguments.as_ptr() as u64,
            ..RunAttr::default()
        };
        // SAFETY: there are as many arguments as it says.
        unsafe { bpf::call(PROG_TEST_RUN, &mut attr) }
    }
}

/// Reads `name+0xoffset/0xsize [module]`.
fn parse(text: &str, address: u64) -> Option<Symbol> {
    let (name, rest) = text.split_once("+0x")?;
    let (offset, rest) = rest.split_once("/0x")?;
    let size = rest.split_whitespace().next()?;
    let offset = u64::from_str_radix(offset, 16).ok()?;
    Some(Symbol {
        name: name.to_owned(),
        start: address.checked_sub(offset)?,
        size: u64::from_str_radix(size, 16).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_prints() {
        let symbol = |text| parse(text, 0x1100).map(|it| (it.name, it.start, it.size));
        let named = |name: &str| Some((name.to_owned(), 0x1000, 0x1a0));
        assert_eq!(symbol("ip_error+0x100/0x1a0"), named("ip_error"));
        assert_eq!(
            symbol("nft_do_chain+0x100/0x1a0 [nf_tables]"),
            named("nft_do_chain")
        );
        for text in ["0xffffffff81001100", "(efault)", "a+0x2000/0x3000", ""] {
            assert_eq!(symbol(text), None, "{text}");
        }
    }
}
