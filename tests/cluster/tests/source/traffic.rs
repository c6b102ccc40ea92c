//! Real connections while servers die and an address passes from pod to pod: nothing that is claimed is false, and at the
//! end the agent holds what a fresh list says.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use cluster::admin::Admin;
use cluster::ground;
use cluster::mirror;
use cluster::plane::Plane;
use cluster::proxy::Proxy;
use cluster::wait;
use netns::agent::{Agent, SETTLE, Setup};
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

use super::{MORTAL, STREAMS, plane};

pub(super) const NAMESPACE: &str = "traffic";
/// Its policy denies all that would reach it.
pub(super) const SHUT: &str = "shut";
/// No policy selects it.
const OPEN: &str = "open";
const PORT: u16 = 8080;
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 10);
pub(super) const ALWAYS_OPEN: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 11);
pub(super) const ALWAYS_SHUT: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 12);
/// Passes from pod to pod, open and shut in turn.
pub(super) const RELAYED: Ipv4Addr = Ipv4Addr::new(10, 42, 7, 77);
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
    Servers::start(&[Listen {
        namespace: &node.pod(&key(name))?.namespace,
        at: SocketAddr::from((ip, PORT)),
        protocol: Protocol::Tcp,
        server: Server::Answering,
    }])
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
    /// `way` gives the kubeconfig for somebody in that namespace. Policies settle within `settle`.
    pub(super) async fn start(
        plane: &Plane,
        settle: Duration,
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
            .flag(&["--api-socket", &socket.display().to_string()]);
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

    /// Another agent takes over: what the first knew it finds out anew.
    fn replace_agent(mut self) -> anyhow::Result<Self> {
        self.told.extend(self.agent.stop()?.records);
        self.agent = Agent::start(&self.setup, &self.node.namespace)?;
        Ok(self)
    }

    /// Everybody is called some times.
    fn call(&mut self) -> anyhow::Result<()> {
        let everybody = [ALWAYS_OPEN, ALWAYS_SHUT, RELAYED].repeat(3);
        everybody.into_iter().try_for_each(|ip| self.call_one(ip))
    }

    /// How it ends is the agent's to say.
    pub(super) fn call_one(&mut self, ip: Ipv4Addr) -> anyhow::Result<()> {
        let client = &self.node.pod(&key("client"))?.namespace;
        let there = SocketAddr::from((ip, PORT));
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

    /// Ends it, and gives all that was written. The next one finds no pods.
    pub(super) async fn end(mut self) -> anyhow::Result<Vec<Record>> {
        self.call()?;
        self.agent.settle()?;
        let metrics = self.agent.metrics(&self.node.namespace)?;
        let counted = metrics.sum("netverdict_connections_total", &[]);
        let Self {
            node,
            admin,
            agent,
            mut told,
            servers,
            relayed,
            tried,
            ..
        } = self;
        told.extend(agent.stop()?.records);
        let relayed = relayed.iter().map(|(name, _)| name.as_str());
        for name in ["client", "open", "shut"].into_iter().chain(relayed) {
            let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{name}");
            admin.delete(&path).await?;
        }
        drop((servers, node));
        println!("connections: {tried} tried, {counted} counted by the last agent before the end");
        Ok(told)
    }
}

/// Nothing passed that a policy forbids, and nothing was stopped that it allows: to say so would be false.
pub(super) fn judged(records: &[Record]) -> anyhow::Result<()> {
    let how_many = |assessment: &str| {
        let of_it = records
            .iter()
            .filter(|record| record.text("/assessment") == Some(assessment));
        of_it.count()
    };
    for assessment in ["unenforced", "unexpected_drop"] {
        let found = records
            .iter()
            .find(|record| record.text("/assessment") == Some(assessment));
        ensure!(
            found.is_none(),
            "it is false: {}",
            found.map_or("", |record| &record.line)
        );
    }
    ensure!(
        how_many("blocked") > 0 && how_many("allowed") > 0,
        "nothing was seen"
    );
    println!(
        "judged: {} allowed, {} blocked, {} unknown records",
        how_many("allowed"),
        how_many("blocked"),
        how_many("unknown")
    );
    Ok(())
}

pub(crate) async fn chaos() -> anyhow::Result<()> {
    let (restarts, pods) = if ground::is_long() { (20, 50) } else { (3, 10) };
    let mut plane = plane().await?;
    plane.run(MORTAL)?;
    plane.ready(MORTAL).await?;
    let way = |node: &Namespace| {
        let proxy = Proxy::within(node, MORTAL)?;
        plane.kubeconfig("admin", proxy.port(), None)
    };
    let mut world = World::start(&plane, SETTLE, way).await?;
    for pod in 0..pods {
        world.relay(pod).await?;
        world.call()?;
        if pod == pods / 2 {
            world = world.replace_agent()?;
            world.call()?;
        }
        if pod * restarts % pods >= restarts {
            continue;
        }
        plane.kill(MORTAL)?;
        world.call()?;
        plane.run(MORTAL)?;
        world.call()?;
        plane.ready(MORTAL).await?;
    }
    world.until_equal().await?;
    let told = world.end().await?;
    plane.kill(MORTAL)?;
    judged(&told)
}
