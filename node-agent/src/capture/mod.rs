//! Capture: loads the kernel programs, attaches them where pods are, and turns what they say into [`Input`].
//!
//! It knows aya and netlink, and nothing of Kubernetes: who is behind an address, and what an outcome means, is
//! for others. It changes nothing on the node but its own programs and maps, which go when [`Capture`] does.

mod batch;
#[doc(hidden)]
pub mod bench;
mod bpf;
mod bridges;
mod btf;
mod calls;
mod conntrack;
mod crowded;
mod decode;
mod diagnostics;
mod hooks;
mod kernel;
mod links;
mod namer;
mod namespaces;
mod netlink;
mod places;
mod programs;
mod query;
mod reasons;
mod shares;
mod staying;
mod sweep;
mod symbols;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::Arc;

use aya::maps::{Array, MapData, RingBuf};
use node_agent_common::{mapped, maps};
use node_agent_engine::input::{Flow, Input, Moment, Tracked};
use rustix::time::{ClockId, clock_gettime};

pub use btf::Error as BtfError;
pub use hooks::Attach;
pub use programs::{Error, Sizes};

use batch::Table;
use calls::{Calls, Homes, Root};
use conntrack::Conntrack;
use crowded::Crowded;
use decode::Decoder;
use hooks::Hooks;
use kernel::Kernel;
use namer::Namer;
use places::Places;
use programs::{Programs, With};
use sweep::{Sweep, Tables};
use watch::Watch;

/// How often the tables are swept, nanoseconds.
const SWEEP_NS: u64 = 1_000_000_000;

/// How to capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Sizes of the tables.
    pub sizes: Sizes,
    /// Names of the interfaces to watch, `*` stands for any characters; empty for every one that leads to another
    /// namespace.
    pub interfaces: Vec<String>,
    /// How hooks are attached.
    pub attach: Attach,
    /// The cgroup whose processes' calls are watched; none when absent.
    pub cgroup_root: Option<PathBuf>,
}

/// The running capture. Dropping it detaches everything.
pub struct Capture {
    programs: Programs,
    watch: Watch,
    conntrack: Conntrack,
    decoder: Decoder,
    ring: RingBuf<MapData>,
    tables: Tables,
    epoch: Array<MapData, u32>,
    namespaces: Table<u32, u32>,
    named: BTreeMap<u32, u32>,
    addresses: Table<[u8; 16], u32>,
    pods: BTreeMap<[u8; 16], u32>,
    places: Option<Places>,
    homes: Homes,
    swept: Moment,
    found: String,
}

impl Capture {
    /// Loads the programs and hooks those that belong to no interface. Interfaces are attached to by the first
    /// [`Capture::poll`].
    ///
    /// # Errors
    ///
    /// [`Error`] names what the machine lacks.
    pub fn start(options: Options) -> Result<Self, Error> {
        let Options {
            sizes,
            interfaces,
            attach,
            cgroup_root,
        } = options;
        let cgroup_root = cgroup_root.map(Root::open).transpose()?;
        let mut kernel = Kernel::read()?;
        let with = cgroup_root.as_ref().map_or(With::NoCalls, |_| With::Calls);
        let mut programs = Programs::open(sizes, &kernel, with)?;
        let tells_denials = kernel.tells_denials();
        let hooks = Hooks::choose(&mut programs, attach)?;
        programs.load()?;
        let places = learn_places(&mut programs, &mut kernel)?;
        let failed = |map| move |source| Error::Map { map, source };
        let ring = RingBuf::try_from(programs.take(maps::EVENTS)?).map_err(failed(maps::EVENTS))?;
        let epoch = Array::try_from(programs.take(maps::EPOCH)?).map_err(failed(maps::EPOCH))?;
        let mut this = Self {
            tables: Tables::new(&mut programs, sizes)?,
            namespaces: Table::new(maps::NAMESPACES, programs.take(maps::NAMESPACES)?)?,
            addresses: Table::new(maps::ADDRESSES, programs.take(maps::ADDRESSES)?)?,
            found: kernel.found(hooks.hook()),
            watch: Watch::open(interfaces, hooks, kernel.has_reasons())?,
            conntrack: Conntrack::open(),
            decoder: Decoder {
                reasons: kernel.reasons,
                symbols: kernel.symbols,
                own_netns: namespaces::own(),
                calls: None,
                crowded: Crowded::default(),
            },
            places,
            homes: Homes::default(),
            ring,
            epoch,
            named: BTreeMap::new(),
            pods: BTreeMap::new(),
            swept: now(),
            programs,
        };
        this.name_namespaces();
        this.programs.hook()?;
        if let Some(root) = cgroup_root {
            this.watch_calls(root, tells_denials);
        }
        Ok(this)
    }

    /// Watches what processes ask for, where it is wanted. A kernel that has no such hook leaves the rest as it is.
    fn watch_calls(&mut self, root: Root, tells_denials: bool) {
        match Calls::start(&mut self.programs, root) {
            Ok(calls) => self.decoder.calls = Some(calls),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "this kernel does not let the calls of processes be watched");
                return;
            }
        }
        self.found += if tells_denials {
            "; calls of processes yes, denials yes"
        } else {
            "; calls of processes yes, denials no (Linux has what they need from 5.18)"
        };
    }

    /// Hands on what happened: changes of the interfaces, then what the programs said, then what is due.
    ///
    /// It never blocks. To be called every 50 ms at least, and when [`Capture::as_raw_fd`] is readable.
    pub fn poll(&mut self, now: Moment, sink: &mut impl FnMut(Input)) {
        self.watch.poll(&mut self.programs, self::now, sink);
        let shares = &mut self.tables.shares;
        let owned = self.pods.values().copied().filter(|index| *index != 0);
        shares.name(self.watch.indices(), owned, self.watch.asides());
        self.name_namespaces();
        self.drain(sink);
        self.programs.say_diagnostics();
        if now.since(self.swept) >= SWEEP_NS {
            self.swept = now;
            self.watch.check(&mut self.programs, sink);
            if let Some(calls) = &mut self.decoder.calls {
                calls.stay_last(&mut self.programs);
            }
            self.name_namespaces();
            self.decoder.crowded.look();
            if let (Some(places), Some(namer)) = (&mut self.places, self.decoder.symbols.namer()) {
                places.learn(namer);
            }
            self.sweep(now, Sweep::Due, sink);
        }
    }

    fn sweep(&mut self, now: Moment, which: Sweep, sink: &mut impl FnMut(Input)) {
        let counted = self.tables.count(now, &self.homes);
        // The events that the totals include were written before them.
        self.drain(sink);
        counted.into_iter().for_each(&mut *sink);
        self.tables.sweep(&mut self.decoder, now, which, sink);
    }

    fn drain(&mut self, sink: &mut impl FnMut(Input)) {
        while let Some(bytes) = self.ring.next() {
            let Some(mut event) = decode::plain(&bytes) else {
                self.tables.malformed();
                continue;
            };
            if self.tables.is_told(&event) {
                continue;
            }
            self.homes.settle(&mut event);
            match self.decoder.event(&event) {
                Some(event) => sink(Input::Event(Box::new(event))),
                None => self.tables.malformed(),
            }
        }
    }

    /// Says all that is left before an end: what the programs said, running totals, losses, and the attempts whose
    /// deadline has not come.
    pub fn finish(&mut self, now: Moment, sink: &mut impl FnMut(Input)) {
        self.drain(sink);
        self.sweep(now, Sweep::Last, sink);
    }

    /// Tells the kernel side which namespaces are the pods'.
    fn name_namespaces(&mut self) {
        let wanted = self.watch.namespaces();
        write(&mut self.namespaces, &mut self.named, wanted);
        if self.decoder.calls.is_some() {
            let (own_netns, own) = (self.decoder.own_netns, self.watch.own_addresses());
            self.homes = Homes::of(&self.named, &self.pods, own_netns, own);
        }
    }

    /// Makes known conversations speak again.
    ///
    /// # Errors
    ///
    /// [`Error::Map`] when the kernel refuses it.
    pub fn set_epoch(&mut self, epoch: u32) -> Result<(), Error> {
        let map = maps::EPOCH;
        let set = self.epoch.set(0, epoch, 0);
        set.map_err(|source| Error::Map { map, source })
    }

    /// Tells the kernel side the addresses of this node's pods, all of them, and which interface leads to each.
    ///
    /// What was remembered of an address that has another owner now is forgotten: its first datagram is a new attempt.
    pub fn set_pod_addresses(&mut self, addresses: &[(IpAddr, Option<u32>)]) {
        let wanted: BTreeMap<[u8; 16], u32> = addresses
            .iter()
            .map(|(address, index)| {
                let bytes = match address {
                    IpAddr::V4(v4) => mapped(v4.octets()),
                    IpAddr::V6(v6) => v6.octets(),
                };
                (bytes, index.unwrap_or(0))
            })
            .collect();
        let moved = self.pods.iter().filter(|(address, index)| {
            **index != 0 && wanted.get(*address).is_some_and(|to| to != *index)
        });
        let moved: BTreeSet<[u8; 16]> = moved.map(|(address, _)| *address).collect();
        write(&mut self.addresses, &mut self.pods, wanted);
        self.tables.forget_udp_of(&moved);
    }

    /// What conntrack remembers of a tuple, in whichever direction; `None` when that is nothing, or it cannot be asked.
    pub fn look_up(&mut self, tuple: &Flow) -> Option<Tracked> {
        self.conntrack.look_up(tuple)
    }

    /// What was found out about this kernel, in one line.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.found
    }

    /// How many interfaces are watched.
    #[must_use]
    pub fn watched(&self) -> usize {
        self.watch.count()
    }

    /// The names of all interfaces of the node, watched or not.
    #[must_use]
    pub fn interfaces(&self) -> BTreeSet<Arc<str>> {
        self.watch.interfaces()
    }

    /// The kernel's names of its drop reasons, by number.
    #[must_use]
    pub fn reason_names(&self) -> &BTreeMap<u32, Arc<str>> {
        self.decoder.reasons.names()
    }

    /// Packets dropped in the watched namespaces so far, by the name of the reason.
    #[must_use]
    pub fn drops(&self) -> Vec<(Arc<str>, u64)> {
        let drops = self.tables.drops().into_iter();
        drops
            .map(|(reason, total)| (self.decoder.reasons.name(reason), total))
            .collect()
    }

    /// Packets set aside so far: those that could not be read, and those that are not unicast.
    #[must_use]
    pub fn set_aside(&self) -> (u64, u64) {
        self.tables.set_aside()
    }
}

impl AsRawFd for Capture {
    /// The socket that becomes readable when interfaces change.
    fn as_raw_fd(&self) -> RawFd {
        self.watch.as_raw_fd()
    }
}

/// Where the kernel's symbols cannot be read, has them printed, as far as this kernel does that.
fn learn_places(programs: &mut Programs, kernel: &mut Kernel) -> Result<Option<Places>, Error> {
    if kernel.symbols.readable() {
        return Ok(None);
    }
    match Namer::load(programs) {
        Ok(namer) => kernel.symbols.ask(namer),
        Err(error) => {
            tracing::debug!(error = chain(&error), "functions have no names");
            return Ok(None);
        }
    }
    Places::new(programs).map(Some)
}

/// Brings a table in line with what is wanted. What does not fit is left out: it is as if it was not known.
fn write<K: aya::Pod + Ord>(
    table: &mut Table<K, u32>,
    written: &mut BTreeMap<K, u32>,
    wanted: BTreeMap<K, u32>,
) {
    written.retain(|key, _| {
        let keep = wanted.contains_key(key);
        if !keep {
            table.remove(key);
        }
        keep
    });
    for (key, value) in wanted {
        if written.get(&key) == Some(&value) {
            continue;
        }
        match table.insert(&key, &value, 0) {
            Ok(()) => {
                written.insert(key, value);
            }
            Err(error) => tracing::debug!(%error, "left out"),
        }
    }
}

/// An error with all that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let words: Vec<String> = causes.map(ToString::to_string).collect();
    words.join(": ")
}

/// The present on the clock that the kernel side uses.
#[must_use]
pub fn now() -> Moment {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    Moment(seconds * 1_000_000_000 + nanoseconds)
}
