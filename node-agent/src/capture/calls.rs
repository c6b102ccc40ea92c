//! What processes ask their sockets for, seen in their cgroups: only when it is asked for.
//!
//! Of each hook there are two programs. The first stands at the pods' cgroup, below whoever rewrites addresses at the
//! root; the last stands at the root behind everybody, and gets there again when somebody comes after it.

mod cgroups;
mod homes;

use std::fs::{self, File};
use std::io;
use std::mem::size_of;
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aya::maps::{HashMap, MapData};
use aya::programs::cgroup_sock_addr::CgroupSockAddrLinkId;
use aya::programs::{CgroupAttachMode, CgroupSockAddr};
use node_agent_common::{CallKey, Caller, Tuple, maps};
use node_agent_engine::Moment;
use node_agent_engine::input::Process;

use super::decode::address;
use super::programs::{Error, Programs};
use cgroups::Cgroups;

pub(super) use homes::Homes;

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: rustix::fs::FsWord = 0x6367_7270;
/// The programs that see what is asked for.
pub(super) const ASKED: [&str; 4] = [
    "netverdict_asked_connect4",
    "netverdict_asked_connect6",
    "netverdict_asked_sendmsg4",
    "netverdict_asked_sendmsg6",
];
/// Those that see what is left of it, each with the kernel's number of its hook.
pub(super) const LEFT: [(&str, u32); 4] = [
    ("netverdict_left_connect4", CONNECT4),
    ("netverdict_left_connect6", CONNECT6),
    ("netverdict_left_sendmsg4", SENDMSG4),
    ("netverdict_left_sendmsg6", SENDMSG6),
];
const CONNECT4: u32 = 10;
const CONNECT6: u32 = 11;
const SENDMSG4: u32 = 14;
const SENDMSG6: u32 = 15;
/// The kernel function that runs the programs of a call.
pub(super) const WHERE: &str = "__cgroup_bpf_run_filter_sock_addr";
/// More programs at one cgroup than anybody has; the kernel takes 64.
const MOST_PROGRAMS: usize = 64;

/// A hook by the kernel's number.
pub(super) struct Hook {
    /// As the kernel calls it.
    pub(super) name: &'static str,
    /// Only who opens a connection calls it; a server replies by the others, too.
    pub(super) opens: bool,
}

impl Hook {
    pub(super) const fn of(number: u32) -> Option<Self> {
        let (name, opens) = match number {
            CONNECT4 => ("BPF_CGROUP_INET4_CONNECT", true),
            CONNECT6 => ("BPF_CGROUP_INET6_CONNECT", true),
            SENDMSG4 => ("BPF_CGROUP_UDP4_SENDMSG", false),
            SENDMSG6 => ("BPF_CGROUP_UDP6_SENDMSG", false),
            _ => return None,
        };
        Some(Self { name, opens })
    }
}

/// Who called, as far as the kernel remembers, and where it asked to go.
pub(super) struct Called {
    pub(super) asked_for: Option<(IpAddr, u16)>,
    pub(super) process: Process,
}

/// A cgroup, and that of the pods below it where there is one.
pub(super) struct Root {
    path: PathBuf,
    itself: File,
    pods: Option<File>,
}

impl Root {
    /// Opens the cgroups.
    ///
    /// # Errors
    ///
    /// [`Error::Cgroup`] when that is no cgroup of the second version.
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        Ok(Self {
            itself: open(&path)?,
            pods: pods(&path).map(|path| open(&path)).transpose()?,
            path,
        })
    }

    /// The cgroup itself, once more.
    ///
    /// # Errors
    ///
    /// [`Error::Cgroup`] when there is no room for another open file.
    pub(super) fn folder(&self) -> Result<File, Error> {
        self.itself.try_clone().map_err(|source| Error::Cgroup {
            path: self.path.clone(),
            source,
        })
    }
}

/// The watched calls. The programs go with [`Programs`].
pub(super) struct Calls {
    root: File,
    last: Vec<Last>,
    callers: HashMap<MapData, CallKey, Caller>,
    cgroups: Cgroups,
}

/// A program that stands last.
struct Last {
    program: &'static str,
    hook: u32,
    link: CgroupSockAddrLinkId,
    id: u32,
}

impl Calls {
    /// Hooks the programs.
    ///
    /// # Errors
    ///
    /// When the kernel refuses one.
    pub(super) fn start(programs: &mut Programs, root: Root) -> Result<Self, Error> {
        let Root {
            path,
            itself: root,
            pods: below,
        } = root;
        let map = maps::CALLERS;
        let callers = HashMap::try_from(programs.take(map)?);
        let callers = callers.map_err(|source| Error::Map { map, source })?;
        // Before any is hung up: of those that see what is asked for none may stand there alone.
        for program in ASKED.into_iter().chain(LEFT.map(|(program, _)| program)) {
            let found: &mut CgroupSockAddr = programs.program(program)?;
            let loaded = found.load();
            loaded.map_err(|source| Error::Program { program, source })?;
        }
        for program in ASKED {
            hang(programs, program, below.as_ref().unwrap_or(&root))?;
        }
        let mut last = Vec::new();
        for (program, hook) in LEFT {
            let (link, id) = hang(programs, program, &root)?;
            last.push(Last {
                program,
                hook,
                link,
                id,
            });
        }
        Ok(Self {
            root,
            last,
            callers,
            cgroups: Cgroups::below(path),
        })
    }

    /// Gets behind whoever came after us.
    pub(super) fn stay_last(&mut self, programs: &mut Programs) {
        let (behind, kept): (Vec<Last>, Vec<Last>) = std::mem::take(&mut self.last)
            .into_iter()
            .partition(|last| is_passed(&self.root, last));
        self.last = kept;
        for Last {
            program,
            hook,
            link,
            ..
        } in behind
        {
            // Not both at once: a call would be told of twice.
            let _ = programs
                .program::<CgroupSockAddr>(program)
                .map(|found| found.detach(link));
            match hang(programs, program, &self.root) {
                Ok((link, id)) => self.last.push(Last {
                    program,
                    hook,
                    link,
                    id,
                }),
                Err(error) => tracing::warn!(program, %error, "calls are not watched any more"),
            }
        }
    }

    /// Who sent a packet; `None` when that call was not seen, or is forgotten.
    pub(super) fn called(&mut self, cookie: u64, packet: &Tuple, now: Moment) -> Option<Called> {
        if cookie == 0 {
            return None;
        }
        let caller = self.callers.get(&CallKey::of(cookie, packet), 0).ok()?;
        let asked_for = (caller.asked_for, caller.asked_port_be);
        let is_led = asked_for != (packet.destination, packet.destination_port_be);
        let port = u16::from_be_bytes(caller.asked_port_be);
        let place = self.cgroups.find(caller.cgroup, now);
        Some(Called {
            asked_for: address(caller.asked_for, packet.family)
                .filter(|_| is_led)
                .map(|ip| (ip, port)),
            process: Process {
                pid: caller.process,
                command: command(&caller.command),
                pod_uid: place.as_ref().and_then(|place| place.pod_uid.clone()),
                container: place.as_ref().and_then(|place| place.container.clone()),
            },
        })
    }
}

/// A name that the process chose: what cannot be printed is replaced.
fn command(bytes: &[u8; 16]) -> Arc<str> {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(name).into()
}

fn open(path: &Path) -> Result<File, Error> {
    let failed = |source| Error::Cgroup {
        path: path.to_owned(),
        source,
    };
    let folder = File::open(path).map_err(failed)?;
    let found = rustix::fs::fstatfs(&folder).map_err(|error| failed(error.into()))?;
    if found.f_type == CGROUP2 {
        Ok(folder)
    } else {
        Err(failed(io::Error::other("it is not of the second version")))
    }
}

/// The cgroup of all pods, as kubelet calls it with either driver.
fn pods(root: &Path) -> Option<PathBuf> {
    ["kubepods.slice", "kubepods"]
        .map(|name| root.join(name))
        .into_iter()
        .find(|path| fs::metadata(path).is_ok_and(|found| found.is_dir()))
}

/// Hangs a program at a cgroup, behind those that are there.
fn hang(
    programs: &mut Programs,
    program: &'static str,
    cgroup: &File,
) -> Result<(CgroupSockAddrLinkId, u32), Error> {
    let failed = |source| Error::Program { program, source };
    let found = programs.program::<CgroupSockAddr>(program)?;
    // A link leaves room for others; aya's other modes are for what was before links, and are refused with them.
    let link = found.attach(cgroup, CgroupAttachMode::Single);
    let link = link.map_err(failed)?;
    let id = found.info().map_err(failed)?.id();
    Ok((link, id))
}

/// `union bpf_attr`, as `BPF_PROG_QUERY` reads it.
#[repr(C)]
#[derive(Default)]
struct QueryAttr {
    target: u32,
    hook: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
    more: [u64; 3],
}

/// Tells whether somebody hung a program behind ours.
fn is_passed(root: &File, last: &Last) -> bool {
    const PROG_QUERY: libc::c_long = 16;
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut attr = QueryAttr {
        target: root.as_raw_fd().cast_unsigned(),
        hook: last.hook,
        ids: ids.as_mut_ptr() as u64,
        count: u32::try_from(ids.len()).unwrap_or(0),
        ..QueryAttr::default()
    };
    let attr_at: *mut QueryAttr = &raw mut attr;
    // SAFETY: the kernel reads and writes `attr`, of which it is told the size, and writes as many numbers as there is
    // room for; both live until the call returns.
    let asked =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, attr_at, size_of::<QueryAttr>()) };
    if asked < 0 {
        return false;
    }
    let found = ids.get(..attr.count as usize).unwrap_or_default();
    found.last().is_some_and(|id| *id != last.id)
}
