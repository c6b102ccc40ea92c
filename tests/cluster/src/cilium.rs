//! Cilium as a node's network and as what enforces its policies, and Hubble, which says what it did.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use serde_json::Value;

use crate::machine::CGROUP;
use crate::node::{NAME, Node, named};
use crate::wait;

/// Where Cilium says that the node has a network.
const CONFIGURATION: &str = "/etc/cni/net.d/05-cilium.conflist";
/// The module list of a kernel that need not have one.
const MODULES: &str = "/run/modules";
/// What Cilium would load into the kernel if it were not there.
const NEEDED: [&str; 6] = [
    "ip_tables",
    "iptable_nat",
    "iptable_mangle",
    "iptable_raw",
    "iptable_filter",
    "xt_socket",
];
const HUBBLE: &str = "hubble.jsonl";

/// How Cilium moves packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datapath {
    /// As beside kube-proxy: the node's own network stack hands packets to pods.
    Stack,
    /// Packets go straight from one interface into the pod, by `bpf_redirect_peer`.
    Straight,
}

/// The folder of what set-up built.
pub(crate) fn parts() -> anyhow::Result<PathBuf> {
    named("NETVERDICT_CILIUM")
}

/// A folder of the plugins that the runtime calls.
pub(crate) fn plugins(node: &Node) -> anyhow::Result<PathBuf> {
    let folder = PathBuf::from("/run/cni");
    fs::create_dir_all(&folder).context("make a folder for the CNI's plugins")?;
    for plugin in ["cilium-cni", "loopback"] {
        symlink(node.program(plugin), folder.join(plugin)).with_context(|| plugin.to_owned())?;
    }
    Ok(folder)
}

/// Starts its agent, and waits until pods can have interfaces.
pub(crate) async fn start(node: &mut Node, datapath: Datapath) -> anyhow::Result<()> {
    let lines = NEEDED.map(|module| format!("{module} 16384 0 - Live 0x0000000000000000\n"));
    fs::write(MODULES, lines.concat()).context("write the list of modules")?;
    let parts = parts()?;
    for version in ["v2", "v2alpha1"] {
        let kinds = parts.join("crds").join(version);
        let kinds = kinds.display().to_string();
        node.kubectl(&["apply", "--server-side", "-f", &kinds])?;
    }
    let mut command = alone(node);
    command.args(usual(node, &parts)).args(moving(datapath));
    node.start_command("cilium-agent", command)?;
    let what = || {
        format!(
            "pods can be had; Cilium said:\n{}",
            node.log("cilium-agent")
        )
    };
    wait::until(what, async || Ok(Path::new(CONFIGURATION).exists())).await?;
    // The runtime may have missed a file that was named only when it was whole.
    let text = fs::read(CONFIGURATION).context("read the CNI's configuration")?;
    fs::write("/etc/cni/net.d/04-cilium.conflist", text).context("write it again")
}

/// One node, IPv4, its addresses routed and none translated.
fn usual(node: &Node, parts: &Path) -> Vec<String> {
    let hubble = node.folder().join(HUBBLE);
    [
        &format!("--k8s-kubeconfig-path={}", node.kubeconfig().display()),
        &format!("--lib-dir={}", parts.display()),
        &format!("--write-cni-conf-when-ready={CONFIGURATION}"),
        &format!("--hubble-export-file-path={}", hubble.display()),
        "--enable-hubble=true",
        "--monitor-aggregation=none",
        "--state-dir=/run/cilium",
        "--bpf-root=/sys/fs/bpf",
        "--devices=uplink",
        "--cluster-name=test",
        "--identity-allocation-mode=crd",
        "--ipam=kubernetes",
        "--k8s-require-ipv4-pod-cidr=true",
        "--enable-ipv6=false",
        "--routing-mode=native",
        "--ipv4-native-routing-cidr=10.42.0.0/16",
        "--enable-l7-proxy=false",
        "--enable-health-checking=false",
        "--enable-endpoint-health-checking=false",
        "--enable-bpf-clock-probe=false",
        "--agent-not-ready-taint-key=none",
        "--cni-exclusive=false",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn moving(datapath: Datapath) -> Vec<String> {
    let words: &[&str] = match datapath {
        Datapath::Stack => &[
            "--kube-proxy-replacement=false",
            "--enable-ipv4-masquerade=false",
        ],
        // Services of pods are not translated at their sockets: those would have to be in the agent's cgroup.
        Datapath::Straight => &[
            "--kube-proxy-replacement=true",
            "--bpf-lb-sock-hostns-only=true",
            "--enable-bpf-masquerade=true",
            "--enable-host-legacy-routing=false",
        ],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Its agent, alone in a cgroup that it takes for the root: there it hangs up its programs for sockets, and takes down those
/// of an earlier one. At the root they would be the machine's.
fn alone(node: &Node) -> Command {
    let top = Path::new("/sys/fs/cgroup");
    let unified = top.join("unified");
    let version_2 = if unified.is_dir() { &unified } else { top };
    let script = "mkdir \"$0\" && echo $$ > \"$0/cgroup.procs\" && exec unshare --cgroup -- \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command.arg(version_2.join(CGROUP).join("cilium"));
    command.arg(node.program("cilium-agent"));
    command.env("K8S_NODE_NAME", NAME);
    command
}

/// What Hubble says of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Where it comes from.
    pub source: SocketAddr,
    /// Where it goes to.
    pub destination: SocketAddr,
    /// `TCP` or `UDP`.
    pub protocol: String,
    /// `FORWARDED`, `DROPPED` or another.
    pub verdict: String,
    /// All of it.
    pub value: Value,
}

impl Flow {
    /// The text at a JSON pointer; empty when there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> &str {
        let found = self.value.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default()
    }

    fn read(line: &str) -> anyhow::Result<Option<Self>> {
        let value: Value = serde_json::from_str(line).context("read what Hubble says")?;
        let Some(flow) = value.get("flow") else {
            return Ok(None);
        };
        let text = |pointer: &str| flow.pointer(pointer).and_then(Value::as_str);
        let layer = flow.get("l4").and_then(Value::as_object);
        let Some((protocol, ports)) = layer.and_then(|layer| layer.iter().next()) else {
            return Ok(None);
        };
        let address = |ip: &str, port: &str| {
            let ip: IpAddr = text(ip)?.parse().ok()?;
            let port = ports.get(port)?.as_u64()?;
            Some(SocketAddr::new(ip, u16::try_from(port).ok()?))
        };
        let (Some(source), Some(destination)) = (
            address("/IP/source", "source_port"),
            address("/IP/destination", "destination_port"),
        ) else {
            return Ok(None);
        };
        Ok(Some(Self {
            source,
            destination,
            protocol: protocol.clone(),
            verdict: text("/verdict").unwrap_or_default().to_owned(),
            value: flow.clone(),
        }))
    }
}

impl Node {
    /// What Hubble wrote so far of TCP and UDP.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        let text = fs::read_to_string(self.folder().join(HUBBLE)).context("read Hubble's file")?;
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let flows = whole.lines().map(Flow::read);
        flows.filter_map(Result::transpose).collect()
    }
}
