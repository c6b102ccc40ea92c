//! Where Services get their addresses from, as far as those that exist show it: no object that is watched says so.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// How many addresses one range has at most, in bits: an API server takes no larger ones.
const LARGEST_BITS: u8 = 20;
/// Whatever the range is, it has the neighbours of an address.
const SMALLEST_BITS: u8 = 8;
/// How many addresses a range of private ones is taken to have at least, in bits. Those of public ones are scarcer
/// (GKE has a /20), and next to them are others'.
const PRIVATE_BITS_V4: u8 = 16;
const PRIVATE_BITS_V6: u8 = 20;

/// The addresses that Services have inside the cluster.
#[derive(Clone, Debug, Default)]
pub(super) struct ClusterIps {
    /// How many Services have each.
    known: BTreeMap<IpAddr, usize>,
}

impl ClusterIps {
    pub(super) fn add(&mut self, ip: IpAddr) {
        *self.known.entry(ip).or_default() += 1;
    }

    pub(super) fn remove(&mut self, ip: IpAddr) {
        if let Some(times) = self.known.get_mut(&ip) {
            *times -= 1;
            if *times == 0 {
                self.known.remove(&ip);
            }
        }
    }

    /// Whether an address lies among them: in the smallest block around those that may be of one range with it. A few Services
    /// may all lie low in it, so that a private block is no smaller than ranges usually are.
    pub(super) fn are_around(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let Ok(largest) = IpNet::new(ip, bits - LARGEST_BITS) else {
            return false;
        };
        let known = self.known.range(largest.network()..=largest.broadcast());
        let mut known = known.map(|(ip, _)| *ip);
        let Some(first) = known.next() else {
            return false;
        };
        let last = known.next_back().unwrap_or(first);
        let length = common_bits(first, last).min(bits - smallest_bits(first));
        IpNet::new(first, length).is_ok_and(|block| block.contains(&ip))
    }
}

/// How many addresses, in bits, a block has at least.
fn smallest_bits(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) if ip.is_private() => PRIVATE_BITS_V4,
        IpAddr::V6(ip) if ip.is_unique_local() => PRIVATE_BITS_V6,
        IpAddr::V4(_) | IpAddr::V6(_) => SMALLEST_BITS,
    }
}

/// How many bits two addresses of a family begin with alike.
fn common_bits(one: IpAddr, other: IpAddr) -> u8 {
    let bits = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => 0,
    };
    u8::try_from(bits).unwrap_or(u8::MAX)
}
