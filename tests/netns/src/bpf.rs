//! Programs of the tests' own at an interface, assembled by hand: a loader and a compiler for ten lines would be more.

mod hanging;

use std::fs::File;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, ensure};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcBpfFlags, TcFilterBpfOption, TcHandle, TcMessage, TcOption,
};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

pub use hanging::hanging;

use crate::ns::Namespace;

/// How a program hangs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A tcx link behind those that are there.
    Tcx,
    /// A tcx link in front of those that are there.
    TcxFirst,
    /// A filter of a clsact qdisc, of a later priority than an agent's.
    Clsact,
}

/// What a program at an interface looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// What the interface receives.
    In,
    /// What it sends.
    Out,
}

/// A program at an interface; a tcx link goes with it, a filter with the interface.
#[derive(Debug)]
pub struct Hanging {
    _kept: OwnedFd,
}

impl Hanging {
    /// Attaches a program to what an interface receives.
    pub(crate) fn attach(
        program: OwnedFd,
        node: &Namespace,
        interface: &str,
        by: By,
    ) -> anyhow::Result<Self> {
        Self::attach_to(program, node, interface, by, Way::In)
    }

    /// Attaches a program to what an interface receives or sends.
    pub(crate) fn attach_to(
        program: OwnedFd,
        node: &Namespace,
        interface: &str,
        by: By,
        way: Way,
    ) -> anyhow::Result<Self> {
        const TCX_INGRESS: u32 = 46;
        const TCX_EGRESS: u32 = 47;
        let at = index(node, interface)?;
        let hook = match way {
            Way::In => TCX_INGRESS,
            Way::Out => TCX_EGRESS,
        };
        let kept = match by {
            By::Tcx => node.enter(|| link(&program, at, hook, 0))?,
            By::TcxFirst => node.enter(|| link(&program, at, hook, BPF_F_BEFORE))?,
            By::Clsact => {
                node.run(&["tc", "qdisc", "replace", "dev", interface, "clsact"])?;
                node.enter(|| filter(&program, at, way))?;
                program
            }
        };
        Ok(Self { _kept: kept })
    }

    /// Attaches a program in front of everything that an interface receives, in the way that every driver has.
    pub(crate) fn attach_xdp(
        program: &OwnedFd,
        node: &Namespace,
        interface: &str,
    ) -> anyhow::Result<Self> {
        const XDP: u32 = 37;
        const SKB_MODE: u32 = 1 << 1;
        let at = index(node, interface)?;
        let kept = node.enter(|| link(program, at, XDP, SKB_MODE))?;
        Ok(Self { _kept: kept })
    }

    /// Attaches a program to a cgroup.
    pub(crate) fn attach_cgroup(
        program: &OwnedFd,
        cgroup: &File,
        hook: u32,
    ) -> anyhow::Result<Self> {
        let target = cgroup.as_raw_fd().cast_unsigned();
        let kept = link(program, target, hook, 0)?;
        Ok(Self { _kept: kept })
    }
}

/// Counts the IPv4 packets that an interface receives, to the last one before it is gone.
#[derive(Debug)]
pub struct Counter {
    table: OwnedFd,
    _hanging: Hanging,
}

impl Counter {
    /// Begins to count, behind all other programs.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn attach(node: &Namespace, interface: &str) -> anyhow::Result<Self> {
        const MAP_CREATE: libc::c_long = 0;
        const ARRAY: u32 = 2;
        let mut attr: [u32; 4] = [ARRAY, 4, 8, 1];
        let table = bpf(MAP_CREATE, &mut attr).and_then(descriptor);
        let table = table.context("make a table")?;
        let program = load(&counting(table.as_raw_fd()))?;
        Ok(Self {
            _hanging: Hanging::attach(program, node, interface, By::Tcx)?,
            table,
        })
    }

    /// How many there were.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn total(&self) -> anyhow::Result<u64> {
        const LOOKUP: libc::c_long = 1;
        let (key, mut total) = (0_u32, 0_u64);
        let mut attr = LookupAttr {
            table: self.table.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: &raw const key as u64,
            value: &raw mut total as u64,
        };
        bpf(LOOKUP, &mut attr).context("read a table")?;
        Ok(total)
    }
}

/// Adds one for each IPv4 packet to the table's only entry, and lets it go on.
fn counting(table: i32) -> Vec<Instruction> {
    const LOOKUP: i32 = 1;
    const IS_TABLE: u8 = 1;
    vec![
        op(MOVE, 6, 1, 0, 0),
        op(HALF, 0, 0, 0, 12),
        op(UNLESS_EQUAL, 0, 0, 9, 0x0800),
        op(STORE, 10, 0, -4, 0),
        op(MOVE, 2, 10, 0, 0),
        op(ADD, 2, 0, 0, -4),
        // Takes the place of two.
        op(LOAD, 1, IS_TABLE, 0, table),
        op(0, 0, 0, 0, 0),
        op(CALL, 0, 0, 0, LOOKUP),
        op(IF_EQUAL, 0, 0, 2, 0),
        op(SET, 1, 0, 0, 1),
        op(ATOMIC, 0, 1, 0, 0),
        op(SET, 0, 0, 0, GO_ON),
        op(EXIT, 0, 0, 0, 0),
    ]
}

/// The index of an interface.
pub(crate) fn index(namespace: &Namespace, interface: &str) -> anyhow::Result<u32> {
    let file = format!("/sys/class/net/{interface}/ifindex");
    let index = namespace.run(&["cat", &file])?;
    index.trim().parse().context("read an interface's index")
}

/// One instruction of eBPF.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    number: i32,
}

/// `code`, destination and source register, offset of a jump, immediate number.
pub(crate) const fn op(code: u8, to: u8, from: u8, offset: i16, number: i32) -> Instruction {
    Instruction {
        code,
        registers: from << 4 | to,
        offset,
        number,
    }
}

// By the numbers of `linux/bpf.h`: `BPF_ALU64` with `BPF_MOV` of a register or a number, and with `BPF_ADD`; `BPF_LD |
// BPF_ABS` of 2 and 4 bytes of the frame into r0; `BPF_JMP` with `BPF_JEQ`, `BPF_JNE`, `BPF_JA`, `BPF_CALL`, `BPF_EXIT`;
// `BPF_JMP32 | BPF_JNE`; `BPF_JNE`, `BPF_JGT`, `BPF_JLT` and `BPF_JGE` of 64
// bits; `BPF_END` to big-endian; `BPF_LDX` of 4 and 2 bytes; `BPF_LD | BPF_DW | BPF_IMM`; `BPF_ST | BPF_W`; `BPF_STX | BPF_DW | BPF_ATOMIC`.
pub(crate) const MOVE: u8 = 0xbf;
pub(crate) const SET: u8 = 0xb7;
pub(crate) const HALF: u8 = 0x28;
pub(crate) const WORD: u8 = 0x20;
pub(crate) const IF_EQUAL: u8 = 0x15;
pub(crate) const UNLESS_EQUAL: u8 = 0x56;
pub(crate) const JUMP: u8 = 0x05;
pub(crate) const CALL: u8 = 0x85;
pub(crate) const EXIT: u8 = 0x95;
pub(crate) const UNLESS_SAME: u8 = 0x55;
pub(crate) const IF_GREATER: u8 = 0x2d;
pub(crate) const IF_ABOVE: u8 = 0x25;
pub(crate) const IF_BELOW: u8 = 0xa5;
pub(crate) const UNLESS_BELOW: u8 = 0x35;
pub(crate) const FROM_NETWORK: u8 = 0xdc;
pub(crate) const READ_WORD: u8 = 0x61;
pub(crate) const READ_HALF: u8 = 0x69;
pub(crate) const ADD: u8 = 0x07;
const LOAD: u8 = 0x18;
const STORE: u8 = 0x62;
const ATOMIC: u8 = 0xdb;
pub(crate) const REDIRECT_PEER: i32 = 155;
pub(crate) const GO_ON: i32 = -1;
pub(crate) const SHOT: i32 = 2;

/// The part of `union bpf_attr` that `BPF_PROG_LOAD` reads.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    program_type: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    hook: u32,
}

/// The part of `union bpf_attr` that `BPF_LINK_CREATE` reads.
#[repr(C)]
#[derive(Default)]
struct LinkAttr {
    program: u32,
    target: u32,
    attach_type: u32,
    flags: u32,
    relative: u32,
    padding: u32,
    revision: u64,
}

/// The part of `union bpf_attr` that `BPF_MAP_LOOKUP_ELEM` reads.
#[repr(C)]
struct LookupAttr {
    table: u32,
    padding: u32,
    key: u64,
    value: u64,
}

const BPF_F_BEFORE: u32 = 1 << 3;

/// Has the kernel check and take a program.
pub(crate) fn load(program: &[Instruction]) -> anyhow::Result<OwnedFd> {
    const SCHED_CLS: u32 = 3;
    load_as(program, SCHED_CLS, 0)
}

/// The same for programs of another type, and for one hook where the type has several.
pub(crate) fn load_as(
    program: &[Instruction],
    program_type: u32,
    hook: u32,
) -> anyhow::Result<OwnedFd> {
    const PROG_LOAD: libc::c_long = 5;
    let mut attr = LoadAttr {
        program_type,
        hook,
        count: u32::try_from(program.len())?,
        instructions: program.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        name: *b"tested\0\0\0\0\0\0\0\0\0\0",
        ..LoadAttr::default()
    };
    bpf(PROG_LOAD, &mut attr)
        .and_then(descriptor)
        .context("load a program")
}

fn link(program: &OwnedFd, target: u32, hook: u32, flags: u32) -> anyhow::Result<OwnedFd> {
    const LINK_CREATE: libc::c_long = 28;
    let mut attr = LinkAttr {
        program: program.as_raw_fd().cast_unsigned(),
        target,
        attach_type: hook,
        flags,
        ..LinkAttr::default()
    };
    bpf(LINK_CREATE, &mut attr)
        .and_then(descriptor)
        .context("attach a program by a link")
}

fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<libc::c_long> {
    let attr: *mut T = attr;
    // SAFETY: the kernel reads and writes `attr`, of which it is told the size, and what it points to; all of it
    // outlives the call.
    match unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) } {
        -1 => Err(io::Error::last_os_error()),
        answer => Ok(answer),
    }
}

/// Takes over what a command that makes something has returned.
fn descriptor(answer: libc::c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(answer).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    // SAFETY: the kernel has just made it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Adds a filter of priority 2: an agent's is 1.
fn filter(program: &OwnedFd, interface: u32, way: Way) -> anyhow::Result<()> {
    const PRIORITY: u32 = 2;
    const EVERY_PROTOCOL: u16 = 3;
    let mut message = TcMessage::default();
    message.header.index = interface.cast_signed();
    message.header.parent = TcHandle {
        major: TcHandle::CLSACT.major,
        minor: match way {
            Way::In => TcHandle::MIN_INGRESS,
            Way::Out => TcHandle::MIN_EGRESS,
        },
    };
    // None: the kernel gives each its own.
    message.header.handle = TcHandle { major: 0, minor: 0 };
    message.header.info = PRIORITY << 16 | u32::from(EVERY_PROTOCOL.to_be());
    message.attributes = vec![
        TcAttribute::Kind("bpf".to_owned()),
        TcAttribute::Options(
            [
                TcFilterBpfOption::ProgFd(program.as_raw_fd().cast_unsigned()),
                TcFilterBpfOption::ProgName("tested".to_owned()),
                TcFilterBpfOption::Flags(TcBpfFlags::DirectAction),
            ]
            .map(TcOption::Bpf)
            .to_vec(),
        ),
    ];
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    let payload = NetlinkPayload::from(RouteNetlinkMessage::NewTrafficFilter(message));
    let mut request = NetlinkMessage::new(header, payload);
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE).context("open a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?;
    let accepted = matches!(&answer.payload, NetlinkPayload::Error(error) if error.code.is_none());
    ensure!(accepted, "the kernel refuses the filter: {answer:?}");
    Ok(())
}
