//! Which network namespaces are the pods': those on the other side of the watched interfaces.
//!
//! The kernel names a veth's other side by a number that only means something here (IFLA_LINK_NETNSID). Container
//! runtimes keep their namespaces under `/run`; where they do not, processes lead there. Each candidate is asked
//! for its number, and its inode is what the tracepoints see. By that number a namespace can be asked for its addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::links::own_address;
use super::netlink::Netlink;

/// Where namespaces are kept by name.
const FOLDERS: [&str; 2] = ["/run/netns", "/run/docker/netns"];
/// The namespace we are in.
const OWN: &str = "/proc/thread-self/ns/net";

/// Inode of the calling thread's network namespace, 0 when `/proc` is not there.
pub(super) fn own() -> u32 {
    fs::metadata(OWN).map_or(0, |found| inode(&found))
}

fn inode(found: &fs::Metadata) -> u32 {
    // Namespaces have inodes of 32 bits.
    u32::try_from(found.ino()).unwrap_or(0)
}

/// Does something in a new network namespace, which ends with it; `None` where none can be made.
pub(super) fn elsewhere<T: Send>(work: impl FnOnce() -> T + Send) -> Option<T> {
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            // SAFETY: file descriptors stay shared.
            let moved = unsafe { unshare_unsafe(UnshareFlags::NEWNET) };
            moved.ok().map(|()| work())
        });
        there.join().ok().flatten()
    })
}

/// Finds the inodes of namespaces by their numbers; those that cannot be found are left out.
pub(super) fn inodes(netlink: &mut Netlink, wanted: &[i32]) -> BTreeMap<i32, u32> {
    let mut found = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for path in named().chain(processes()) {
        if wanted.iter().all(|number| found.contains_key(number)) {
            break;
        }
        let Ok(file) = File::open(&path) else {
            continue;
        };
        let Ok(inode) = file.metadata().map(|found| inode(&found)) else {
            continue;
        };
        if seen.insert(inode)
            && let Some(number) = number(netlink, &file)
            && wanted.contains(&number)
        {
            found.insert(number, inode);
        }
    }
    found
}

/// The addresses of an interface in the namespace of that number, those that hold on its own link only left out;
/// `None` when it cannot be asked.
pub(super) fn addresses(
    netlink: &mut Netlink,
    number: i32,
    index: u32,
) -> Option<BTreeSet<IpAddr>> {
    let target = AddressAttribute::TargetNetNsId(number);
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.attributes.push(target.clone());
    let answers = netlink
        .dump(RouteNetlinkMessage::GetAddress(message))
        .ok()?;
    let found = answers.into_iter().filter_map(|answer| match answer {
        RouteNetlinkMessage::NewAddress(found) => Some(found),
        _ => None,
    });
    let is_there = |found: &AddressMessage| {
        found.header.scope == AddressScope::Universe && found.attributes.contains(&target)
    };
    let there = found.filter(is_there);
    Some(
        there
            .filter_map(|found| Some(own_address(&found)?.1))
            .collect(),
    )
}

fn named() -> impl Iterator<Item = PathBuf> {
    let entries = FOLDERS
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    entries.flatten().filter_map(|e| Some(e.ok()?.path()))
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| {
        let entry = entry.ok()?;
        let is_process = entry.file_name().to_str()?.parse::<u32>().is_ok();
        is_process.then(|| entry.path().join("ns/net"))
    })
}

/// The number that this namespace gave to the one in `file`; `None` when it has none.
fn number(netlink: &mut Netlink, file: &File) -> Option<i32> {
    let mut message = NsidMessage::default();
    let fd = file.as_raw_fd().cast_unsigned();
    message.attributes.push(NsidAttribute::Fd(fd));
    let answers = netlink.get(RouteNetlinkMessage::GetNsId(message)).ok()?;
    let attributes = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewNsId(message) => Some(message.attributes),
        _ => None,
    })?;
    attributes
        .into_iter()
        .find_map(|attribute| match attribute {
            NsidAttribute::Id(number) if number >= 0 => Some(number),
            _ => None,
        })
}
