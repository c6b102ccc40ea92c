//! What the running kernel is like: its types, its drop reasons, its symbols.

use std::fs;

use node_agent_common::LocationRange;

use super::btf::{self, Types};
use super::hooks::Hook;
use super::namespaces;
use super::programs::{BTF, Error};
use super::reasons::{LOCATIONS, LOCATIONS_WITHOUT_REASONS, Reasons};
use super::symbols::Symbols;

/// Global that says whether a program knows what others said before.
const HAS_RETVAL: &str = "HAS_RETVAL";

/// What was found out about the running kernel.
pub(super) struct Kernel {
    /// What the programs are told of it.
    pub(super) globals: Vec<(&'static str, u32)>,
    pub(super) reasons: Reasons,
    pub(super) symbols: Symbols,
    pub(super) locations: Vec<LocationRange>,
}

impl Kernel {
    /// Reads the kernel's types and symbols.
    pub(super) fn read() -> Result<Self, Error> {
        let bytes = fs::read(BTF).map_err(Error::NoBtf)?;
        let types = Types::parse(&bytes)?;
        let reasons = Reasons::read(&types);
        let has_reason = types.tracepoint_arguments("kfree_skb").unwrap_or(2) >= 3;
        let more = if has_reason {
            &[]
        } else {
            LOCATIONS_WITHOUT_REASONS
        };
        let (symbols, locations) = Symbols::read(LOCATIONS.iter().chain(more));
        let mut globals = offsets(&types)?;
        let helpers = types.enumerators("bpf_func_id");
        let has_retval = helpers.values().any(|name| name == "BPF_FUNC_get_retval");
        globals.push((HAS_RETVAL, u32::from(has_retval)));
        globals.push(("HAS_REASON", u32::from(has_reason)));
        let prints = helpers.values().any(|name| name == "BPF_FUNC_snprintf");
        let learns_places = prints && !symbols.readable();
        globals.push(("LEARNS_PLACES", u32::from(learns_places)));
        globals.push(("OWN_NETNS", namespaces::own()));
        globals.push(("OVS_SUBSYSTEM", reasons.ovs_subsystem));
        Ok(Self {
            globals,
            reasons,
            symbols,
            locations,
        })
    }

    fn has(&self, name: &str) -> bool {
        let mut globals = self.globals.iter();
        globals.any(|(global, value)| *global == name && *value == 1)
    }

    /// Whether every drop is told with its reason; else only those at places that are known.
    pub(super) fn has_reasons(&self) -> bool {
        self.has("HAS_REASON")
    }

    /// Whether it is told when a call of a process is denied.
    pub(super) fn tells_denials(&self) -> bool {
        self.has(HAS_RETVAL)
    }

    /// What was found, in one line.
    pub(super) fn found(&self, hook: Hook) -> String {
        let yes = |name| if self.has(name) { "yes" } else { "no" };
        let symbols = match (self.symbols.readable(), self.symbols.namer()) {
            (true, _) => "yes",
            (false, Some(_)) => "as they occur",
            (false, None) => "no",
        };
        format!(
            "hooks {}, kfree_skb, inet_sock_set_state; drop reasons {} ({}), conntrack {}, IPv6 {}, symbols {symbols}, locations {}",
            hook.name(),
            yes("HAS_REASON"),
            self.reasons.count(),
            yes("HAS_CONNTRACK"),
            yes("HAS_IPV6"),
            self.locations.len(),
        )
    }
}

/// The globals that say where the kernel's fields lie.
fn offsets(types: &Types<'_>) -> Result<Vec<(&'static str, u32)>, Error> {
    const NEEDED: &[(&str, &str, &str)] = &[
        ("SKB_HEAD", "sk_buff", "head"),
        ("SKB_DATA", "sk_buff", "data"),
        ("SKB_TAIL", "sk_buff", "tail"),
        ("SKB_NETWORK_HEADER", "sk_buff", "network_header"),
        ("SKB_MAC_HEADER", "sk_buff", "mac_header"),
        ("SKB_PROTOCOL", "sk_buff", "protocol"),
        ("SKB_DEV", "sk_buff", "dev"),
        ("SKB_IIF", "sk_buff", "skb_iif"),
        ("SKB_SK", "sk_buff", "sk"),
        ("DEV_IFINDEX", "net_device", "ifindex"),
        ("DEV_NET", "net_device", "nd_net.net"),
        ("NET_INUM", "net", "ns.inum"),
        ("SK_NET", "sock", "__sk_common.skc_net.net"),
        ("SK_FAMILY", "sock", "__sk_common.skc_family"),
        ("SK_NUM", "sock", "__sk_common.skc_num"),
        ("SK_DPORT", "sock", "__sk_common.skc_dport"),
        ("SK_SADDR", "sock", "__sk_common.skc_rcv_saddr"),
        ("SK_DADDR", "sock", "__sk_common.skc_daddr"),
    ];
    const IPV6: &[(&str, &str, &str)] = &[
        ("SK_SADDR6", "sock", "__sk_common.skc_v6_rcv_saddr"),
        ("SK_DADDR6", "sock", "__sk_common.skc_v6_daddr"),
    ];
    let mut globals = Vec::new();
    for (name, structure, path) in NEEDED {
        globals.push((*name, types.offset(structure, path)?));
    }
    let ipv6: Result<Vec<_>, _> = IPV6
        .iter()
        .map(|(name, structure, path)| Ok((*name, types.offset(structure, path)?)))
        .collect();
    globals.push(("HAS_IPV6", u32::from(ipv6.is_ok())));
    globals.extend(ipv6.unwrap_or_else(|_: btf::Error| Vec::new()));
    // Conntrack may be left out of a kernel, or be a module whose types are elsewhere.
    let conntrack = types.offset("sk_buff", "_nfct").and_then(|nfct| {
        let hash = types.offset("nf_conn", "tuplehash")?;
        let tuple = types.offset("nf_conntrack_tuple_hash", "tuple")?;
        let each = types.size("nf_conntrack_tuple_hash")?;
        Ok([
            ("SKB_NFCT", nfct),
            ("CT_TUPLE", hash + tuple),
            ("CT_REPLY", hash + each + tuple),
        ])
    });
    globals.push(("HAS_CONNTRACK", u32::from(conntrack.is_ok())));
    globals.extend(conntrack.into_iter().flatten());
    Ok(globals)
}
