//! The kernel's symbols: where the functions lie whose drops count, and which function an address belongs to.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::Arc;

use node_agent_common::LocationRange;
use node_agent_common::maps::LOCATION_SLOTS;

use super::namer::Namer;

/// Where the kernel lists its symbols.
const KALLSYMS: &str = "/proc/kallsyms";
/// How many addresses are remembered with their names; drops come from a few dozen places.
const REMEMBERED: usize = 512;

/// Names of addresses, looked up when first asked for.
pub(super) struct Symbols {
    names: HashMap<u64, Arc<str>>,
    unknown: Arc<str>,
    readable: bool,
    /// Who is asked where they cannot be read.
    namer: Option<Namer>,
}

impl Symbols {
    /// Finds the ranges of the functions in `wanted`, as many as there is room for, the first first. Without CAP_SYSLOG
    /// the kernel shows no addresses: then there are none.
    pub(super) fn read<'a>(
        wanted: impl Iterator<Item = &'a (&'a str, u8)>,
    ) -> (Self, Vec<LocationRange>) {
        let wanted: HashMap<&str, (usize, u8)> = wanted
            .enumerate()
            .map(|(order, &(name, class))| (name, (order, class)))
            .collect();
        let (mut starts, mut found) = (Vec::new(), Vec::new());
        each_symbol(|start, name| {
            starts.push(start);
            if let Some(&(order, class)) = wanted.get(stem(name)) {
                found.push((order, start, class));
            }
        });
        starts.sort_unstable();
        found.sort_unstable();
        found.truncate(LOCATION_SLOTS as usize);
        let ranges = found.into_iter().map(|(_, start, class)| {
            // The return address lies behind the call, so at the latest where the next function begins.
            let next = starts.partition_point(|other| *other <= start);
            LocationRange {
                start,
                end: starts.get(next).map_or(start + 1, |next| next + 1),
                class: u32::from(class),
                padding: 0,
            }
        });
        let ranges = ranges.collect();
        let this = Self {
            names: HashMap::new(),
            unknown: Arc::from(""),
            readable: !starts.is_empty(),
            namer: None,
        };
        (this, ranges)
    }

    /// Tells whether the kernel shows addresses.
    pub(super) fn readable(&self) -> bool {
        self.readable
    }

    /// Has somebody asked for what cannot be read.
    pub(super) fn ask(&mut self, namer: Namer) {
        self.namer = Some(namer);
    }

    /// Who is asked.
    pub(super) fn namer(&self) -> Option<&Namer> {
        self.namer.as_ref()
    }

    /// The function that an address lies in; empty when that cannot be told.
    pub(super) fn name(&mut self, address: u64) -> Arc<str> {
        if address == 0 || !self.readable && self.namer.is_none() {
            return Arc::clone(&self.unknown);
        }
        if let Some(name) = self.names.get(&address) {
            return Arc::clone(name);
        }
        // The return address lies behind the call.
        let name = match &self.namer {
            Some(namer) => namer.symbol(address - 1).map(|symbol| symbol.name),
            None => find(address),
        };
        let name = name.map_or_else(|| Arc::clone(&self.unknown), Arc::from);
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        self.names.insert(address, Arc::clone(&name));
        name
    }
}

/// Reads the list anew: it has some 200,000 lines, of which only one is needed, and that once.
fn find(address: u64) -> Option<String> {
    let (mut best, mut found) = (0, None);
    each_symbol(|start, name| {
        // A call at a function's very end returns to where the next one begins.
        if start < address && start > best {
            best = start;
            found = Some(name.to_owned());
        }
    });
    found
}

/// Calls `f` with each function's address and name.
fn each_symbol(mut f: impl FnMut(u64, &str)) {
    let Ok(file) = File::open(KALLSYMS) else {
        return;
    };
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = Vec::new();
    while matches!(lines.read_until(b'\n', &mut line), Ok(1..)) {
        if let Some((start, name)) = symbol(&line) {
            f(start, name);
        }
        line.clear();
    }
}

/// A function's name without what a compiler adds to it that makes another of it: `ip6_pkt_drop.isra.0`.
pub(super) fn stem(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

/// Reads `ffffffff81000000 T name [module]`; `None` for data, and where addresses are hidden.
fn symbol(line: &[u8]) -> Option<(u64, &str)> {
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    let start = u64::from_str_radix(words.next()?, 16).ok()?;
    let is_text = matches!(words.next()?, "t" | "T" | "w" | "W");
    let name = words.next()?;
    (is_text && start != 0).then_some((start, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_s_copy_is_the_same_function() {
        for name in ["ip6_pkt_drop", "ip6_pkt_drop.isra.0", "ip6_pkt_drop.cold"] {
            assert_eq!(stem(name), "ip6_pkt_drop");
        }
    }

    #[test]
    fn reads_functions_only() {
        for (line, wanted) in [
            (
                "ffffffff81000000 T _stext\n",
                Some((0xffff_ffff_8100_0000, "_stext")),
            ),
            (
                "ffffffffc0000010 t ovs_x\t[openvswitch]",
                Some((0xffff_ffff_c000_0010, "ovs_x")),
            ),
            ("ffffffff82000000 D data", None),
            ("0000000000000000 T hidden", None),
            ("nonsense", None),
            ("", None),
        ] {
            assert_eq!(symbol(line.as_bytes()), wanted, "{line}");
        }
    }
}
