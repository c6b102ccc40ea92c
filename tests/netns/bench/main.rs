//! What the agent costs the pods of a node, and how soon it says what it saw: real packets through real hooks.
//!
//! Prints figures as `cargo xtask bench line` keeps them. Rounds with and without the agent alternate, so that a busy
//! machine spoils both alike; what is kept is the ratio of neighbours.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use netns::agent::{Agent, Setup};
use netns::cgroup::Cgroup;
use netns::node::{Node, PodSpec, ReversePath};
use netns::ns::Namespace;
use netns::paths;
use netns::traffic::{Client, Protocol};
use serde_json::{Value, json};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 11));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 42, 0, 12));
const CONNECTS: u16 = 5001;
const ECHOES: u16 = 5002;
/// Ports that policy denies and netfilter stops begin here.
const BLOCKED: u16 = 6000;
const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(1500);
const PACKETS: u16 = 30;
const LIMIT: Duration = Duration::from_secs(5);

const CLUSTER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: client, namespace: bench, labels: {app: client}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {phase: Running, podIP: 10.42.0.11}
---
apiVersion: v1
kind: Pod
metadata: {name: server, namespace: bench, labels: {app: server}}
spec: {nodeName: node-1, containers: [{name: main}]}
status: {phase: Running, podIP: 10.42.0.12}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: server, namespace: bench}
spec:
  podSelector: {matchLabels: {app: server}}
  policyTypes: [Ingress]
  ingress: [{ports: [{port: 5001, endPort: 5002}]}]
";

const RULES: &str = "
table inet bench {
  chain forward {
    type filter hook forward priority 0;
    ct state established,related accept
    ip daddr 10.42.0.12 udp dport 6000-6999 drop
  }
}
";

fn main() -> anyhow::Result<()> {
    let cluster = tempfile::tempdir()?;
    fs::write(cluster.path().join("all.yaml"), CLUSTER)?;
    let mut node = Node::new("nvb", &[], ReversePath::Open)?;
    let spec = |name: &str, address| PodSpec {
        key: format!("bench/{name}"),
        addresses: vec![address],
    };
    node.add_pods(&[spec("client", CLIENT), spec("server", SERVER)])?;
    serve(node.namespace_of("bench/server")?)?;
    let mut figures = ratios(&node, cluster.path())?;
    // Conntrack, which orients datagrams, keeps each closed connection for a while: only from here on.
    node.namespace.nft(RULES)?;
    figures.push(delay(&node, cluster.path())?);
    println!("{}", json!({ "figures": figures }));
    Ok(())
}

/// The agent as an operator would run it.
fn setup(cluster: &Path) -> anyhow::Result<Setup> {
    Ok(Setup::new(&paths::agent()?, cluster))
}

fn start(node: &Node, setup: &Setup) -> anyhow::Result<Agent> {
    let agent = Agent::start(setup, &node.namespace)?;
    for pod in &node.pods {
        agent.watches(&pod.link)?;
    }
    Ok(agent)
}

fn ratios(node: &Node, cluster: &Path) -> anyhow::Result<Vec<Value>> {
    let client = node.namespace_of("bench/client")?;
    let cgroup = Cgroup::make("line")?;
    let _inside = cgroup.enter()?;
    let usual = setup(cluster)?;
    let watching = usual.clone().with_calls(cgroup.path());
    let (mut connects, mut watched, mut echoes) = (Vec::new(), Vec::new(), Vec::new());
    let measure = || anyhow::Ok((rate(client, connect)?, rate(client, echo())?));
    // The first is slower than all others: caches, the governor.
    measure()?;
    for _ in 0..ROUNDS {
        let without = measure()?;
        let agent = start(node, &usual)?;
        let with = measure()?;
        agent.stop()?;
        connects.push(with.0 / without.0);
        echoes.push(with.1 / without.1);
        let agent = start(node, &watching)?;
        watched.push(rate(client, connect)? / without.0);
        agent.stop()?;
    }
    let unit = "of none";
    Ok(vec![
        figure(
            "connect rate with the agent",
            connects,
            unit,
            Bound::Least(0.95),
        ),
        figure(
            "connect rate with the agent, calls watched",
            watched,
            unit,
            Bound::None,
        ),
        figure("round trips with the agent", echoes, unit, Bound::None),
    ])
}

/// How often a second `work` is done in a namespace.
fn rate(
    namespace: &Namespace,
    mut work: impl FnMut() -> anyhow::Result<()> + Send,
) -> anyhow::Result<f64> {
    namespace.enter(move || {
        let began = Instant::now();
        let mut done = 0u32;
        while began.elapsed() < ROUND {
            work()?;
            done += 1;
        }
        Ok(f64::from(done) / began.elapsed().as_secs_f64())
    })
}

/// Until the server has taken and ended it: a client that is faster than its server measures the server's queue.
fn connect() -> anyhow::Result<()> {
    // It ends with a RST, so that no port stays in TIME_WAIT.
    match TcpStream::connect(SocketAddr::new(SERVER, CONNECTS)) {
        Ok(mut stream) => drop(stream.read(&mut [0])),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => return Err(error).context("connect"),
    }
    Ok(())
}

/// A byte there and back, over one connection.
fn echo() -> impl FnMut() -> anyhow::Result<()> + Send {
    let mut stream = None;
    move || {
        let stream = match &mut stream {
            Some(stream) => stream,
            none => {
                let opened = TcpStream::connect(SocketAddr::new(SERVER, ECHOES))?;
                opened.set_nodelay(true)?;
                none.insert(opened)
            }
        };
        stream.write_all(b"x")?;
        stream.read_exact(&mut [0])?;
        Ok(())
    }
}

/// From the packet that is stopped to the line that says so.
fn delay(node: &Node, cluster: &Path) -> anyhow::Result<Value> {
    let client = node.namespace_of("bench/client")?;
    let mut agent = start(node, &setup(cluster)?)?;
    agent.settle()?;
    let mut delays = Vec::new();
    for number in 0..PACKETS {
        let port = BLOCKED + number;
        let packet = Client::open(client, SocketAddr::new(SERVER, port), Protocol::Udp)?;
        let began = Instant::now();
        packet.send()?;
        let is_told = agent.wait_until(LIMIT, |records| {
            records.iter().any(|record| {
                record.number("/destination/port") == Some(port.into())
                    && record.assessment() == "blocked"
            })
        })?;
        ensure!(
            is_told,
            "no record tells of port {port} in {LIMIT:?}: {:?}\n{}",
            agent.records(),
            agent.stderr()
        );
        delays.push(began.elapsed().as_secs_f64() * 1e3);
    }
    agent.stop()?;
    let name = "packet to JSON line, blocked by DROP";
    Ok(figure(name, delays, "ms", Bound::Most(150.0)))
}

#[derive(Clone, Copy)]
enum Bound {
    None,
    Least(f64),
    Most(f64),
}

fn figure(name: &str, mut values: Vec<f64>, unit: &str, bound: Bound) -> Value {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or_default();
    let median = at(values.len() / 2);
    let (bound, held) = match bound {
        Bound::None => (None, None),
        Bound::Least(least) => (Some(least), Some(median >= least)),
        Bound::Most(most) => (Some(most), Some(median <= most)),
    };
    json!({
        "name": name, "min": at(0), "median": median, "max": at(values.len().saturating_sub(1)),
        "unit": unit, "bound": bound, "held": held,
    })
}

/// Takes connections on one port, and sends back what it gets on the other, for as long as the program runs.
fn serve(namespace: &Namespace) -> anyhow::Result<()> {
    let listen = |port| {
        namespace.enter(move || {
            TcpListener::bind(SocketAddr::new(SERVER, port)).context("listen for connections")
        })
    };
    let (connects, echoes) = (listen(CONNECTS)?, listen(ECHOES)?);
    std::thread::spawn(move || {
        for stream in connects.incoming().flatten() {
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    });
    std::thread::spawn(move || {
        for stream in echoes.incoming().flatten() {
            send_back(stream);
        }
    });
    Ok(())
}

/// Until the client goes.
fn send_back(mut stream: TcpStream) {
    let mut byte = [0];
    while stream
        .read_exact(&mut byte)
        .and_then(|()| stream.write_all(&byte))
        .is_ok()
    {}
}
