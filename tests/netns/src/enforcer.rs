//! nftables rules that stop connections, made from expectations and never from what netverdict thinks.

use std::fmt::Write;
use std::net::IpAddr;

use anyhow::Context;

use crate::node::Node;
use crate::ns::Namespace;
use crate::scenario::{Family, Row, Scenario, Verdict};
use crate::traffic::Protocol;

/// What the network does about the policies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// It stops exactly what policy denies.
    Enforced(Stop),
    /// It stops nothing.
    NotEnforced,
    /// It stops what policy allows, and nothing else.
    Inverted(Stop),
    /// It stops everything.
    Everything(Stop),
}

/// How a packet is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stop {
    /// Dropped without a word.
    Drop,
    /// ICMP port unreachable, as kube-router does it.
    PortUnreachable,
    /// A RST (TCP only).
    Reset,
}

impl Mode {
    /// How it stops a connection of that verdict; `None`: it lets it pass.
    #[must_use]
    pub fn stops(self, verdict: Verdict) -> Option<Stop> {
        match (self, verdict) {
            (Self::Enforced(stop), Verdict::Denied)
            | (Self::Inverted(stop), Verdict::Allowed)
            | (Self::Everything(stop), _) => Some(stop),
            (Self::Enforced(_), Verdict::Allowed)
            | (Self::Inverted(_), Verdict::Denied)
            | (Self::NotEnforced, _) => None,
        }
    }
}

/// Loads the rules into the node, in place of those that were there.
///
/// # Errors
/// When an address is not known, or nftables refuses the rules.
pub fn enforce(
    node: &Node,
    scenario: &Scenario,
    rows: &[Row],
    family: Family,
    mode: Mode,
) -> anyhow::Result<()> {
    let mut rules = String::new();
    for row in rows {
        if let Some(stop) = mode.stops(row.verdict) {
            let from = scenario.address(&row.from, family)?;
            let to = scenario.address(&row.to, family)?;
            rules.push_str(&rule(from, to, row.port, row.protocol, stop)?);
        }
    }
    node.namespace.nft(&format!(
        "table inet enforcer\n\
         delete table inet enforcer\n\
         table inet enforcer {{\n\
         \tchain stops {{\n\
         \t\tct state established,related accept\n\
{rules}\
         \t}}\n\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         \t\tjump stops\n\
         \t}}\n\
         \tchain input {{\n\
         \t\ttype filter hook input priority filter; policy accept;\n\
         \t\tjump stops\n\
         \t}}\n\
         }}\n"
    ))
}

fn rule(
    from: IpAddr,
    to: IpAddr,
    port: u16,
    protocol: Protocol,
    stop: Stop,
) -> Result<String, std::fmt::Error> {
    let family = if from.is_ipv4() { "ip" } else { "ip6" };
    let protocol = match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    let stop = match stop {
        Stop::Drop => "drop",
        Stop::PortUnreachable => "reject with icmpx type port-unreachable",
        Stop::Reset => "reject with tcp reset",
    };
    let mut line = String::new();
    writeln!(
        line,
        "\t\t{family} saddr {from} {family} daddr {to} {protocol} dport {port} {stop}"
    )?;
    Ok(line)
}

/// Drops what a node would forward from an address, whomever it is for and whatever it belongs to, and counts it.
///
/// # Errors
/// When nftables refuses it.
pub fn drop_from(namespace: &Namespace, from: IpAddr) -> anyhow::Result<()> {
    let family = if from.is_ipv4() { "ip" } else { "ip6" };
    namespace.nft(&format!(
        "table inet dropped {{\n\
         \tchain forward {{\n\
         \t\ttype filter hook forward priority filter; policy accept;\n\
         \t\t{family} saddr {from} counter drop\n\
         \t}}\n\
         }}\n"
    ))
}

/// How many packets [`drop_from`] has dropped.
///
/// # Errors
/// When it has not been called, or its counter cannot be read.
pub fn dropped(namespace: &Namespace) -> anyhow::Result<u64> {
    let chain = namespace.run(&["nft", "list", "chain", "inet", "dropped", "forward"])?;
    let counter = chain.split("counter packets ").nth(1);
    let count = counter.and_then(|rest| rest.split_whitespace().next());
    let count = count.with_context(|| format!("no counter:\n{chain}"))?;
    count.parse().context("read a counter")
}

/// Takes back what [`drop_from`] does.
///
/// # Errors
/// When it has not been called.
pub fn drop_no_more(namespace: &Namespace) -> anyhow::Result<()> {
    namespace.nft("delete table inet dropped\n")
}
