//! The conformance corpora as data: where they are, how they are read.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A case of evaluation: a cluster and what is expected of connections in it.
#[derive(Debug, Deserialize)]
pub struct Case {
    /// Which suite it is from.
    pub suite: String,
    /// Its name.
    pub case: String,
    /// Why an API server would refuse its policies; an evaluator can answer all the same.
    #[serde(default)]
    pub api_server_rejects: Vec<String>,
    /// Namespaces.
    pub namespaces: Vec<NamespaceOf>,
    /// Pods.
    pub pods: Vec<PodOf>,
    /// Nodes.
    #[serde(default)]
    pub nodes: Vec<NodeOf>,
    /// What DNS has answered.
    #[serde(default)]
    pub domains: BTreeMap<String, Vec<IpAddr>>,
    /// Policies of any kind, as Kubernetes objects.
    pub policies: Vec<Value>,
    /// What is expected.
    pub probes: Vec<Probe>,
}

/// A namespace of a case.
#[derive(Debug, Deserialize)]
pub struct NamespaceOf {
    /// Name.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: Value,
}

/// A pod of a case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodOf {
    /// Namespace.
    pub ns: String,
    /// Name.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: Value,
    /// Addresses.
    pub ips: Vec<String>,
    /// Node.
    #[serde(default)]
    pub node: Option<String>,
    /// On its node's network.
    #[serde(default)]
    pub host_network: bool,
    /// Phase.
    #[serde(default)]
    pub phase: Option<String>,
    /// Container ports; two of one name are two containers.
    #[serde(default)]
    pub ports: Vec<PortOf>,
}

/// A container port of a case.
#[derive(Debug, Deserialize)]
pub struct PortOf {
    /// Name.
    #[serde(default)]
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// Protocol.
    #[serde(default)]
    pub protocol: Option<String>,
}

/// A node of a case.
#[derive(Debug, Deserialize)]
pub struct NodeOf {
    /// Name.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: Value,
    /// Addresses.
    pub ips: Vec<String>,
}

/// A new connection and what is expected of it.
#[derive(Debug, Deserialize)]
pub struct Probe {
    /// `namespace/pod`, or an address.
    pub src: String,
    /// The same.
    pub dst: String,
    /// Port; absent for ICMP.
    #[serde(default)]
    pub port: Option<u16>,
    /// Protocol.
    pub protocol: node_agent_engine::model::Protocol,
    /// Which of the source pod's addresses.
    #[serde(default)]
    pub src_ip: Option<String>,
    /// Which of the destination pod's addresses.
    #[serde(default)]
    pub dst_ip: Option<String>,
    /// `service`: a hairpin.
    #[serde(default)]
    pub via: Option<String>,
    /// What is expected.
    pub expect: Expected,
    /// What is expected of the source's side.
    #[serde(default)]
    pub expect_egress: Option<Expected>,
    /// What is expected of the destination's side.
    #[serde(default)]
    pub expect_ingress: Option<Expected>,
    /// The specification says so; without that it is reported only.
    #[serde(default = "yes")]
    pub certain: bool,
}

fn yes() -> bool {
    true
}

/// What a suite expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// It passes.
    Allow,
    /// It does not.
    Deny,
}

/// A case of validation.
#[derive(Debug, Deserialize)]
pub struct ValidationCase {
    /// Its name.
    pub case: String,
    /// The object.
    pub policy: Value,
    /// Whether an API server takes it.
    pub valid: bool,
    /// Why not: path and message.
    #[serde(default)]
    pub why: Option<String>,
}

/// The cases of a corpus.
///
/// # Errors
///
/// When the folder of shared data is not there, or a line is no such case.
pub fn read<T: DeserializeOwned>(corpus: &str) -> Result<Vec<T>> {
    let path = shared()
        .join("conformance")
        .join(format!("{corpus}.jsonl.xz"));
    let file = std::fs::File::open(&path).with_context(|| {
        format!("read {}: the conformance corpora are not there; set NETVERDICT_SHARED to the shared folder", path.display())
    })?;
    let mut text = String::new();
    lzma_rust2::XzReader::new(file, true)
        .read_to_string(&mut text)
        .with_context(|| format!("decompress {}", path.display()))?;
    let case = |(index, line)| {
        serde_json::from_str(line).with_context(|| format!("read {corpus}, line {}", index + 1))
    };
    text.lines().enumerate().map(case).collect()
}

/// The folder of shared data: `NETVERDICT_SHARED`, else beside the project.
#[must_use]
pub fn shared() -> PathBuf {
    std::env::var_os("NETVERDICT_SHARED").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")),
        PathBuf::from,
    )
}
