//! A scenario: a cluster, its policies, and what has to be true of its connections.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::node::{NODE_ADDRESSES, PodSpec};
use crate::paths;
use crate::traffic::Protocol;

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// As the records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Whether an address is of this family.
    #[must_use]
    pub fn has(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}

/// What policy says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It may pass.
    Allowed,
    /// It must not.
    Denied,
}

/// A side on which policy denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Out of the source.
    Egress,
    /// Into the destination.
    Ingress,
}

/// What a place is to policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A pod.
    Pod,
    /// The node itself.
    Node,
    /// Outside the cluster.
    World,
}

impl Party {
    /// What `namespace/pod` or an address is.
    #[must_use]
    pub fn of(place: &str) -> Self {
        let is_node = |address| NODE_ADDRESSES.contains(&address);
        if place.contains('/') {
            Self::Pod
        } else if place.parse().is_ok_and(is_node) {
            Self::Node
        } else {
            Self::World
        }
    }

    /// As the records write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Node => "node",
            Self::World => "world",
        }
    }
}

/// One expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `namespace/pod`.
    pub from: String,
    /// `namespace/pod`, or an address outside or of the node.
    pub to: String,
    /// Destination port.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What policy says.
    pub verdict: Verdict,
    /// The sides that deny, egress before ingress.
    pub denied_in: Vec<Direction>,
}

/// A cluster with its policies and expectations.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name: the folder's.
    pub name: String,
    /// The expectations.
    pub rows: Vec<Row>,
    /// Each pod's address, by `namespace/name`.
    pub pods: BTreeMap<String, Ipv4Addr>,
    objects: Vec<Value>,
    policies: String,
}

impl Scenario {
    /// Reads `scenarios/NAME`.
    ///
    /// # Errors
    /// When the folder is not there or holds something else.
    pub fn read(name: &str) -> anyhow::Result<Self> {
        let folder = paths::shared()?.join("scenarios").join(name);
        let rows = read(&folder.join("expect.tsv"))?;
        let cluster = read(&folder.join("cluster.yaml"))?;
        let policies = read(&folder.join("policies.yaml"))?;
        Self::new(name, &cluster, policies, &rows)
    }

    /// Puts a scenario together from its three texts.
    ///
    /// # Errors
    /// When one of them cannot be understood.
    pub fn new(name: &str, cluster: &str, policies: String, rows: &str) -> anyhow::Result<Self> {
        let objects: Vec<Value> = serde_saphyr::from_multiple(cluster)
            .map_err(|error| anyhow!("{name}: the cluster is no YAML: {error}"))?;
        let pods = objects.iter().filter_map(address_of).collect();
        Ok(Self {
            name: name.to_owned(),
            rows: rows_from(rows).with_context(|| format!("read the expectations of {name}"))?,
            pods,
            objects,
            policies,
        })
    }

    /// The same cluster with other expectations, in the form of `expect.tsv`.
    ///
    /// # Errors
    /// When they cannot be understood.
    pub fn with_rows(mut self, rows: &str) -> anyhow::Result<Self> {
        self.rows = rows_from(rows)?;
        Ok(self)
    }

    /// The same cluster with those rows alone.
    #[must_use]
    pub fn having(&self, rows: Vec<Row>) -> Self {
        let mut same = self.clone();
        same.rows = rows;
        same
    }

    /// The address of a pod, or an address itself.
    ///
    /// # Errors
    /// When there is no such pod, or the address is of the other family.
    pub fn address(&self, place: &str, family: Family) -> anyhow::Result<IpAddr> {
        let pod = self.pods.get(place).map(|v4| match family {
            Family::V4 => IpAddr::V4(*v4),
            Family::V6 => IpAddr::V6(second_address(*v4)),
        });
        pod.or_else(|| place.parse().ok().filter(|address| family.has(*address)))
            .with_context(|| format!("`{place}` has no {} address", family.name()))
    }

    /// What the pods are to be, all of them, in the order of their names.
    #[must_use]
    pub fn pod_specs(&self) -> Vec<PodSpec> {
        self.pods
            .iter()
            .map(|(key, v4)| PodSpec {
                key: key.clone(),
                addresses: vec![IpAddr::V4(*v4), IpAddr::V6(second_address(*v4))],
            })
            .collect()
    }

    /// Writes the cluster as a folder of manifests: each pod with both its addresses, and the node itself
    /// where the cluster names none.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write(&self) -> anyhow::Result<TempDir> {
        let folder = tempfile::tempdir().context("make a folder for the cluster")?;
        let mut items: Vec<Value> = self.objects.iter().map(dual_stack).collect();
        if items.iter().all(|item| item["kind"] != "Node") {
            items.push(node());
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
        let text = serde_json::to_string_pretty(&list)?;
        fs::write(folder.path().join("cluster.json"), text).context("write the cluster")?;
        fs::write(folder.path().join("policies.yaml"), &self.policies)
            .context("write the policies")?;
        Ok(folder)
    }
}

/// The second address that tests give to a pod: the last byte stays the same.
#[must_use]
pub fn second_address(v4: Ipv4Addr) -> Ipv6Addr {
    let [_, _, third, last] = v4.octets();
    Ipv6Addr::new(
        0xfd00,
        0x10,
        0x42,
        u16::from(third),
        0,
        0,
        0,
        u16::from(last),
    )
}

fn read(file: &Path) -> anyhow::Result<String> {
    fs::read_to_string(file).with_context(|| format!("read `{}`", file.display()))
}

fn address_of(object: &Value) -> Option<(String, Ipv4Addr)> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let key = format!(
        "{}/{}",
        text("/metadata/namespace")?,
        text("/metadata/name")?
    );
    Some((key, text("/status/podIP")?.parse().ok()?))
}

fn dual_stack(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some((_, v4)) = address_of(&object)
        && let Some(Value::Array(addresses)) = object.pointer_mut("/status/podIPs")
    {
        addresses.push(json!({"ip": second_address(v4).to_string()}));
    }
    object
}

fn node() -> Value {
    let addresses: Vec<Value> = NODE_ADDRESSES
        .iter()
        .map(|address| json!({"type": "InternalIP", "address": address.to_string()}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-1", "labels": {"kubernetes.io/hostname": "node-1"}},
        "spec": {"podCIDR": "10.42.0.0/24", "podCIDRs": ["10.42.0.0/24"]},
        "status": {"addresses": addresses},
    })
}

/// Reads expectations: a header, then one row a line, columns apart by tabs.
fn rows_from(text: &str) -> anyhow::Result<Vec<Row>> {
    text.lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .map(|line| row(line).with_context(|| format!("expectation `{line}`")))
        .collect()
}

fn row(line: &str) -> anyhow::Result<Row> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [from, to, target, verdict, denied_in] = columns.as_slice() else {
        bail!("wants five columns");
    };
    let (port, protocol) = target.split_once('/').context("wants PORT/PROTOCOL")?;
    Ok(Row {
        from: (*from).to_owned(),
        to: (*to).to_owned(),
        port: port.parse().context("read the port")?,
        protocol: match protocol {
            "TCP" => Protocol::Tcp,
            "UDP" => Protocol::Udp,
            other => bail!("unknown protocol `{other}`"),
        },
        verdict: match *verdict {
            "allowed" => Verdict::Allowed,
            "denied" => Verdict::Denied,
            other => bail!("unknown verdict `{other}`"),
        },
        denied_in: match *denied_in {
            "-" => Vec::new(),
            "egress" => vec![Direction::Egress],
            "ingress" => vec![Direction::Ingress],
            "egress+ingress" => vec![Direction::Egress, Direction::Ingress],
            other => bail!("unknown direction `{other}`"),
        },
    })
}
