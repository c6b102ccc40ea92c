//! The node, its pods, its policies and its firewall.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use netns::node::{Node, PodSpec, ReversePath};
use netns::ns::Namespace;
use netns::traffic::{Listen, Protocol, Server, Servers};
use serde_json::Value;

/// How the demo's namespaces begin.
pub(crate) const PREFIX: &str = "nvdemo";

/// What the viewer has to know.
pub(crate) const INTRODUCTION: &str = "\
A node with eight pods in three namespaces, real servers and real clients, IPv4 and IPv6.
Policy: the database is open to two workloads only, the web pod may go to the internet but to no private
network, everything else in `shop` is closed. The firewall rules were written by hand, with two mistakes.
";

const CLUSTER: &str = include_str!("cluster.yaml");
const POLICIES: &str = include_str!("policies.yaml");
const RULES: &str = include_str!("rules.nft");

/// Addresses outside the cluster that answer.
const OUTSIDE: [&str; 3] = ["203.0.113.80", "192.168.1.10", "2001:db8:80::80"];

/// Who listens: place, port, protocol.
const SERVERS: [(&str, u16, Protocol); 7] = [
    ("shop/db-0", 5432, Protocol::Tcp),
    ("shop/api-0", 8080, Protocol::Tcp),
    ("tools/wiki-0", 8080, Protocol::Tcp),
    ("kube-system/coredns-0", 53, Protocol::Udp),
    ("203.0.113.80", 443, Protocol::Tcp),
    ("192.168.1.10", 445, Protocol::Tcp),
    ("2001:db8:80::80", 443, Protocol::Tcp),
];

/// Everything that the story plays on.
pub(crate) struct Stage {
    /// The folder of manifests.
    pub(crate) cluster: PathBuf,
    servers: Option<Servers>,
    node: Node,
    pods: Vec<PodSpec>,
}

impl Stage {
    /// Makes the node without pods, and writes the manifests and rules beside the records.
    pub(crate) fn new(output: &Path) -> anyhow::Result<Self> {
        let folder = output.parent().unwrap_or(Path::new("."));
        let cluster = folder.join("cluster");
        fs::create_dir_all(&cluster)
            .with_context(|| format!("make the folder `{}`", cluster.display()))?;
        let files = [
            (cluster.join("cluster.yaml"), CLUSTER),
            (cluster.join("policies.yaml"), POLICIES),
            (folder.join("rules.nft"), RULES),
        ];
        for (file, text) in files {
            fs::write(&file, text).with_context(|| format!("write `{}`", file.display()))?;
        }
        let outside: Vec<IpAddr> = OUTSIDE
            .iter()
            .filter_map(|address| address.parse().ok())
            .collect();
        Ok(Self {
            cluster,
            servers: None,
            node: Node::new(PREFIX, &outside, ReversePath::Open)?,
            pods: pods()?,
        })
    }

    /// The node's network namespace.
    pub(crate) fn node(&self) -> &Namespace {
        &self.node.namespace
    }

    /// Adds the pods, their servers and the firewall.
    pub(crate) fn fill(&mut self) -> anyhow::Result<()> {
        self.node.add_pods(&self.pods)?;
        self.node.namespace.nft(RULES)?;
        let mut listens = Vec::new();
        for (place, port, protocol) in SERVERS {
            for ip in self.addresses(place)? {
                listens.push(Listen {
                    namespace: self.node.namespace_of(place)?,
                    at: SocketAddr::new(ip, port),
                    protocol,
                    server: Server::Answering,
                });
            }
        }
        self.servers = Some(Servers::start(&listens)?);
        Ok(())
    }

    /// Where the sockets of a pod, or of an address outside, belong.
    pub(crate) fn place(&self, place: &str) -> anyhow::Result<&Namespace> {
        self.node.namespace_of(place)
    }

    /// The addresses of a pod, or an address outside itself.
    pub(crate) fn addresses(&self, place: &str) -> anyhow::Result<Vec<IpAddr>> {
        match self.pods.iter().find(|pod| pod.key == place) {
            Some(pod) => Ok(pod.addresses.clone()),
            None => Ok(vec![place.parse().with_context(|| {
                format!("`{place}` is neither a pod of the demo nor an address")
            })?]),
        }
    }

    /// What to try while everything stays up.
    pub(crate) fn invitation(&self, binary: &Path) -> String {
        let node = self.node.namespace.name();
        let inside = |key: &str| {
            self.node
                .pod(key)
                .map_or("", |pod| pod.namespace.name())
                .to_owned()
        };
        let connect = "timeout 2 bash -c '</dev/tcp/10.42.0.24/5432' && echo connected";
        let cluster = self.cluster.display();
        format!(
            "Everything stays up until Ctrl-C; new records appear here. In another terminal, as root:\n\
             \n  as tools/debug-0, try the database:\n    ip netns exec {debug} {connect}\
             \n  as shop/api-0, the same:\n    ip netns exec {api} {connect}\
             \n  see the firewall:\n    ip netns exec {node} nft list ruleset\
             \n  change a policy, it is read again at once:\n    $EDITOR {cluster}/policies.yaml\
             \n  watch with an agent of your own:\n    ip netns exec {node} {binary} agent --node node-1 --cluster {cluster} --log all --metrics-listen 127.0.0.1:0\
             \n\nCtrl-C removes everything; after a crash: demo --clean\n",
            debug = inside("tools/debug-0"),
            api = inside("shop/api-0"),
            binary = binary.display(),
        )
    }
}

/// The pods of the manifests.
fn pods() -> anyhow::Result<Vec<PodSpec>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(CLUSTER)
        .map_err(|error| anyhow!("read the demo's cluster: {error}"))?;
    Ok(objects.iter().filter_map(pod).collect())
}

fn pod(object: &Value) -> Option<PodSpec> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let addresses = object.pointer("/status/podIPs")?.as_array()?;
    Some(PodSpec {
        key: format!(
            "{}/{}",
            text("/metadata/namespace")?,
            text("/metadata/name")?
        ),
        addresses: addresses
            .iter()
            .filter_map(|address| address.get("ip")?.as_str()?.parse().ok())
            .collect(),
    })
}
