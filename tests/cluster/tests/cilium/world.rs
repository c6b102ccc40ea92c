//! A node with Cilium, its pods with their policies, somebody outside, and the agent.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process;

use anyhow::Context;
use cluster::cilium::Datapath;
use cluster::machine::{ADDRESS, call};
use cluster::node::{Network, Node, PODS_IMAGE};
use cluster::wait;
use netns::agent::{Agent, Setup};
use netns::ns::Namespace;
use netns::paths;
use netns::traffic::{Listen, Protocol, Server, Servers};
use serde_json::{Value, json};

const PODS: [&str; 6] = ["client", "open", "shut", "mute", "some", "fenced"];
const SERVICES: [&str; 2] = ["open", "shut"];
/// The node's gateway, behind which is everything else.
const OUTSIDE: &str = "10.99.0.254";
/// An address of the node's pods that none has.
const NOBODY: &str = "10.42.0.250";

/// All of it. Fields are dropped in their order.
pub(crate) struct World {
    pub(crate) agent: Agent,
    _servers: Servers,
    places: BTreeMap<&'static str, (Namespace, IpAddr)>,
    services: BTreeMap<&'static str, IpAddr>,
    pub(crate) node: Node,
}

impl World {
    pub(crate) async fn start(datapath: Datapath) -> anyhow::Result<Self> {
        let node = Node::start(Network::Cilium(datapath)).await?;
        furnish(&node).await?;
        let mut places = pods(&node)?;
        let own = Namespace::of("node", process::id())?;
        // After the pods: what it says rests on a cluster that is settled.
        let kubeconfig = node.kubeconfig().display().to_string();
        let setup =
            Setup::new(&paths::agent()?, Path::new("kube")).flag(&["--kubeconfig", &kubeconfig]);
        let agent = Agent::start(&setup, &own)?;
        places.insert("node", (own, ADDRESS.parse()?));
        places.insert("world", (outside()?, OUTSIDE.parse()?));
        let mut services = BTreeMap::new();
        for name in SERVICES {
            let service = node.get(&["service", "-n", "shop", name])?;
            let ip = service.pointer("/spec/clusterIP").and_then(Value::as_str);
            services.insert(name, ip.context("a Service without an address")?.parse()?);
        }
        Ok(Self {
            agent,
            _servers: serve(&places)?,
            places,
            services,
            node,
        })
    }

    /// Where connections are opened.
    pub(crate) fn namespace(&self, place: &str) -> anyhow::Result<&Namespace> {
        let found = self.places.get(place).map(|(namespace, _)| namespace);
        found.with_context(|| format!("no place `{place}`"))
    }

    /// Where they lead.
    pub(crate) fn address(&self, place: &str) -> anyhow::Result<IpAddr> {
        let found = match (place, place.strip_prefix("service/")) {
            ("nobody", _) => Some(NOBODY.parse()?),
            (_, Some(service)) => self.services.get(service).copied(),
            (_, None) => self.places.get(place).map(|(_, ip)| *ip),
        };
        found.with_context(|| format!("no place `{place}`"))
    }
}

fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0,
            "containers": [{"name": "a", "image": PODS_IMAGE, "imagePullPolicy": "Never"}]}})
}

fn service(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}})
}

/// A policy for the pod of its name.
fn policy(name: &str, rules: &Value) -> Value {
    let mut spec = rules.clone();
    if let Some(spec) = spec.as_object_mut() {
        let selector = json!({"matchLabels": {"app": name}});
        spec.insert("podSelector".to_owned(), selector);
    }
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

fn policies() -> [Value; 4] {
    let client = json!({"podSelector": {"matchLabels": {"app": "client"}}});
    let everywhere = json!({"ipBlock": {"cidr": "0.0.0.0/0"}});
    [
        policy("shut", &json!({"policyTypes": ["Ingress"]})),
        policy("mute", &json!({"policyTypes": ["Egress"]})),
        policy(
            "some",
            &json!({"ingress": [{"from": [client], "ports": [{"port": 8080}]}]}),
        ),
        policy("fenced", &json!({"ingress": [{"from": [everywhere]}]})),
    ]
}

async fn furnish(node: &Node) -> anyhow::Result<()> {
    node.apply(&[json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})])?;
    let account = ["serviceaccount", "-n", "shop", "default"];
    let what = || "the namespace has its account".to_owned();
    wait::until(what, async || Ok(!node.get(&account)?.is_null())).await?;
    let pods = PODS.into_iter().map(pod);
    let services = SERVICES.into_iter().map(service);
    // No pod is there without its policy.
    let objects: Vec<_> = policies().into_iter().chain(services).chain(pods).collect();
    node.apply(&objects)?;
    let ready = ["--for=condition=Ready", "pod", "--all", "--timeout=60s"];
    let waited = node.kubectl(&[&["wait", "-n", "shop"][..], &ready].concat());
    waited.map(drop).with_context(|| {
        let pods = node.kubectl(&["describe", "pods", "-n", "shop"]);
        format!("the pods are not there: {}", pods.unwrap_or_default())
    })
}

/// Each pod's namespace and address.
fn pods(node: &Node) -> anyhow::Result<BTreeMap<&'static str, (Namespace, IpAddr)>> {
    let tasks = node.ctr(&["tasks", "ls"])?;
    let pid = |id: &str| {
        let line = tasks.lines().find(|line| line.starts_with(id))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let mut pods = BTreeMap::new();
    for name in PODS {
        let pod = node.get(&["pod", "-n", "shop", name])?;
        let text = |pointer| pod.pointer(pointer).and_then(Value::as_str);
        let ip = text("/status/podIP").context("a pod without an address")?;
        let id = text("/status/containerStatuses/0/containerID");
        let id = id.and_then(|id| id.strip_prefix("containerd://"));
        let pid = id.and_then(pid).context("a container without a process")?;
        let namespace = Namespace::of(&format!("pod-{name}"), pid)?;
        pods.insert(name, (namespace, ip.parse()?));
    }
    Ok(pods)
}

/// A namespace that has the gateway's address.
fn outside() -> anyhow::Result<Namespace> {
    let made = Namespace::create(vec!["world".to_owned()])?.pop();
    let world = made.context("no namespace")?;
    call("ip link add towards-world type veth peer name eth0 netns world")?;
    call("ip link set towards-world master uplink up")?;
    world.ip(&format!(
        "address add {OUTSIDE}/24 dev eth0\nlink set eth0 up\nroute add 10.42.0.0/16 via {ADDRESS}\n"
    ))?;
    Ok(world)
}

fn serve(places: &BTreeMap<&'static str, (Namespace, IpAddr)>) -> anyhow::Result<Servers> {
    let mut listens = Vec::new();
    for (namespace, ip) in places.values() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            listens.extend([8080, 8090].map(|port| Listen {
                namespace,
                at: SocketAddr::new(*ip, port),
                protocol,
                server: Server::Answering,
            }));
        }
    }
    Servers::start(&listens)
}
