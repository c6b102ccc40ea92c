//! Loads the kernel programs and attaches them.

use std::io;
use std::path::PathBuf;

use aya::maps::{Array, Map, MapData, MapError};
use aya::programs::{BtfTracePoint, Program, ProgramError, SchedClassifier};
use aya::{Btf, Ebpf, EbpfLoader};
use caps::{CapSet, Capability};
use node_agent_common::{LocationRange, maps};

use super::btf;
use super::diagnostics::Diagnostics;
use super::kernel::Kernel;

/// Where the kernel describes its types.
pub(super) const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The kernel programs, as they were built together with this binary.
static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("NETVERDICT_EBPF_OBJECT"));

/// Names of the programs in the object.
pub(super) const NOTHING: &str = "netverdict_nothing";
pub(super) const FROM_POD: &str = "netverdict_from_pod";
pub(super) const TO_POD: &str = "netverdict_to_pod";
pub(super) const NOTHING_TRACED: &str = "netverdict_nothing_traced";
pub(super) const NOTHING_CALLED: &str = "netverdict_nothing_called";
/// Has the kernel print a name.
pub(super) const SYMBOL: &str = "netverdict_symbol";
pub(super) const DROP: &str = "netverdict_drop";
pub(super) const SOCKET: &str = "netverdict_socket";

/// The programs that belong to no interface, and their tracepoints.
const TRACED: [(&str, &str); 2] = [(DROP, "kfree_skb"), (SOCKET, "inet_sock_set_state")];

/// Globals that say how many entries of each table one interface may hold.
const SHARES: [&str; 3] = ["SHARE_ATTEMPTS", "SHARE_CONVERSATIONS", "SHARE_UDP_FLOWS"];

/// Why capture could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A capability is missing.
    #[error("missing capability {0}: run as root, or grant CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN")]
    MissingCapability(&'static str),
    /// The kernel does not describe its types.
    #[error("cannot read `{BTF}`: this kernel was built without BTF (CONFIG_DEBUG_INFO_BTF)")]
    NoBtf(#[source] io::Error),
    /// The kernel's types are not those we know.
    #[error("this kernel's types are unknown")]
    Btf(#[from] btf::Error),
    /// A program could not be attached to an interface.
    #[error("cannot attach to `{interface}` by {hook}")]
    Attach {
        /// Its name.
        interface: String,
        /// How it was tried.
        hook: &'static str,
        /// The kernel's answer.
        source: ProgramError,
    },
    /// Programs cannot be attached to interfaces at all.
    #[error(
        "this kernel attaches programs to interfaces neither by tcx, which Linux has from 6.6 ({no_tcx}), nor by \
         clsact, which needs the modules sch_ingress and cls_bpf ({no_clsact})"
    )]
    NoHook {
        /// What came of tcx.
        no_tcx: io::Error,
        /// What came of clsact.
        no_clsact: Box<ProgramError>,
    },
    /// Programs cannot be attached by tcx, and nothing else was asked for.
    #[error(
        "this kernel has no tcx, which Linux has from 6.6: use `--attach auto` or `--attach clsact`"
    )]
    NoTcx(#[source] io::Error),
    /// Programs cannot be attached by clsact, and nothing else was asked for.
    #[error("this kernel has no clsact, which needs the modules sch_ingress and cls_bpf")]
    NoClsact(#[source] ProgramError),
    /// The object could not be loaded.
    #[error("cannot load the kernel programs")]
    Load(#[from] aya::EbpfError),
    /// A program was refused.
    #[error("cannot load the program `{program}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// The kernel's answer; its end has the verifier's words.
        source: ProgramError,
    },
    /// A map could not be used.
    #[error("cannot use the map `{map}`")]
    Map {
        /// Its name.
        map: &'static str,
        /// The kernel's answer.
        source: MapError,
    },
    /// The object lacks a part: it was built from another version.
    #[error("the kernel object has no `{0}`")]
    Part(&'static str),
    /// That is no cgroup whose processes can be watched.
    #[error(
        "cannot watch the processes of `{}`: expected a folder of cgroups of the second version, such as /sys/fs/cgroup",
        path.display()
    )]
    Cgroup {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Links, routes or addresses could not be read.
    #[error("cannot {what} by rtnetlink")]
    Netlink {
        /// What was tried.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// Sizes of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The ring buffer, bytes: a power of two, a page at least.
    pub ring_bytes: u32,
    /// Attempts without an outcome.
    pub attempts: u32,
    /// Conversations, one entry for each kind of outcome.
    pub conversations: u32,
    /// UDP tuples that have had their outcome.
    pub udp_flows: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            ring_bytes: maps::EVENTS_BYTES,
            attempts: maps::ATTEMPTS_ENTRIES,
            conversations: maps::CONVERSATIONS_ENTRIES,
            udp_flows: maps::UDP_FLOWS_ENTRIES,
        }
    }
}

/// Whether the calls of processes are to be watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum With {
    Calls,
    NoCalls,
}

/// The loaded programs. Dropping them detaches them all.
pub(super) struct Programs {
    ebpf: Ebpf,
    diagnostics: Diagnostics,
}

impl Programs {
    /// Creates the maps; no program is loaded yet.
    pub(super) fn open(sizes: Sizes, kernel: &Kernel, calls: With) -> Result<Self, Error> {
        capable()?;
        unlock_memory();
        let Sizes {
            ring_bytes,
            attempts,
            conversations,
            udp_flows,
        } = sizes;
        let mut loader = EbpfLoader::new();
        for (name, value) in &kernel.globals {
            loader.override_global(name, value, true);
        }
        let shares = [attempts, conversations, udp_flows].map(maps::share::of);
        for (name, share) in SHARES.into_iter().zip(&shares) {
            loader.override_global(name, share, true);
        }
        let has_calls = u32::from(calls == With::Calls);
        loader.override_global("HAS_CALLS", &has_calls, true);
        if calls == With::NoCalls {
            // The kernel makes room for all entries at once.
            loader.map_max_entries(maps::CALLERS, 1);
        }
        let half_ring = ring_bytes / 2;
        loader.override_global("HALF_RING", &half_ring, true);
        let mut ebpf = loader
            .map_max_entries(maps::EVENTS, ring_bytes)
            .map_max_entries(maps::ATTEMPTS, attempts)
            .map_max_entries(maps::CONVERSATIONS, conversations)
            .map_max_entries(maps::UDP_FLOWS, udp_flows)
            .load(OBJECT)?;
        let mut this = Self {
            diagnostics: Diagnostics::open(&mut ebpf),
            ebpf,
        };
        this.fill(kernel)?;
        Ok(this)
    }

    /// Loads the programs for interfaces and those that [`Programs::hook`] attaches.
    ///
    /// The kernel's types take as much memory for a moment as all the rest does later: this comes before the ring is
    /// mapped and the cluster known.
    pub(super) fn load(&mut self) -> Result<(), Error> {
        let btf = Btf::from_sys_fs().map_err(|source| Error::Load(source.into()))?;
        for (program, tracepoint) in TRACED {
            self.load_traced(program, tracepoint, &btf)?;
        }
        drop(btf);
        [FROM_POD, TO_POD]
            .into_iter()
            .try_for_each(|program| self.load_one(program))
    }

    /// Loads a program for interfaces.
    pub(super) fn load_one(&mut self, program: &'static str) -> Result<(), Error> {
        let loaded = self.classifier(program)?.load();
        loaded.map_err(|source| Error::Program { program, source })
    }

    fn fill(&mut self, kernel: &Kernel) -> Result<(), Error> {
        let failed = |map| move |source| Error::Map { map, source };
        let map = maps::REASON_CLASSES;
        let mut classes: Array<_, u32> = self.array(map)?;
        for (reason, class) in (0..).zip(kernel.reasons.classes()) {
            classes.set(reason, class, 0).map_err(failed(map))?;
        }
        let map = maps::LOCATIONS;
        let mut locations: Array<_, LocationRange> = self.array(map)?;
        for (slot, range) in (0..).zip(&kernel.locations) {
            locations.set(slot, range, 0).map_err(failed(map))?;
        }
        Ok(())
    }

    fn array<T: aya::Pod>(&mut self, map: &'static str) -> Result<Array<&mut MapData, T>, Error> {
        let found = self.ebpf.map_mut(map).ok_or(Error::Part(map))?;
        Array::try_from(found).map_err(|source| Error::Map { map, source })
    }

    /// Loads a program for a tracepoint.
    pub(super) fn load_traced(
        &mut self,
        program: &'static str,
        tracepoint: &str,
        btf: &Btf,
    ) -> Result<(), Error> {
        let loaded = self.traced(program)?.load(tracepoint, btf);
        loaded.map_err(|source| Error::Program { program, source })
    }

    /// Hooks the programs that belong to no interface.
    pub(super) fn hook(&mut self) -> Result<(), Error> {
        TRACED
            .into_iter()
            .try_for_each(|(program, _)| self.hook_one(program))
    }

    /// Hooks a program at its tracepoint.
    pub(super) fn hook_one(&mut self, program: &'static str) -> Result<(), Error> {
        let attached = self.traced(program)?.attach();
        attached
            .map(drop)
            .map_err(|source| Error::Program { program, source })
    }

    fn traced(&mut self, program: &'static str) -> Result<&mut BtfTracePoint, Error> {
        self.program(program)
    }

    /// Borrows a program of some type.
    pub(super) fn program<'a, P>(&'a mut self, program: &'static str) -> Result<&'a mut P, Error>
    where
        &'a mut P: TryFrom<&'a mut Program, Error = ProgramError>,
    {
        let found = self.ebpf.program_mut(program);
        let found = found.ok_or(Error::Part(program))?;
        found
            .try_into()
            .map_err(|source| Error::Program { program, source })
    }

    /// Hands on what the kernel programs say of themselves.
    pub(super) fn say_diagnostics(&mut self) {
        self.diagnostics.say();
    }

    /// Takes a map out, for its user.
    pub(super) fn take(&mut self, map: &'static str) -> Result<Map, Error> {
        self.ebpf.take_map(map).ok_or(Error::Part(map))
    }

    /// Borrows a classifier.
    pub(super) fn classifier(
        &mut self,
        program: &'static str,
    ) -> Result<&mut SchedClassifier, Error> {
        self.program(program)
    }
}

/// Names the first capability that is missing. Those of 5.8 are all in CAP_SYS_ADMIN.
fn capable() -> Result<(), Error> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false);
    let admin = has(Capability::CAP_SYS_ADMIN);
    for (name, held) in [
        ("CAP_BPF", admin || has(Capability::CAP_BPF)),
        ("CAP_PERFMON", admin || has(Capability::CAP_PERFMON)),
        ("CAP_NET_ADMIN", has(Capability::CAP_NET_ADMIN)),
    ] {
        if !held {
            return Err(Error::MissingCapability(name));
        }
    }
    Ok(())
}

/// Before Linux 5.11 maps count as locked memory, of which a process may have 64 KiB.
fn unlock_memory() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    // Where it is refused the kernel is either newer, or will say so itself.
    let _ = setrlimit(Resource::Memlock, unlimited);
}
