//! Two nodes that reach each other's pods, and nobody else.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;

use super::node_address;
use crate::node::{Node, ReversePath, TEST_PREFIX};
use crate::ns::Namespace;
use crate::scenario::Family;

static PAIRS: AtomicU16 = AtomicU16::new(0);

/// How packets come from a node's pods to those of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As they are, by routes.
    Routed,
    /// Within a tunnel, as flannel does it on K3s: VXLAN, whose ends have the first address of each node's pods.
    Vxlan,
}

impl Way {
    /// The address from which a node speaks to the other's pods: its end of the tunnel, where there is one.
    #[must_use]
    pub fn sender(self, index: usize, family: Family) -> IpAddr {
        let index = u8::try_from(index).unwrap_or(u8::MAX);
        match (self, family) {
            (Self::Routed, _) => node_address(usize::from(index), family),
            (Self::Vxlan, Family::V4) => IpAddr::from([10, 42, index, 0]),
            (Self::Vxlan, Family::V6) => {
                IpAddr::from([0xfd00, 0x10, 0x42, u16::from(index), 0, 0, 0, 0])
            }
        }
    }
}

/// Two nodes without pods, and a router between them.
#[derive(Debug)]
pub struct Linked {
    /// Both nodes.
    pub nodes: [Node; 2],
    /// What lies between them.
    pub between: Namespace,
}

impl Linked {
    /// Makes both, and what lies between them.
    ///
    /// # Errors
    /// When a namespace cannot be made or configured.
    pub fn new(way: Way) -> anyhow::Result<Self> {
        let number = PAIRS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEST_PREFIX}{}-between-{number}", std::process::id());
        let mut between = Namespace::create(vec![name])?;
        let between = between.pop().context("one namespace was asked for")?;
        between.sysctl(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv6/conf/default/accept_dad", "0"),
        ])?;
        let nodes = [link(0, &between, way)?, link(1, &between, way)?];
        Ok(Self { nodes, between })
    }
}

/// A node whose only way out leads to what lies between.
fn link(index: usize, between: &Namespace, way: Way) -> anyhow::Result<Node> {
    let node = Node::new(TEST_PREFIX, &[], ReversePath::Open)?;
    let [v4, v6] = [Family::V4, Family::V6].map(|family| node_address(index, family));
    let link = format!("to{index}");
    node.namespace.ip(&format!(
        "link del uplink0\n\
         link add cluster0 type veth peer name {link} netns {}\n\
         link set cluster0 up\n\
         addr add {v4}/24 dev cluster0\n\
         addr add {v6}/64 dev cluster0 nodad\n\
         addr add fe80::1/64 dev cluster0 nodad\n",
        between.name(),
    ))?;
    between.ip(&format!(
        "link set {link} up\n\
         addr add 198.51.{index}.254/24 dev {link}\n\
         addr add 2001:db8:51:{index}::fe/64 dev {link} nodad\n\
         route add 10.42.{index}.0/24 via {v4}\n\
         route add fd00:10:42:{index}::/64 via {v6}\n"
    ))?;
    node.namespace.ip(&format!(
        "route add default via 198.51.{index}.254\n\
         route add default via 2001:db8:51:{index}::fe\n"
    ))?;
    node.namespace.ip(&match way {
        Way::Routed => routes(index),
        Way::Vxlan => tunnel(index),
    })?;
    Ok(node)
}

fn routes(index: usize) -> String {
    let other = 1 - index;
    format!(
        "route add 10.42.{other}.0/24 via 198.51.{index}.254\n\
         route add fd00:10:42:{other}::/64 via 2001:db8:51:{index}::fe\n"
    )
}

fn tunnel(index: usize) -> String {
    let other = 1 - index;
    let ends = [index, other].map(|index| node_address(index, Family::V4));
    let [own, far] = ends;
    format!(
        "link add flannel.1 address 0e:00:00:00:00:0{index} mtu 1450 \
            type vxlan id 1 local {own} remote {far} dstport 8472 nolearning\n\
         link set flannel.1 up\n\
         addr add 10.42.{index}.0/32 dev flannel.1\n\
         addr add fd00:10:42:{index}::/128 dev flannel.1 nodad\n\
         neigh add 10.42.{other}.0 lladdr 0e:00:00:00:00:0{other} dev flannel.1\n\
         neigh add fd00:10:42:{other}:: lladdr 0e:00:00:00:00:0{other} dev flannel.1\n\
         route add 10.42.{other}.0/24 via 10.42.{other}.0 dev flannel.1 onlink\n\
         route add fd00:10:42:{other}::/64 via fd00:10:42:{other}:: dev flannel.1 onlink\n"
    )
}
