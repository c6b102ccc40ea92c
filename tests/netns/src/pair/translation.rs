//! The nodes' translation of Services, as kube-proxy writes it for nftables.

use std::net::SocketAddr;

use super::cluster::{node_port, pod_address, service_address};
use super::{Member, PORT};
use crate::scenario::Family;

/// What kube-proxy writes for these Services: maps to a chain for each, which marks what would come back to its sender,
/// and translates. What comes to a node's port is marked, and what is marked leaves as from the node.
pub(super) fn rules(members: &[Member], family: Family) -> String {
    let ip = match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    };
    let (mut elements, mut node_ports) = (Vec::new(), Vec::new());
    let mut chains = String::new();
    for (index, Member { name, beside, .. }) in members.iter().enumerate() {
        let Ok(backend) = pod_address(members, name, family) else {
            continue;
        };
        let service = service_address(index, family);
        for protocol in ["tcp", "udp"] {
            let to = SocketAddr::new(backend, PORT);
            elements.push(format!(
                "{service} . {protocol} . {PORT} : goto service-{name}-{protocol}"
            ));
            node_ports.push(format!(
                "{protocol} . {} : goto external-{name}-{protocol}",
                node_port(index)
            ));
            let names = std::iter::once(name).chain(*beside).enumerate();
            let turns =
                names.map(|(turn, name)| format!("{turn} : goto endpoint-{name}-{protocol}"));
            let turns = turns.collect::<Vec<_>>().join(", ");
            chains.push_str(&format!(
                "\tchain endpoint-{name}-{protocol} {{\n\
                 \t\t{ip} saddr {backend} meta mark set meta mark or 0x4000\n\
                 \t\tmeta l4proto {protocol} dnat to {to}\n\
                 \t}}\n\
                 \tchain service-{name}-{protocol} {{\n\
                 \t\tnumgen inc mod {} vmap {{ {turns} }}\n\
                 \t}}\n\
                 \tchain external-{name}-{protocol} {{\n\
                 \t\tmeta mark set meta mark or 0x4000\n\
                 \t\tgoto service-{name}-{protocol}\n\
                 \t}}\n",
                1 + beside.len()
            ));
        }
    }
    format!(
        "table {ip} kube-proxy {{\n\
         {chains}\
         \tchain services {{\n\
         \t\t{ip} daddr . meta l4proto . th dport vmap {{ {} }}\n\
         \t\tfib daddr type local meta l4proto . th dport vmap {{ {} }}\n\
         \t}}\n\
         \tchain nat-prerouting {{\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tjump services\n\
         \t}}\n\
         \tchain nat-postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\tmeta mark and 0x4000 == 0 return\n\
         \t\tmeta mark set meta mark xor 0x4000\n\
         \t\tmasquerade fully-random\n\
         \t}}\n\
         }}\n",
        elements.join(", "),
        node_ports.join(", ")
    )
}
