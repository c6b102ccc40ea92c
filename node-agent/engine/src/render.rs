//! Turns what was judged into what is written: names, times, identifiers.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha1::{Digest as _, Sha1};

use crate::Moment;
use crate::cluster::Cluster;
use crate::identity::Identity;
use crate::input::Flow;
use crate::model::{Pod, Protocol};
use crate::record::{Endpoint, EndpointKind, Family};

/// Wall-clock time of the monotonic clock's beginning, nanoseconds since 1970. Times are compared on the
/// monotonic clock; this is only for printing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ClockBase(pub i64);

impl ClockBase {
    /// Nanoseconds since 1970.
    pub(crate) fn wall_ns(self, moment: Moment) -> i128 {
        i128::from(self.0) + i128::from(moment.0)
    }

    /// RFC 3339, UTC, nanoseconds.
    pub(crate) fn print(self, moment: Moment) -> String {
        let timestamp = Timestamp::from_nanosecond(self.wall_ns(moment)).unwrap_or_default();
        format!("{timestamp:.9}")
    }
}

pub(crate) fn family(ip: IpAddr) -> Family {
    match ip {
        IpAddr::V4(_) => Family::IPv4,
        IpAddr::V6(_) => Family::IPv6,
    }
}

/// Describes one end. `names_port` is the protocol when this end's port is the one that policies look at.
pub(crate) fn endpoint(
    cluster: &Cluster,
    identity: &Identity,
    ip: IpAddr,
    port: u16,
    names_port: Option<Protocol>,
) -> Endpoint {
    let mut end = Endpoint {
        kind: EndpointKind::Unknown,
        namespace: None,
        name: None,
        uid: None,
        workload: None,
        service_account: None,
        labels: None,
        node: None,
        ip,
        port,
        port_name: None,
    };
    match identity {
        Identity::Pod(key) => {
            // Of one that is gone for long nothing is known any more.
            if let Some(pod) = cluster.recalled(key) {
                end.kind = EndpointKind::Pod;
                end.namespace = Some(Arc::clone(&key.namespace));
                end.name = Some(Arc::clone(&key.name));
                describe(&mut end, pod, names_port);
            }
        }
        Identity::Node(name) => {
            end.kind = EndpointKind::Node;
            end.name = Some(Arc::clone(name));
        }
        Identity::Service(key) | Identity::NodeService(key) => {
            end.kind = EndpointKind::Service;
            end.namespace = Some(Arc::clone(&key.namespace));
            end.name = Some(Arc::clone(&key.name));
        }
        Identity::World => end.kind = EndpointKind::World,
        Identity::Ambiguous | Identity::Unknown => {}
    }
    end
}

fn describe(end: &mut Endpoint, pod: &Pod, names_port: Option<Protocol>) {
    let present = |text: &Arc<str>| (!text.is_empty()).then(|| Arc::clone(text));
    end.uid = present(&pod.uid);
    end.workload = Some(pod.workload.clone());
    end.service_account = present(&pod.service_account);
    end.labels = Some(pod.labels.clone());
    end.node = present(&pod.node);
    let named = |protocol: Protocol| {
        pod.ports.iter().find(|port| {
            port.port == end.port && port.protocol == protocol && !port.name.is_empty()
        })
    };
    end.port_name = names_port
        .and_then(named)
        .map(|port| Arc::clone(&port.name));
}

/// The same on both nodes that see a conversation: it leaves the client's port out.
pub(crate) fn conversation_id(flow: &Flow) -> String {
    let mut hash = Sha1::new();
    update(&mut hash, flow.source);
    update(&mut hash, flow.destination);
    hash.update(flow.destination_port.to_be_bytes());
    hash.update([number(flow.protocol)]);
    hex(&hash.finalize())
}

/// Differs for every record of a cluster.
pub(crate) fn record_id(node: &str, number: u64, base: ClockBase, at: Moment) -> String {
    let mut hash = Sha1::new();
    hash.update(node.as_bytes());
    hash.update(number.to_be_bytes());
    hash.update(base.0.to_be_bytes());
    hash.update(at.0.to_be_bytes());
    hex(&hash.finalize())
}

/// Community ID, version 1, seed 0 (<https://github.com/corelight/community-id-spec>).
pub(crate) fn community_id(flow: &Flow) -> String {
    let source = (flow.source, flow.source_port);
    let destination = (flow.destination, flow.destination_port);
    let (low, high) = if source <= destination {
        (source, destination)
    } else {
        (destination, source)
    };
    let mut hash = Sha1::new();
    hash.update([0, 0]);
    update(&mut hash, low.0);
    update(&mut hash, high.0);
    hash.update([number(flow.protocol), 0]);
    hash.update(low.1.to_be_bytes());
    hash.update(high.1.to_be_bytes());
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

fn update(hash: &mut Sha1, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => hash.update(ip.octets()),
        IpAddr::V6(ip) => hash.update(ip.octets()),
    }
}

/// IANA protocol number.
fn number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Icmp => 1,
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Icmpv6 => 58,
        Protocol::Sctp => 132,
    }
}

/// The first eight bytes, in hexadecimal.
fn hex(digest: &[u8]) -> String {
    digest
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the baseline of the Community ID specification.
    #[test]
    fn community_id_matches_the_specification() {
        let flow =
            |source: &str, source_port, destination: &str, destination_port, protocol| Flow {
                source: source.parse().unwrap(),
                destination: destination.parse().unwrap(),
                source_port,
                destination_port,
                protocol,
            };
        let there = flow("128.232.110.120", 34855, "66.35.250.204", 80, Protocol::Tcp);
        assert_eq!(community_id(&there), "1:LQU9qZlK+B5F3KDmev6m5PMibrg=");
        let back = flow("66.35.250.204", 80, "128.232.110.120", 34855, Protocol::Tcp);
        assert_eq!(community_id(&back), community_id(&there));
        let udp = flow("192.168.1.52", 54585, "8.8.8.8", 53, Protocol::Udp);
        assert_eq!(community_id(&udp), "1:d/FP5EW3wiY1vCndhwleRRKHowQ=");
    }

    #[test]
    fn time_is_printed_with_nanoseconds() {
        let base = ClockBase(1_763_686_923_000_000_000);
        assert_eq!(
            base.print(Moment(123_456_789)),
            "2025-11-21T01:02:03.123456789Z"
        );
    }
}
