//! A node, its pods and the world outside, each a network namespace.
//!
//! Pods are routed as Calico does it: the host side of a pod's veth has no address, the node has a host route to the
//! pod, and the pod's default route leads to 169.254.1.1 and fe80::1, which the host side answers for. Or they hang on
//! a bridge, see [`Wiring`].

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context;

use crate::agent::Agent;
use crate::ns::Namespace;
use crate::scenario::Party;

/// The node's own addresses.
pub const NODE_ADDRESSES: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x10)),
];

/// How the namespaces of tests begin: what a killed test run left can be told by it.
pub const TEST_PREFIX: &str = "nvt";

/// Client ports that one node hands out.
const PORTS: u16 = 512;
const FIRST_PORT: u16 = 20_000;
/// How many nodes can live side by side before client ports repeat.
const PORT_RANGES: u16 = 88;

static NODES: AtomicU16 = AtomicU16::new(0);

/// Checks the source address of what arrives, as many distributions do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReversePath {
    /// Off, as on a node whose CNI wants it so.
    Open,
    /// On: a packet from an address that is routed elsewhere is dropped.
    Strict,
}

/// How pods are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Host routes and proxy ARP, as Calico does it.
    Routed,
    /// Ports of one bridge that has the gateway's address, as flannel does it on K3s; netfilter sees what it passes on.
    Bridged,
}

/// What a pod is to be.
#[derive(Clone, Debug)]
pub struct PodSpec {
    /// `namespace/name`, as in the cluster.
    pub key: String,
    /// Its addresses, of one family or both.
    pub addresses: Vec<IpAddr>,
}

/// A pod: a namespace behind a veth of the node.
#[derive(Debug)]
pub struct Pod {
    /// Its network namespace.
    pub namespace: Namespace,
    /// What it was made from.
    pub spec: PodSpec,
    /// The host side of its veth, in the node's namespace.
    pub link: String,
}

/// A node: a namespace that routes.
#[derive(Debug)]
pub struct Node {
    // Fields are dropped in this order: pods before the node they hang on.
    /// The pods, in the order in which they were added.
    pub pods: Vec<Pod>,
    /// Everything outside: a namespace that has the external addresses.
    pub world: Namespace,
    /// The node's own network namespace.
    pub namespace: Arc<Namespace>,
    prefix: String,
    first_port: u16,
    made: usize,
    wiring: Wiring,
}

impl Node {
    /// Makes a node without pods, and a world that has `external` addresses.
    ///
    /// `prefix` begins the names of all its namespaces. The world answers for nothing else and forwards nothing: what
    /// is sent to any other address outside is never heard of again.
    ///
    /// # Errors
    /// When a namespace cannot be made or configured.
    pub fn new(
        prefix: &str,
        external: &[IpAddr],
        reverse_path: ReversePath,
    ) -> anyhow::Result<Self> {
        Self::wired(prefix, external, reverse_path, Wiring::Routed)
    }

    /// The same, with pods that are connected in another way.
    ///
    /// # Errors
    /// As [`Node::new`].
    pub fn wired(
        prefix: &str,
        external: &[IpAddr],
        reverse_path: ReversePath,
        wiring: Wiring,
    ) -> anyhow::Result<Self> {
        let number = NODES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("{prefix}{}-{number}", std::process::id());
        let names = vec![format!("{prefix}-world"), format!("{prefix}-node")];
        let mut namespaces = Namespace::create(names)?.into_iter();
        let (Some(world), Some(namespace)) = (namespaces.next(), namespaces.next()) else {
            anyhow::bail!("two namespaces were asked for");
        };
        let node = Self {
            pods: Vec::new(),
            world,
            namespace: Arc::new(namespace),
            prefix,
            first_port: FIRST_PORT + (number % PORT_RANGES) * PORTS,
            made: 0,
            wiring,
        };
        node.configure(reverse_path)?;
        if wiring == Wiring::Bridged {
            node.add_bridge()?;
        }
        node.configure_world(external)?;
        Ok(node)
    }

    fn configure(&self, reverse_path: ReversePath) -> anyhow::Result<()> {
        let strict = u8::from(reverse_path == ReversePath::Strict).to_string();
        self.namespace.sysctl(&[
            ("ipv4/ip_forward", "1"),
            ("ipv6/conf/all/forwarding", "1"),
            ("ipv4/conf/all/rp_filter", &strict),
            ("ipv4/conf/default/rp_filter", &strict),
            // The host side answers for 169.254.1.1.
            ("ipv4/conf/default/proxy_arp", "1"),
        ])?;
        self.world.sysctl(&[
            ("ipv4/ip_forward", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
        ])?;
        quiet(&self.namespace)?;
        quiet(&self.world)?;
        let world = self.world.name();
        self.namespace.ip(&format!(
            "link add uplink0 type veth peer name uplink0 netns {world}\n"
        ))?;
        self.world.ip("link set lo up\n\
             link set uplink0 up\n\
             addr add 192.0.2.1/24 dev uplink0\n\
             addr add 2001:db8:0:1::1/64 dev uplink0 nodad\n\
             addr add fe80::1/64 dev uplink0 nodad\n\
             route add 10.42.0.0/15 via 192.0.2.10\n\
             route add fd00:10:42::/48 via 2001:db8:0:1::10\n")?;
        self.namespace.ip("link set lo up\n\
             link set uplink0 up\n\
             addr add 192.0.2.10/24 dev uplink0\n\
             addr add 2001:db8:0:1::10/64 dev uplink0 nodad\n\
             addr add fe80::10/64 dev uplink0 nodad\n\
             route add default via 192.0.2.1\n\
             route add default via 2001:db8:0:1::1\n")
    }

    fn add_bridge(&self) -> anyhow::Result<()> {
        self.namespace.ip("link add cni0 type bridge\n\
             link set cni0 up\n\
             addr add 10.42.0.1/16 dev cni0\n\
             addr add fd00:10:42::1/48 dev cni0 nodad\n\
             addr add fe80::1/64 dev cni0 nodad\n")?;
        self.namespace.sysctl(&[
            ("bridge/bridge-nf-call-iptables", "1"),
            ("bridge/bridge-nf-call-ip6tables", "1"),
        ])
    }

    fn configure_world(&self, external: &[IpAddr]) -> anyhow::Result<()> {
        let mut lines = String::new();
        for address in external {
            writeln!(
                lines,
                "addr add {} dev lo{}",
                host(*address),
                nodad(*address)
            )?;
        }
        self.world.ip(&lines)
    }

    /// Adds pods. Their interfaces appear on the node first, and pass packets only when all of them are configured.
    ///
    /// # Errors
    /// When a namespace cannot be made or configured.
    pub fn add_pods(&mut self, specs: &[PodSpec]) -> anyhow::Result<()> {
        self.add(specs, |_| Ok(()))
    }

    /// The same, and no packet passes before the agent watches: of these pods it has missed nothing.
    ///
    /// # Errors
    /// As [`Node::add_pods`], and when the agent does not see an interface.
    pub fn add_watched_pods(&mut self, specs: &[PodSpec], agent: &Agent) -> anyhow::Result<()> {
        self.add(specs, |added| {
            let mut links = added.iter().map(|pod| &pod.link);
            links.try_for_each(|link| agent.watches(link))
        })
    }

    fn add(
        &mut self,
        specs: &[PodSpec],
        before_packets: impl FnOnce(&[Pod]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let first = self.made;
        self.made += specs.len();
        let names = (first..self.made)
            .map(|index| format!("{}-p{index}", self.prefix))
            .collect();
        let added: Vec<Pod> = Namespace::create(names)?
            .into_iter()
            .zip(specs)
            .enumerate()
            .map(|(index, (namespace, spec))| Pod {
                namespace,
                spec: spec.clone(),
                link: format!("cali{}", first + index),
            })
            .collect();
        for pod in &added {
            quiet(&pod.namespace)?;
            let last_port = (self.first_port + PORTS - 1).to_string();
            let range = format!("{} {last_port}", self.first_port);
            pod.namespace
                .sysctl(&[("ipv4/ip_local_port_range", &range)])?;
        }
        self.namespace.ip(&links(&added)?)?;
        // It answers at once: the kernel's own default is up to 0.8 s.
        let delays: Vec<String> = added
            .iter()
            .map(|pod| format!("ipv4/neigh/{}/proxy_delay", pod.link))
            .collect();
        let at_once: Vec<(&str, &str)> = delays.iter().map(|key| (key.as_str(), "0")).collect();
        self.namespace.sysctl(&at_once)?;
        for pod in &added {
            pod.namespace
                .ip(&inside(&pod.spec, self.wiring)?)
                .with_context(|| format!("configure pod `{}`", pod.spec.key))?;
        }
        before_packets(&added)?;
        self.namespace.ip(&routes(&added, self.wiring)?)?;
        self.pods.extend(added);
        Ok(())
    }

    /// Removes a pod with its interface.
    pub fn remove_pod(&mut self, key: &str) {
        self.pods.retain(|pod| pod.spec.key != key);
    }

    /// The same, whatever sockets are still open in it: the interface is gone when this returns.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn unplug_pod(&mut self, key: &str) -> anyhow::Result<()> {
        let unplug = format!("link del {}\n", self.pod(key)?.link);
        self.namespace.ip(&unplug)?;
        self.remove_pod(key);
        Ok(())
    }

    /// The pod of that `namespace/name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, key: &str) -> anyhow::Result<&Pod> {
        self.pods
            .iter()
            .find(|pod| pod.spec.key == key)
            .with_context(|| format!("no pod `{key}` on this node"))
    }

    /// Where sockets of `place` belong: a pod, the node for its own addresses, else the world.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn namespace_of(&self, place: &str) -> anyhow::Result<&Namespace> {
        match Party::of(place) {
            Party::Pod => self.pod(place).map(|pod| &pod.namespace),
            Party::Node => Ok(&self.namespace),
            Party::World => Ok(&self.world),
        }
    }
}

/// No rate limits on ICMP, no time lost on duplicate addresses, no addresses that nobody asked for.
fn quiet(namespace: &Namespace) -> anyhow::Result<()> {
    namespace.sysctl(&[
        ("ipv4/icmp_ratelimit", "0"),
        ("ipv6/icmp/ratelimit", "0"),
        // What is not in the mask is beyond the limit of all errors together, too. No error has type 127.
        ("ipv4/icmp_ratemask", "0"),
        ("ipv6/icmp/ratemask", "127"),
        ("ipv6/conf/all/accept_dad", "0"),
        ("ipv6/conf/default/accept_dad", "0"),
        ("ipv6/conf/default/addr_gen_mode", "1"),
        ("ipv6/conf/default/router_solicitations", "0"),
        ("ipv6/conf/default/accept_ra", "0"),
    ])
}

/// The veths, down, on the node's side.
fn links(pods: &[Pod]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for Pod {
        namespace, link, ..
    } in pods
    {
        writeln!(
            lines,
            "link add {link} type veth peer name eth0 netns {}",
            namespace.name()
        )?;
    }
    Ok(lines)
}

/// The pod's side: its addresses and its way out.
fn inside(spec: &PodSpec, wiring: Wiring) -> anyhow::Result<String> {
    let mut lines = String::from("link set lo up\nlink set eth0 up\n");
    for address in &spec.addresses {
        writeln!(
            lines,
            "addr add {} dev eth0{}",
            host(*address),
            nodad(*address)
        )?;
        match (address, wiring) {
            (IpAddr::V4(_), Wiring::Routed) => lines.push_str(
                "route add 169.254.1.1 dev eth0 scope link\n\
                 route add default via 169.254.1.1 dev eth0\n",
            ),
            (IpAddr::V4(_), Wiring::Bridged) => lines.push_str(
                "route add 10.42.0.0/16 dev eth0 scope link\n\
                 route add default via 10.42.0.1 dev eth0\n",
            ),
            (IpAddr::V6(_), Wiring::Routed) => {
                lines.push_str("route add default via fe80::1 dev eth0\n");
            }
            (IpAddr::V6(_), Wiring::Bridged) => lines.push_str(
                "route add fd00:10:42::/48 dev eth0\n\
                 route add default via fe80::1 dev eth0\n",
            ),
        }
    }
    Ok(lines)
}

/// The node's side: interfaces up, host routes to the pods.
fn routes(pods: &[Pod], wiring: Wiring) -> anyhow::Result<String> {
    let mut lines = String::new();
    for Pod { spec, link, .. } in pods {
        if wiring == Wiring::Bridged {
            writeln!(lines, "link set {link} master cni0 up")?;
            continue;
        }
        writeln!(lines, "link set {link} up")?;
        writeln!(lines, "addr add fe80::1/64 dev {link} nodad")?;
        for address in &spec.addresses {
            writeln!(lines, "route replace {} dev {link}", host(*address))?;
        }
    }
    Ok(lines)
}

/// The address with the length of a host route.
fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("{address}/32"),
        IpAddr::V6(address) => format!("{address}/128"),
    }
}

fn nodad(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "",
        IpAddr::V6(_) => " nodad",
    }
}
