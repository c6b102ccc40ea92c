//! What can be wrong with a connection that somebody asks about.

use std::net::IpAddr;
use std::sync::Arc;

use node_agent_engine::model::ObjectKey;

/// What is wrong with a connection.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The first line of a table is no header.
    #[error(
        "expected the header `from	to	port/protocol	verdict	denied in direction` (tabs between, the last two may be left out), or JSON lines; found `{found}`"
    )]
    Header {
        /// The line.
        found: String,
    },
    /// A line of a table has more or fewer cells than its header.
    #[error(
        "the header has {wanted} columns, this line {found}; cells are separated by one tab each"
    )]
    Cells {
        /// How many the header has.
        wanted: usize,
        /// How many the line has.
        found: usize,
    },
    /// A line is no such JSON object.
    #[error("column {column}: {message}")]
    Json {
        /// Where in the line, from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A line is no record.
    #[error("no record of netverdict: {message}")]
    Record {
        /// What is wrong.
        message: String,
    },
    /// Neither a pod nor an address.
    #[error("`{text}` is neither NAMESPACE/POD nor one address")]
    End {
        /// As written.
        text: String,
    },
    /// Not an address.
    #[error("`{field}`: `{text}` is no address")]
    Address {
        /// Which field.
        field: &'static str,
        /// As written.
        text: String,
    },
    /// No such pod.
    #[error("no pod `{}/{}` in this cluster; namespace `{}` has {offered}", key.namespace, key.name, key.namespace)]
    NoPod {
        /// What was asked for.
        key: ObjectKey,
        /// What there is.
        offered: String,
    },
    /// No pod in that namespace at all.
    #[error("namespace `{namespace}` has no pod in this cluster; namespaces are {offered}")]
    NoNamespace {
        /// What was asked for.
        namespace: Arc<str>,
        /// What there is.
        offered: String,
    },
    /// An address that is not one of the pod's.
    #[error("pod `{pod}` has no address {ip}; it has {}", if ips.is_empty() { "none" } else { ips })]
    NotItsAddress {
        /// The pod.
        pod: String,
        /// What was asked for.
        ip: IpAddr,
        /// What it has.
        ips: String,
    },
    /// An end that is an address, and another address beside it.
    #[error("`{end}` is an address already, and {ip} is another one")]
    OtherAddress {
        /// The end.
        end: String,
        /// The address beside it.
        ip: IpAddr,
    },
    /// Addresses between which there is no connection.
    #[error("{from} and {to} are of different families, IPv4 and IPv6")]
    Families {
        /// The source's.
        from: IpAddr,
        /// The destination's.
        to: IpAddr,
    },
    /// No port number.
    #[error("`{text}`: a port is a number from 1 to 65535, as in 5432/TCP")]
    Port {
        /// As written.
        text: String,
    },
    /// No protocol.
    #[error("`{text}`: a protocol is TCP, UDP, SCTP, ICMP or ICMPv6, as in 5432/TCP")]
    Protocol {
        /// As written.
        text: String,
    },
    /// ICMP with a port.
    #[error("ICMP has no port, and {port} is given")]
    IcmpPort {
        /// As written.
        port: u16,
    },
    /// An expectation that is none.
    #[error("`{text}`: an expectation is allowed, denied or unknown")]
    Expectation {
        /// As written.
        text: String,
    },
    /// A direction that is none.
    #[error("`{text}`: a direction is egress, ingress, egress+ingress or -")]
    Direction {
        /// As written.
        text: String,
    },
}
