//! A node with real interfaces and real connections, and the API server that says what its pods are.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use cluster::admin::Admin;
use cluster::ground;
use cluster::mirror;
use cluster::plane::Plane;
use cluster::wait;
use netns::agent::{Agent, Setup};
use netns::child;
use netns::node::{Node, PodSpec, ReversePath, TEST_PREFIX};
use netns::ns::Namespace;
use netns::paths;
use netns::record::Record;
use netns::traffic::{Listen, Protocol, Server, Servers, connect};
use netverdict::agent::state_lines;
use node_agent_engine::{Cluster, Moment};
use serde_json::json;
use tempfile::TempDir;

use super::STREAMS;

pub(super) const NAMESPACE: &str = "traffic";
/// Its policy denies all that would reach it.
pub(super) const SHUT: &str = "shut";
/// No policy selects it.
pub(super) const OPEN: &str = "open";
/// Where every pod's server listens; each port is a conversation of its own.
pub(super) const PORTS: Range<u16> = 8080..8100;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 10);
pub(super) const ALWAYS_OPEN: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 11);
pub(super) const ALWAYS_SHUT: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 12);
/// Passes from pod to pod, open and shut in turn.
pub(super) const RELAYED: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 77);
/// Just below what an API server takes of an object's annotations.
const LONG: usize = 250_000;
/// A stopped connection is given up after that time.
const PATIENCE: Duration = Duration::from_millis(100);

/// A node with real interfaces, and the API server that says what they are.
pub(super) struct World {
    pub(super) node: Node,
    pub(super) admin: Admin,
    setup: Setup,
    pub(super) agent: Agent,
    /// What agents wrote that have ended.
    told: Vec<Record>,
    socket: PathBuf,
    servers: Vec<Servers>,
    relayed: Option<(String, Servers)>,
    /// Connections that were tried.
    tried: u64,
    // Removed last.
    _folder: TempDir,
}

pub(super) fn key(name: &str) -> String {
    format!("{NAMESPACE}/{name}")
}

fn spec(name: &str, ip: Ipv4Addr) -> PodSpec {
    PodSpec {
        key: key(name),
        addresses: vec![IpAddr::V4(ip)],
    }
}

fn serve(node: &Node, name: &str, ip: Ipv4Addr) -> anyhow::Result<Servers> {
    let namespace = &node.pod(&key(name))?.namespace;
    let listen = PORTS.map(|port| Listen {
        namespace,
        at: SocketAddr::from((ip, port)),
        protocol: Protocol::Tcp,
        server: Server::Answering,
    });
    Servers::start(&listen.collect::<Vec<_>>())
}

/// Stops what the policy denies.
pub(super) fn enforce(node: &Node, shut: &[Ipv4Addr]) -> anyhow::Result<()> {
    let shut: Vec<_> = shut.iter().map(Ipv4Addr::to_string).collect();
    node.namespace.nft(&format!(
        "table ip enforcer\ndelete table ip enforcer\ntable ip enforcer {{\n\
         chain forward {{ type filter hook forward priority 0; ip daddr {{ {} }} drop; }}\n}}\n",
        shut.join(", ")
    ))
}

impl World {
    /// `way` gives the kubeconfig for somebody in that namespace. Policies settle within `settle`; the agent has these
    /// flags beyond the usual ones.
    pub(super) async fn start(
        plane: &Plane,
        settle: Duration,
        flags: &[&str],
        way: impl FnOnce(&Namespace) -> anyhow::Result<PathBuf>,
    ) -> anyhow::Result<Self> {
        let admin = plane.admin(STREAMS).await?;
        admin.namespace(NAMESPACE, json!({})).await?;
        admin.policy(NAMESPACE, SHUT, SHUT).await?;
        let mut node = Node::new(TEST_PREFIX, &[], ReversePath::Open)?;
        let pods = [
            ("client", OPEN, CLIENT),
            ("open", OPEN, ALWAYS_OPEN),
            ("shut", SHUT, ALWAYS_SHUT),
        ];
        node.add_pods(&pods.map(|(name, _, ip)| spec(name, ip)))?;
        for (name, app, ip) in pods {
            admin.pod_of(app, NAMESPACE, name, &ip.to_string()).await?;
        }
        enforce(&node, &[ALWAYS_SHUT])?;
        let servers = vec![
            serve(&node, "open", ALWAYS_OPEN)?,
            serve(&node, "shut", ALWAYS_SHUT)?,
        ];
        let folder = tempfile::tempdir().context("make a folder")?;
        let socket = folder.path().join("socket");
        let kubeconfig = way(&node.namespace)?;
        let mut setup = Setup::new(&paths::agent()?, Path::new("kube"))
            .flag(&["--kubeconfig", &kubeconfig.display().to_string()])
            .flag(&["--api-socket", &socket.display().to_string()])
            .flag(flags);
        setup.settle = settle;
        let agent = Agent::start(&setup, &node.namespace)?;
        Ok(Self {
            node,
            admin,
            setup,
            agent,
            told: Vec::new(),
            socket,
            servers,
            relayed: None,
            tried: 0,
            _folder: folder,
        })
    }

    /// The address passes to the next pod: the old one goes, the enforcer is told, the new one comes.
    pub(super) async fn relay(&mut self, number: usize) -> anyhow::Result<String> {
        let (app, shut) = match number % 2 {
            0 => (SHUT, &[ALWAYS_SHUT, RELAYED][..]),
            _ => (OPEN, &[ALWAYS_SHUT][..]),
        };
        if let Some((old, _)) = self.relayed.take() {
            self.node.remove_pod(&key(&old));
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{old}");
            self.admin.delete(&path).await?;
        }
        enforce(&self.node, shut)?;
        let name = format!("relayed-{number}");
        self.node.add_pods(&[spec(&name, RELAYED)])?;
        let servers = serve(&self.node, &name, RELAYED)?;
        let ip = RELAYED.to_string();
        self.admin.pod_of(app, NAMESPACE, &name, &ip).await?;
        self.relayed = Some((name.clone(), servers));
        Ok(name)
    }

    /// Changes a pod's object, which is so long that a stream of pods that ends somewhere ends within it.
    pub(super) async fn enlarge(&self, pod: &str, number: usize) -> anyhow::Result<()> {
        let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}");
        let long = json!({"metadata": {"annotations": {"long": number.to_string().repeat(LONG)}}});
        self.admin.patch(&path, &long).await
    }

    /// Another agent takes over: what the first knew it finds out anew.
    pub(super) fn replace_agent(mut self) -> anyhow::Result<Self> {
        self.told.extend(self.agent.stop()?.records);
        self.agent = Agent::start(&self.setup, &self.node.namespace)?;
        Ok(self)
    }

    /// Everybody is called some times.
    pub(super) fn call(&mut self) -> anyhow::Result<()> {
        let everybody = [ALWAYS_OPEN, ALWAYS_SHUT, RELAYED].repeat(3);
        everybody.into_iter().try_for_each(|ip| self.call_one(ip))
    }

    pub(super) fn call_one(&mut self, ip: Ipv4Addr) -> anyhow::Result<()> {
        self.call_at(ip, PORTS.start)
    }

    /// How it ends is the agent's to say.
    pub(super) fn call_at(&mut self, ip: Ipv4Addr, port: u16) -> anyhow::Result<()> {
        let client = &self.node.pod(&key("client"))?.namespace;
        let there = SocketAddr::from((ip, port));
        connect(client, there, Protocol::Tcp, PATIENCE)?;
        self.tried += 1;
        Ok(())
    }

    fn state(&self) -> anyhow::Result<Vec<u8>> {
        let mut command = Command::new(paths::agent()?);
        let command = command.args(["state", "--api-socket"]).arg(&self.socket);
        let ended = child::run(command, ground::LIMIT)?;
        ensure!(ended.code == Some(0), "{}", ended.stderr);
        Ok(ended.stdout.into_bytes())
    }

    /// Waits until the agent holds what a fresh list says, byte for byte.
    pub(super) async fn until_equal(&self) -> anyhow::Result<()> {
        let what = || "the agent holds what a fresh list says".to_owned();
        wait::until(what, async || {
            let mut fresh = Cluster::new();
            for delta in mirror::fresh(&self.admin).await?.values() {
                fresh.apply(delta, Moment(0));
            }
            let fresh = state_lines(&fresh)?;
            ensure!(!fresh.is_empty(), "an empty list");
            Ok(self.state()? == fresh)
        })
        .await
    }

    /// Waits for something to be told of the connections to an address and port.
    pub(super) fn until_told(
        &mut self,
        ip: Ipv4Addr,
        port: u16,
        wanted: &str,
    ) -> anyhow::Result<Record> {
        self.until_any_told(ip, port, |record| said(record) == wanted)
            .with_context(|| format!("`{wanted}` is not told"))
    }

    /// Waits until anything is told of them.
    pub(super) fn first_told(&mut self, ip: Ipv4Addr, port: u16) -> anyhow::Result<Record> {
        self.until_any_told(ip, port, |_| true)
    }

    fn until_any_told(
        &mut self,
        ip: Ipv4Addr,
        port: u16,
        wanted: impl Fn(&Record) -> bool,
    ) -> anyhow::Result<Record> {
        let find = |records: &[Record]| {
            told_of(records, ip, port)
                .find(|told| wanted(told))
                .cloned()
        };
        let limit = ground::LIMIT;
        self.agent
            .wait_until(limit, |records| find(records).is_some())?;
        find(self.agent.records()).with_context(|| {
            let told = told_of(self.agent.records(), ip, port);
            let told: Vec<_> = told.map(|record| &record.line).collect();
            format!("in {limit:?} this is told of {ip}:{port}: {told:#?}")
        })
    }

    /// Ends it with a last call of everybody, and gives all that was written.
    pub(super) async fn end(mut self) -> anyhow::Result<Vec<Record>> {
        self.call()?;
        self.agent.settle()?;
        let metrics = self.agent.metrics(&self.node.namespace)?;
        let counted = metrics.sum("netverdict_connections_total", &[]);
        let tried = self.tried;
        println!("connections: {tried} tried, {counted} counted by the last agent before the end");
        self.finish().await
    }

    /// Ends it, and gives all that was written. The next one finds no pods.
    pub(super) async fn finish(self) -> anyhow::Result<Vec<Record>> {
        let Self {
            node,
            admin,
            agent,
            mut told,
            servers,
            relayed,
            ..
        } = self;
        told.extend(agent.stop()?.records);
        let relayed = relayed.iter().map(|(name, _)| name.as_str());
        for name in ["client", "open", "shut"].into_iter().chain(relayed) {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}");
            admin.delete(&path).await?;
        }
        drop((servers, node));
        Ok(told)
    }
}

/// The records of the connections to an address and port.
pub(super) fn told_of(
    records: &[Record],
    ip: Ipv4Addr,
    port: u16,
) -> impl Iterator<Item = &Record> {
    let there = SocketAddr::from((ip, port));
    records.iter().filter(move |record| {
        let conversation = record.conversation();
        conversation.is_some_and(|conversation| conversation.destination == there)
    })
}

/// The assessment, and why it is unknown.
pub(super) fn said(record: &Record) -> String {
    match record.text("/unknown_because") {
        Some(because) => format!("{}: {because}", record.assessment()),
        None => record.assessment().to_owned(),
    }
}
