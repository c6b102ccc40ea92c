//! A Service of the cluster `kasm`, and translation to its backend.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;

use crate::ground::Ground;
use crate::scenario::{Family, Row};

/// The address of the Service.
pub const ADDRESS: &str = "10.43.0.9";

/// A Service before a row's destination: the node translates it, and the cluster says so. Gives its address and port.
///
/// # Errors
/// When nftables refuses it, or the manifest cannot be written.
pub fn before(ground: &Ground, row: &Row) -> anyhow::Result<SocketAddr> {
    let backend = ground.scenario.address(&row.to, Family::V4)?;
    let (port, protocol) = (row.port, row.protocol.name().to_lowercase());
    let to = SocketAddr::new(backend, port);
    dnat(ground, ADDRESS, &protocol, port, to)?;
    told(ground, row)
}

/// The same, rewritten packet by packet, as programs do: conntrack sees what is behind it alone.
///
/// # Errors
/// As [`before`].
pub fn rewritten_before(ground: &Ground, row: &Row) -> anyhow::Result<SocketAddr> {
    rewritten_to(ground, row, ground.scenario.address(&row.to, Family::V4)?)
}

/// The same, of which somebody else than the backend gets the packets.
///
/// # Errors
/// As [`before`].
pub fn rewritten_to(ground: &Ground, row: &Row, taker: IpAddr) -> anyhow::Result<SocketAddr> {
    let port = row.port;
    ground.node.namespace.nft(&format!(
        "table ip services {{\n\
         \tchain there {{\n\
         \t\ttype filter hook prerouting priority raw; policy accept;\n\
         \t\tip daddr {ADDRESS} tcp dport {port} ip daddr set {taker}\n\
         \t}}\n\
         \tchain back {{\n\
         \t\ttype filter hook postrouting priority 300; policy accept;\n\
         \t\tip saddr {taker} tcp sport {port} ip saddr set {ADDRESS}\n\
         \t}}\n\
         }}\n"
    ))?;
    told(ground, row)
}

/// The same Service, of which only the cluster says so.
///
/// # Errors
/// When the manifest cannot be written.
pub fn told(ground: &Ground, row: &Row) -> anyhow::Result<SocketAddr> {
    let backend = ground.scenario.address(&row.to, Family::V4)?;
    let port = row.port;
    fs::write(
        ground.cluster.path().join("service.yaml"),
        manifests(backend, row),
    )
    .context("write the Service")?;
    Ok(SocketAddr::new(ADDRESS.parse()?, port))
}

fn manifests(backend: IpAddr, row: &Row) -> String {
    let (port, protocol) = (row.port, row.protocol.name());
    format!(
        "apiVersion: v1\n\
         kind: Service\n\
         metadata: {{name: db, namespace: kasm}}\n\
         spec:\n\
         \x20 clusterIP: {ADDRESS}\n\
         \x20 clusterIPs: [{ADDRESS}]\n\
         \x20 ports: [{{name: db, port: {port}, protocol: {protocol}}}]\n\
         ---\n\
         apiVersion: discovery.k8s.io/v1\n\
         kind: EndpointSlice\n\
         metadata: {{name: db-1, namespace: kasm, labels: {{kubernetes.io/service-name: db}}}}\n\
         addressType: IPv4\n\
         ports: [{{name: db, port: {port}, protocol: {protocol}}}]\n\
         endpoints: [{{addresses: [{backend}], conditions: {{ready: true}}}}]\n"
    )
}

/// The node translates one more destination.
///
/// # Errors
/// When nftables refuses it.
pub fn dnat(
    ground: &Ground,
    from: &str,
    protocol: &str,
    port: u16,
    to: SocketAddr,
) -> anyhow::Result<()> {
    ground.node.namespace.nft(&format!(
        "table ip services {{\n\
         \tchain prerouting {{\n\
         \t\ttype nat hook prerouting priority dstnat; policy accept;\n\
         \t\tip daddr {from} {protocol} dport {port} dnat to {to}\n\
         \t}}\n\
         }}\n"
    ))
}
